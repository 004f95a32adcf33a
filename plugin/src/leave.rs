//! Asks the database to empty a member, or to keep it: on the peer port of one of its pods, through the API server.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kotoba_operator::crd::{KotobaCluster, MemberSummary};
use kotoba_operator::names::PEER_PORT;
use kotoba_proto::v1::admin_service_client::AdminServiceClient;
use kotoba_proto::v1::{CancelDrainRequest, DrainRequest, MemberProgress};
use kube::ResourceExt;
use kube::api::Api;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::error::Error;
use crate::resource::Kubernetes;

/// The way through the API server and the kubelet, and the database's own answer.
const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Drain,
    Cancel,
}

/// Asks once, and gives how far the member is. Both can be asked again.
pub async fn ask(
    kubernetes: &Kubernetes,
    cluster: &KotobaCluster,
    member: &str,
    request: Request,
) -> Result<MemberProgress, Error> {
    let member_id = member_id(cluster, member)?;
    let pod = pod_to_ask(cluster)?;
    let deadline = || Error::Deadline { pod: pod.clone() };
    let answer = async { send(connect(kubernetes, &pod).await?, member_id, request).await };
    tokio::time::timeout(DEADLINE, answer).await.map_err(|_| deadline())?
}

async fn send(channel: Channel, member_id: u64, request: Request) -> Result<MemberProgress, Error> {
    let mut client = AdminServiceClient::new(channel);
    let progress = match request {
        Request::Drain => client
            .drain(DrainRequest { member_id })
            .await
            .map(|answer| answer.into_inner().progress),
        Request::Cancel => {
            let answer = client.cancel_drain(CancelDrainRequest { member_id }).await;
            answer.map(|answer| answer.into_inner().progress)
        }
    };
    let progress = progress.map_err(|status| Error::Refused(status.message().to_owned()))?;
    Ok(progress.unwrap_or_default())
}

async fn connect(kubernetes: &Kubernetes, pod: &str) -> Result<Channel, Error> {
    let port = u16::try_from(PEER_PORT).expect("a port has 16 bits");
    let api: Api<Pod> = Api::namespaced(kubernetes.client.clone(), &kubernetes.namespace);
    let forwarded = api.portforward(pod, &[port]).await;
    let mut forwarder = forwarded.map_err(|source| Error::Forward {
        pod: pod.to_owned(),
        source: Box::new(source),
    })?;
    let stream = forwarder.take_stream(port).expect("a forwarded port has a stream");
    channel(stream).await.map_err(|source| Error::Connect {
        pod: pod.to_owned(),
        source,
    })
}

/// A channel whose only connection is this stream: no port is opened on the person's machine.
async fn channel(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Channel, tonic::transport::Error> {
    let mut stream = Some(TokioIo::new(stream));
    let connector = service_fn(move |_: Uri| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| std::io::Error::other("the forwarded connection is closed")) }
    });
    Endpoint::from_static("http://member")
        .connect_with_connector(connector)
        .await
}

/// The id of a member by the name of its pod, or as typed. A pod without a member in it is none.
fn member_id(cluster: &KotobaCluster, typed: &str) -> Result<u64, Error> {
    let known = members(cluster).iter();
    let known: Vec<(&str, i64)> = known
        .filter_map(|member| Some((member.slot.as_str(), member.member_id?)))
        .collect();
    let mut named = known
        .iter()
        .filter(|(slot, id)| *slot == typed || id.to_string() == typed);
    let found = named.next().and_then(|(_, id)| u64::try_from(*id).ok());
    found.ok_or_else(|| Error::NoMember {
        cluster: cluster.name_any(),
        member: typed.to_owned(),
        known: listed(&known),
    })
}

fn listed(known: &[(&str, i64)]) -> String {
    if known.is_empty() {
        return "none yet".to_owned();
    }
    let known = known.iter().map(|(slot, id)| format!("{slot} ({id})"));
    known.collect::<Vec<_>>().join(", ")
}

/// The leader, which need not pass the question on; else any pod with a member.
fn pod_to_ask(cluster: &KotobaCluster) -> Result<String, Error> {
    let leader = cluster.status.as_ref().and_then(|status| status.leader.clone());
    let any = || {
        let running = members(cluster)
            .iter()
            .find(|member| member.member_id.is_some() && member.pod_uid.is_some());
        running.map(|member| member.slot.clone())
    };
    leader
        .or_else(any)
        .ok_or_else(|| Error::NobodyToAsk(cluster.name_any()))
}

fn members(cluster: &KotobaCluster) -> &[MemberSummary] {
    cluster
        .status
        .as_ref()
        .map(|status| status.members.as_slice())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
