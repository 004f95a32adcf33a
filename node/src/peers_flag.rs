//! `--peers`, and embedded members: a hand-made cluster finds itself.
//!
//! A process with an empty disk asks all the addresses it was given. If one belongs to a cluster, it joins that. If all of
//! them answer and none belongs to one, the process with the smallest disk id founds it with all of them. While one does
//! not answer it waits: a lost disk among running members must not found a second cluster. An embedded member without peers
//! is alone, and founds at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kotoba_proto::v1::admin_service_client::AdminServiceClient;
use kotoba_proto::v1::cluster_service_client::ClusterServiceClient;
use kotoba_proto::v1::{Assignment, JoinClusterRequest, WhoAmIRequest, WhoAmIResponse};
use kotoba_state::meta::FirstMember;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::member::{FoundingRequest, Process};
use crate::peer::admin::who_am_i;
use crate::peer::clients::lazy_channel;

const ASK_TIMEOUT: Duration = Duration::from_secs(3);
/// A start waits no longer for peers that hang.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The peers are all of another cluster than this disk.
#[derive(Debug, thiserror::Error)]
#[error(
    "the data directory is that of a member of cluster {mine}, but {peer}, which --peers names, is a member of cluster {theirs}: \
     was the directory exchanged? start with the one that was here, or with an empty one to join as a new member"
)]
pub struct OtherCluster {
    mine: String,
    peer: String,
    theirs: String,
}

/// Refuses a disk that belongs elsewhere: a process that serves another cluster under this one's address would mislead its
/// clients. One peer that knows this cluster is enough to go on, and so are peers that do not answer.
pub async fn check_cluster(process: &Process) -> Result<(), OtherCluster> {
    let Some(mine) = process.assignment().map(|assignment| assignment.cluster_id) else {
        return Ok(());
    };
    let asked = process.config.peers.iter().map(|peer| async move {
        let answer = tokio::time::timeout(CHECK_TIMEOUT, ask(peer)).await.ok()?.ok()?;
        let is_other_process = answer.disk_id != who_am_i(process).disk_id;
        let is_member = is_other_process && answer.assignment() == Assignment::Assigned;
        is_member.then_some((peer, answer.cluster_id))
    });
    let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    match answers.iter().any(|(_, theirs)| *theirs == mine) {
        true => Ok(()),
        false => answers.into_iter().next().map_or(Ok(()), |(peer, theirs)| {
            Err(OtherCluster {
                mine,
                peer: peer.clone(),
                theirs,
            })
        }),
    }
}

/// Asks until this process has an identity.
pub async fn find_cluster(process: Arc<Process>) {
    let mut said = String::new();
    while process.assignment().is_none() {
        match step(&process).await {
            Ok(()) => {}
            Err(reason) if reason == said => {}
            Err(reason) => {
                warn!(reason, "no cluster yet");
                said = reason;
            }
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

async fn step(process: &Arc<Process>) -> Result<(), String> {
    let mut known: BTreeMap<String, WhoAmIResponse> = BTreeMap::new();
    let me = who_am_i(process);
    known.insert(me.disk_id.clone(), me.clone());
    let mut silent = Vec::new();
    for address in &process.config.peers {
        match ask(address).await {
            Ok(answer) => {
                known.insert(answer.disk_id.clone(), answer);
            }
            Err(reason) => silent.push(format!("{address} does not answer ({reason})")),
        }
    }
    if let Some(member) = known
        .values()
        .find(|answer| answer.assignment() == Assignment::Assigned)
    {
        return join(member, &me).await;
    }
    if let Some(reason) = silent.first() {
        return Err(format!("{reason}; all peers must be up for the first start"));
    }
    if known.keys().next() != Some(&me.disk_id) {
        return Err("another of the peers founds the cluster".to_owned());
    }
    found(process, known).await
}

async fn ask(address: &str) -> Result<WhoAmIResponse, String> {
    let channel = lazy_channel(address, ASK_TIMEOUT).map_err(|error| error.to_string())?;
    let answer = AdminServiceClient::new(channel).who_am_i(WhoAmIRequest {}).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| status.message().to_owned())
}

async fn join(member: &WhoAmIResponse, me: &WhoAmIResponse) -> Result<(), String> {
    let channel = lazy_channel(&member.client_address, ASK_TIMEOUT).map_err(|error| error.to_string())?;
    let request = JoinClusterRequest {
        peer_address: me.peer_address.clone(),
        client_address: me.client_address.clone(),
        zone: me.zone.clone(),
        disk_id: me.disk_id.clone(),
        name: me.name.clone(),
        version: me.version.clone(),
    };
    let answer = ClusterServiceClient::new(channel).join_cluster(request).await;
    let joined = answer.map_err(|status| {
        format!(
            "{} does not take this member: {}",
            member.client_address,
            status.message()
        )
    })?;
    info!(
        member = joined.into_inner().member_id,
        "taken into the cluster; waiting for its identity"
    );
    Ok(())
}

/// The id follows from the disks, so that a founding that is begun again is the same one.
fn cluster_id(known: &BTreeMap<String, WhoAmIResponse>) -> String {
    let mut hasher = blake3::Hasher::new();
    known.keys().for_each(|disk_id| {
        hasher.update(disk_id.as_bytes());
    });
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    uuid::Uuid::from_bytes(id).to_string()
}

async fn found(process: &Arc<Process>, known: BTreeMap<String, WhoAmIResponse>) -> Result<(), String> {
    let cluster_id = cluster_id(&known);
    let members = known.into_values().map(|answer| FirstMember {
        peer_address: answer.peer_address,
        client_address: answer.client_address,
        zone: answer.zone,
        disk_id: answer.disk_id,
        name: answer.name,
        meta_voter: false,
    });
    let request = FoundingRequest {
        cluster_id,
        members: members.collect(),
        replication_factor: process.config.founding.replication_factor,
        partition_count: process.config.founding.partition_count,
    };
    process
        .found(request)
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}
