//! Founding a cluster: once, by one process, with all first members.
//!
//! On disk, in this order: the identity of every other first member, then the founder's with what is left to do, then
//! the meta group's first membership, then the founding command, then the founder's record that nothing is left. A crash
//! before the founder's identity leaves a bootstrap that is simply given again; one after it is finished at the restart.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use kotoba_proto::v1::AssignRequest;
use kotoba_state::ids::{MemberId, ReplicaId};
use kotoba_state::meta::{Answer, Command, FirstMember};
use kotoba_state::placement::{Candidate, choose_voters};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::identity::{Assignment, Founding, PeerAddress};
use super::running::Running;
use super::{AssignError, Process};
use crate::peer::clients::client_at;

/// A first member that does not answer fails the bootstrap, which is given again.
const ASSIGN_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two attempts to log the founding.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long the caller of Bootstrap waits for the founding to be logged; it goes on without the caller.
const FOUNDED_WITHIN: Duration = Duration::from_secs(20);
const META_VOTERS: usize = 3;
const META_VOTERS_LARGE: usize = 5;
/// From this many members on there are more partitions and meta voters.
const LARGE_CLUSTER: usize = 9;
const PARTITIONS: u32 = 16;
const PARTITIONS_LARGE: u32 = 64;
const REPLICATION_FACTOR: u32 = 3;
const MAX_PARALLEL_MOVES: u32 = 2;

/// What Bootstrap was given; zeros stand for defaults.
#[derive(Clone, Debug)]
pub struct FoundingRequest {
    pub cluster_id: String,
    /// Without `meta_voter`, which is chosen here.
    pub members: Vec<FirstMember>,
    pub replication_factor: u32,
    pub partition_count: u32,
}

/// Why a cluster was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    #[error("this process is member {member} of cluster {cluster_id} already")]
    OtherCluster { cluster_id: String, member: MemberId },
    #[error("{0}")]
    Invalid(String),
    #[error("first member {address} cannot be told its identity: {reason}")]
    Assign { address: String, reason: String },
    #[error(transparent)]
    Process(#[from] AssignError),
    #[error("the founding is not logged yet; it goes on: ask again")]
    Pending,
}

impl Process {
    /// Founds the cluster from this process; given again for the same cluster, it waits for the same founding.
    pub async fn found(self: &Arc<Self>, request: FoundingRequest) -> Result<MemberId, FoundError> {
        if let Some(assignment) = self.assignment() {
            if assignment.cluster_id != request.cluster_id {
                return Err(FoundError::OtherCluster {
                    cluster_id: assignment.cluster_id,
                    member: assignment.member,
                });
            }
            self.wait_until_founded().await?;
            return Ok(assignment.member);
        }
        let plan = plan(&self.disk_id(), request)?;
        try_join_all(plan.others.iter().map(assign_other)).await?;
        let member = plan.own.member;
        self.assign(&self.disk_id(), plan.own).await?;
        self.wait_until_founded().await?;
        info!(%member, "cluster founded");
        Ok(member)
    }

    async fn wait_until_founded(&self) -> Result<(), FoundError> {
        let deadline = Instant::now() + FOUNDED_WITHIN;
        while self
            .assignment()
            .is_some_and(|assignment| assignment.founding.is_some())
        {
            if Instant::now() >= deadline {
                return Err(FoundError::Pending);
            }
            sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }
}

struct Plan {
    own: Assignment,
    others: Vec<(String, AssignRequest)>,
}

/// Gives ids in the order of the request, which a repeated bootstrap keeps.
fn plan(disk_id: &str, request: FoundingRequest) -> Result<Plan, FoundError> {
    let count = request.members.len();
    let members = with_voters(request.members);
    let own = members.iter().position(|member| member.disk_id == disk_id);
    let own = own.ok_or_else(|| {
        FoundError::Invalid(format!(
            "this process, with disk {disk_id}, is not among the first members"
        ))
    })?;
    let large = count >= LARGE_CLUSTER;
    let most = u32::try_from(count).unwrap_or(u32::MAX);
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    let command = Command::Found {
        cluster_id: request.cluster_id.clone(),
        members: members.clone(),
        replication_factor: or(request.replication_factor, REPLICATION_FACTOR.min(most)),
        partition_count: or(
            request.partition_count,
            if large { PARTITIONS_LARGE } else { PARTITIONS },
        ),
        max_parallel_moves: MAX_PARALLEL_MOVES,
    };
    check(&command)?;
    let id = |at: usize| at as u64 + 1;
    let peers: Vec<PeerAddress> = members
        .iter()
        .enumerate()
        .map(|(at, member)| PeerAddress {
            member: MemberId(id(at)),
            address: member.peer_address.clone(),
        })
        .collect();
    let voters = members.iter().enumerate().filter(|(_, member)| member.meta_voter);
    let founding = Founding {
        meta_voters: voters.map(|(at, _)| (ReplicaId(id(at)), MemberId(id(at)))).collect(),
        command,
    };
    let others = members
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != own)
        .map(|(at, member)| {
            let request = AssignRequest {
                cluster_id: request.cluster_id.clone(),
                member_id: id(at),
                disk_id: member.disk_id.clone(),
                meta_replica_id: id(at),
                peers: peers.iter().map(wire_address).collect(),
            };
            (member.peer_address.clone(), request)
        });
    Ok(Plan {
        others: others.collect(),
        own: Assignment {
            cluster_id: request.cluster_id.clone(),
            member: MemberId(id(own)),
            meta_replica: ReplicaId(id(own)),
            peers,
            founding: Some(founding),
        },
    })
}

/// Refuses before anyone is told an identity what the state machine would refuse after.
fn check(command: &Command) -> Result<(), FoundError> {
    match kotoba_state::meta::check_founding(command) {
        Ok(()) => Ok(()),
        Err(reason) => Err(FoundError::Invalid(reason)),
    }
}

fn with_voters(mut members: Vec<FirstMember>) -> Vec<FirstMember> {
    let candidates: Vec<Candidate> = members
        .iter()
        .enumerate()
        .map(|(at, member)| Candidate {
            id: MemberId(at as u64),
            zone: member.zone.clone(),
        })
        .collect();
    let count = if members.len() >= LARGE_CLUSTER {
        META_VOTERS_LARGE
    } else {
        META_VOTERS
    };
    let voters = choose_voters(&candidates, &Default::default(), count);
    for (at, member) in members.iter_mut().enumerate() {
        member.meta_voter = voters.contains(&MemberId(at as u64));
    }
    members
}

fn wire_address(peer: &PeerAddress) -> kotoba_proto::v1::PeerAddress {
    kotoba_proto::v1::PeerAddress {
        member_id: peer.member.0,
        address: peer.address.clone(),
    }
}

async fn assign_other((address, request): &(String, AssignRequest)) -> Result<(), FoundError> {
    let failed = |reason: String| FoundError::Assign {
        address: address.clone(),
        reason,
    };
    let mut client = client_at(address, ASSIGN_TIMEOUT).map_err(|error| failed(error.to_string()))?;
    client
        .assign(request.clone())
        .await
        .map_err(|status| failed(status.message().to_owned()))?;
    Ok(())
}

/// Does what is left of a founding: gives the meta group its voters, logs the command, and notes that it is done.
pub(super) async fn finish(process: Arc<Process>, running: Arc<Running>, founding: Founding) {
    loop {
        match try_finish(&running, &founding).await {
            Ok(()) => break,
            Err(reason) => warn!(reason, "the cluster is not founded yet"),
        }
        tokio::select! {
            () = process.cancel.cancelled() => return,
            () = sleep(RETRY_PAUSE) => {},
        }
    }
    if let Err(error) = process.finish_founding() {
        // The command is idempotent: the next start does it again.
        warn!(error = %error, "the founding cannot be noted as done");
    }
}

async fn try_finish(running: &Running, founding: &Founding) -> Result<(), String> {
    let voters = founding.meta_voters.iter().copied().collect();
    running
        .meta
        .initialize(voters)
        .await
        .map_err(|error| error.to_string())?;
    let answer = running.meta_client.propose(&founding.command, ASSIGN_TIMEOUT).await;
    match answer.map_err(|error| error.to_string())? {
        Answer::Done => Ok(()),
        other => Err(format!("the founding was answered {other:?}")),
    }
}
