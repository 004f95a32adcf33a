use std::sync::{Arc, Mutex};

use kotoba_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use kotoba_proto::v1::{
    BootstrapRequest, BootstrapResponse, CancelDrainResponse, DrainResponse, RebalanceRequest, RebalanceResponse,
    RemoveMemberRequest, RemoveMemberResponse, WhoAmIRequest, WhoAmIResponse,
};
use serde_json::json;
use tonic::transport::Server;
use tonic::{Response, Status};

use super::*;

fn cluster(leader: Option<&str>) -> KotobaCluster {
    let member = |slot: &str, id: Option<i64>| json!({ "slot": slot, "memberId": id, "podUid": "uid", "state": "Active", "health": "Alive" });
    serde_json::from_value(json!({
        "apiVersion": "kotoba.dev/v1alpha1",
        "kind": "KotobaCluster",
        "metadata": { "name": "g" },
        "spec": {},
        "status": {
            "leader": leader,
            "members": [member("g-0", None), member("g-1", Some(7)), member("g-2", Some(8))],
        },
    }))
    .unwrap()
}

#[test]
fn a_member_is_named_by_its_pod_or_by_its_id() {
    let cluster = cluster(None);
    assert_eq!(member_id(&cluster, "g-1").unwrap(), 7);
    assert_eq!(member_id(&cluster, "8").unwrap(), 8);
    for unknown in ["g-0", "g-9", "1"] {
        let error = member_id(&cluster, unknown).unwrap_err().to_string();
        assert!(error.ends_with("its members are g-1 (7), g-2 (8)"), "{error}");
    }
}

#[test]
fn the_leader_is_asked_where_it_is_known() {
    assert_eq!(pod_to_ask(&cluster(Some("g-2"))).unwrap(), "g-2");
    assert_eq!(pod_to_ask(&cluster(None)).unwrap(), "g-1");
}

/// The far end of the stream: drains member 7 and refuses every other.
#[derive(Clone, Default)]
struct Member {
    cancelled: Arc<Mutex<Vec<u64>>>,
}

#[tonic::async_trait]
impl AdminService for Member {
    async fn drain(&self, request: tonic::Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        let member_id = request.into_inner().member_id;
        if member_id != 7 {
            return Err(Status::failed_precondition("two members cannot hold three replicas"));
        }
        let progress = MemberProgress {
            member_id,
            replicas: 16,
            ..MemberProgress::default()
        };
        Ok(Response::new(DrainResponse {
            progress: Some(progress),
        }))
    }

    async fn cancel_drain(
        &self,
        request: tonic::Request<CancelDrainRequest>,
    ) -> Result<Response<CancelDrainResponse>, Status> {
        self.cancelled.lock().unwrap().push(request.into_inner().member_id);
        Ok(Response::new(CancelDrainResponse { progress: None }))
    }

    async fn who_am_i(&self, _: tonic::Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn bootstrap(&self, _: tonic::Request<BootstrapRequest>) -> Result<Response<BootstrapResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn rebalance(&self, _: tonic::Request<RebalanceRequest>) -> Result<Response<RebalanceResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn remove_member(
        &self,
        _: tonic::Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// A member at the other end of a stream, as a forwarded port is one.
async fn at_the_other_end(member: &Member) -> Channel {
    let (near, far) = tokio::io::duplex(64 << 10);
    let service = AdminServiceServer::new(member.clone());
    let incoming = tokio_stream::once(Ok::<_, std::io::Error>(far));
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    channel(near).await.unwrap()
}

#[tokio::test]
async fn a_member_is_asked_over_one_forwarded_stream() {
    let member = Member::default();
    let channel = at_the_other_end(&member).await;
    let progress = send(channel.clone(), 7, Request::Drain).await.unwrap();
    assert_eq!((progress.member_id, progress.replicas), (7, 16));
    send(channel, 7, Request::Cancel).await.unwrap();
    assert_eq!(*member.cancelled.lock().unwrap(), [7]);
}

#[tokio::test]
async fn a_refusal_comes_with_its_reason() {
    let channel = at_the_other_end(&Member::default()).await;
    let refused = send(channel, 8, Request::Drain).await.unwrap_err().to_string();
    assert_eq!(refused, "refused: two members cannot hold three replicas");
}
