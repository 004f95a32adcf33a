//! Data directories that must not be opened: in use, damaged, or another cluster's.

use kotoba_node::gateway::service::ClientEndpoint;
use kotoba_node::member::Process;
use kotoba_node::member::identity::Assignment;
use kotoba_proto::error::detail_of;
use kotoba_proto::v1::GetStatusRequest;
use kotoba_proto::v1::cluster_service_server::ClusterService;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_state::ids::{MemberId, ReplicaId};
use tonic::Request;

use crate::cluster::Cluster;
use crate::process::{Addresses, Host};
use crate::wait::run;

/// The whole chain of causes, as a person reads it.
fn told(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

#[test]
fn a_data_directory_in_use_is_refused_with_what_to_do() {
    run(async {
        let mut cluster = Cluster::of(1).await;
        let error = Host::start(Addresses::any(), cluster.config(1)).await.err().unwrap();
        assert!(told(&error).contains("is in use by another process"), "{error:#}");
        cluster.ready().await;
        cluster.restart(1).await;
        cluster.ready().await;
    });
}

/// Between opening its ports and opening its stores: a client must ask again, and not take it for an empty disk.
#[test]
fn a_member_that_is_still_starting_is_not_taken_for_one_without_a_cluster() {
    run(async {
        let mut cluster = Cluster::of(1).await;
        cluster.stop(1).await;
        let process = Process::open(cluster.config(1)).unwrap();
        let endpoint = ClientEndpoint {
            process: process.clone(),
        };
        let refused = endpoint
            .get_status(Request::new(GetStatusRequest {}))
            .await
            .unwrap_err();
        assert_eq!(detail_of(&refused).unwrap().kind(), Kind::NoLeader);
        assert!(process.ready().unwrap_err().contains("starting"));
    });
}

#[test]
fn a_damaged_identity_is_never_taken_for_an_empty_disk() {
    run(async {
        let mut cluster = Cluster::of(1).await;
        cluster.stop(1).await;
        let record = cluster.data_dir(1).join("identity.json");
        let whole = std::fs::read(&record).unwrap();
        std::fs::write(&record, &whole[..whole.len() / 2]).unwrap();
        let error = cluster.try_start(1).await.unwrap_err();
        assert!(told(&error).contains("is damaged"), "{error:#}");
        std::fs::remove_file(&record).unwrap();
        let error = cluster.try_start(1).await.unwrap_err();
        assert!(told(&error).contains("no identity record"), "{error:#}");
        std::fs::write(&record, &whole).unwrap();
        cluster.start(1).await;
        cluster.ready().await;
    });
}

#[test]
fn an_identity_of_a_later_format_is_refused() {
    run(async {
        let mut cluster = Cluster::of(1).await;
        cluster.stop(1).await;
        let record = cluster.data_dir(1).join("identity.json");
        let text = std::fs::read_to_string(&record).unwrap();
        std::fs::write(&record, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        let error = cluster.try_start(1).await.unwrap_err();
        assert!(told(&error).contains("start a newer build"), "{error:#}");
    });
}

#[test]
fn a_disk_of_one_cluster_is_never_given_to_another() {
    run(async {
        let cluster = Cluster::of(1).await;
        let foreign = Assignment {
            cluster_id: "another".to_owned(),
            member: MemberId(1),
            meta_replica: ReplicaId(1),
            peers: Vec::new(),
            founding: None,
        };
        let error = cluster.host(1).assign(foreign).await.unwrap_err();
        assert!(error.to_string().contains("never given to another"), "{error}");
        cluster.ready().await;
    });
}
