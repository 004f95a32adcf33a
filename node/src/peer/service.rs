//! What a member answers to its peers, apart from Raft's lanes. Every message says whom it is meant for, and is refused
//! by anyone else.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::Stream;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use kotoba_proto::v1::change_replicas_request::Change;
use kotoba_proto::v1::peer_service_server::PeerService;
use kotoba_proto::v1::{
    AssignRequest, AssignResponse, ChangeReplicasRequest, ChangeReplicasResponse, Envelope, GetMetaVoteRequest,
    GetStatusResponse, GetTransactionRequest, GetTransactionResponse, LeaderStatusRequest, MetaAnswer, MetaCommand,
    NotedDigest, ObserveReplicasRequest, ObserveReplicasResponse, ObservedReplica, PartPartition, PartitionRequest,
    PartitionResponse, PartitionsRequest, PartitionsResponse, ReadIndexesRequest, ReadIndexesResponse, ReplicaProgress,
    SavedVote, TakeTimestampsRequest, TakeTimestampsResponse,
};
use kotoba_state::ids::{GroupId, MemberId, PartitionId, ReplicaId, Timestamp};
use kotoba_state::partition::{self, TxnId};
use tonic::{Request, Response, Status};

use super::clients::PEER_FORMAT;
use crate::catalogue::oracle::Proof;
use crate::catalogue::votes;
use crate::member::Process;
use crate::member::identity::{Assignment, PeerAddress};
use crate::member::running::Running;
use crate::raft::{Group, MembershipError, ProposeError};
use crate::transaction::{Failure, message};

/// The service on the peer port.
#[derive(Clone)]
pub struct PeerEndpoint {
    pub process: Arc<Process>,
}

/// Partitions that one message may ask: as many as a cluster may have.
const MAX_PARTS: usize = 1_024;

type Answer<T> = Result<Response<T>, Status>;

impl PeerEndpoint {
    /// The running member, if the message is meant for it.
    fn member(&self, envelope: Option<&Envelope>) -> Result<Arc<Running>, Status> {
        let running = self
            .process
            .running()
            .ok_or_else(|| Status::unavailable(self.process.why_not_running()))?;
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("the message names no receiver"))?;
        if envelope.format != PEER_FORMAT {
            return Err(Status::failed_precondition(format!(
                "peer messages of format {} are not known to this build, which knows {PEER_FORMAT}",
                envelope.format
            )));
        }
        let meant = envelope.cluster_id == running.cluster_id && envelope.to_member_id == running.me.0;
        if !meant {
            return Err(Status::failed_precondition(format!(
                "this is member {} of cluster {}, the message was for member {} of cluster {}",
                running.me, running.cluster_id, envelope.to_member_id, envelope.cluster_id
            )));
        }
        Ok(running)
    }
}

#[tonic::async_trait]
impl PeerService for PeerEndpoint {
    type PartitionsStream = Pin<Box<dyn Stream<Item = Result<PartitionsResponse, Status>> + Send>>;

    async fn assign(&self, request: Request<AssignRequest>) -> Answer<AssignResponse> {
        let request = request.into_inner();
        let assignment = Assignment {
            cluster_id: request.cluster_id,
            member: MemberId(request.member_id),
            meta_replica: ReplicaId(request.meta_replica_id),
            peers: request
                .peers
                .into_iter()
                .map(|peer| PeerAddress {
                    member: MemberId(peer.member_id),
                    address: peer.address,
                })
                .collect(),
            founding: None,
        };
        self.process
            .assign(&request.disk_id, assignment)
            .await
            .map_err(|error| Status::failed_precondition(format!("{error:#}")))?;
        Ok(Response::new(AssignResponse {}))
    }

    async fn propose_meta(&self, request: Request<MetaCommand>) -> Answer<MetaAnswer> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let proposed = running
            .meta
            .propose(request.body.to_vec())
            .await
            .map_err(|error| match error {
                ProposeError::NotLeader { .. } | ProposeError::Stopped => Status::unavailable(error.to_string()),
                ProposeError::Unknown => Status::unknown(error.to_string()),
                ProposeError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
            })?;
        Ok(Response::new(MetaAnswer {
            body: proposed.answer.into(),
            applied_index: proposed.index,
        }))
    }

    async fn take_timestamps(&self, request: Request<TakeTimestampsRequest>) -> Answer<TakeTimestampsResponse> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let proof = match request.to_read {
            true => Proof::Lease,
            false => Proof::Majority {
                vote: request.vote.map(votes::received),
            },
        };
        let first = running
            .oracle
            .take(request.count, proof)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(TakeTimestampsResponse { first: first.0 }))
    }

    async fn get_meta_vote(&self, request: Request<GetMetaVoteRequest>) -> Answer<SavedVote> {
        let running = self.member(request.into_inner().envelope.as_ref())?;
        let vote = running.meta.saved_vote();
        let vote = vote.ok_or_else(|| Status::unavailable("this member's meta replica has not voted yet"))?;
        Ok(Response::new(votes::sent(vote)))
    }

    async fn partition(&self, request: Request<PartitionRequest>) -> Answer<PartitionResponse> {
        let request = request.into_inner();
        if self.process.is_removed() {
            // Not an error, which would leave open whether anything was done here.
            let nothing: message::Response = Err(Failure::NotLeader { leader: None });
            let body = message::encode(&nothing).into();
            return Ok(Response::new(PartitionResponse { body }));
        }
        let running = self.member(request.envelope.as_ref())?;
        let decoded: message::Request =
            message::decode(&request.body).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let response = answer_of_partition(&running, PartitionId(request.partition), decoded).await;
        Ok(Response::new(PartitionResponse {
            body: message::encode(&response).into(),
        }))
    }

    async fn partitions(&self, request: Request<PartitionsRequest>) -> Answer<Self::PartitionsStream> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        if request.parts.len() > MAX_PARTS {
            return Err(Status::invalid_argument(format!("more than {MAX_PARTS} parts")));
        }
        let answers: FuturesUnordered<_> = (0..)
            .zip(request.parts)
            .map(|(position, part)| answer_part(running.clone(), position, part))
            .collect();
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_read_indexes(&self, request: Request<ReadIndexesRequest>) -> Answer<ReadIndexesResponse> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        if request.partitions.len() > MAX_PARTS {
            return Err(Status::invalid_argument(format!("more than {MAX_PARTS} partitions")));
        }
        let at_least = Timestamp(request.at_least);
        let end = |partition: &u32| {
            let local = running.partitions.get(PartitionId(*partition));
            async move {
                let index = local?.leader.read_index(at_least).await?;
                Some(index + 1)
            }
        };
        let ends = join_all(request.partitions.iter().map(end)).await;
        Ok(Response::new(ReadIndexesResponse {
            ends: ends.into_iter().map(Option::unwrap_or_default).collect(),
        }))
    }

    async fn get_transaction(&self, request: Request<GetTransactionRequest>) -> Answer<GetTransactionResponse> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let txn = TxnId {
            member: running.me,
            incarnation: request.incarnation,
            counter: request.counter,
        };
        let under_way = running.router.under_way.has(txn);
        Ok(Response::new(GetTransactionResponse { under_way }))
    }

    async fn leader_status(&self, request: Request<LeaderStatusRequest>) -> Answer<GetStatusResponse> {
        let running = self.member(request.into_inner().envelope.as_ref())?;
        running
            .leader_status()
            .await
            .map(Response::new)
            .ok_or_else(|| Status::unavailable("this member does not lead the meta group"))
    }

    async fn change_replicas(&self, request: Request<ChangeReplicasRequest>) -> Answer<ChangeReplicasResponse> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let local = running
            .partitions
            .get(PartitionId(request.partition))
            .ok_or_else(|| Status::unavailable("this member has no replica of the partition"))?;
        let change = request
            .change
            .ok_or_else(|| Status::invalid_argument("no change is named"))?;
        change_membership(&local.group, change)
            .await
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(ChangeReplicasResponse {}))
    }

    async fn observe_replicas(&self, request: Request<ObserveReplicasRequest>) -> Answer<ObserveReplicasResponse> {
        let request = request.into_inner();
        let running = self.member(request.envelope.as_ref())?;
        let full = request.full_member_ids.into_iter().map(MemberId);
        running.short.tell(full.collect());
        let room = running.space.reading();
        let groups = running.groups.clone();
        let observe = move || {
            let replicas = groups.list().iter().map(observed).collect();
            (replicas, groups.disk_usage().data_bytes())
        };
        let observed = tokio::task::spawn_blocking(observe).await;
        let (replicas, data_bytes) = observed.map_err(|panic| Status::internal(panic.to_string()))?;
        Ok(Response::new(ObserveReplicasResponse {
            member_id: running.me.0,
            replicas,
            data_bytes,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stopping: running.stopping.load(Ordering::Relaxed),
            disk_available_bytes: room.available_bytes,
            disk_full: room.is_short(),
            now_ms: self.process.config.clock.now_ms(),
        }))
    }
}

async fn answer_part(running: Arc<Running>, position: u32, part: PartPartition) -> Result<PartitionsResponse, Status> {
    let decoded: message::Request =
        message::decode(&part.body).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let response = answer_of_partition(&running, PartitionId(part.partition), decoded).await;
    Ok(PartitionsResponse {
        position,
        body: message::encode(&response).into(),
    })
}

async fn answer_of_partition(
    running: &Running,
    partition: PartitionId,
    request: message::Request,
) -> message::Response {
    match running.partitions.get(partition) {
        Some(local) => local.leader.handle(request).await,
        None => Err(Failure::NotLeader { leader: None }),
    }
}

async fn change_membership(group: &Group, change: Change) -> Result<(), MembershipError> {
    match change {
        Change::AddLearner(add) => {
            group
                .add_learner(ReplicaId(add.replica_id), MemberId(add.member_id))
                .await
        }
        Change::ReplaceVoters(replace) => {
            let voters: BTreeSet<ReplicaId> = replace.voters.into_iter().map(ReplicaId).collect();
            group.replace_voters(voters, &replace.expected_membership_log_id).await
        }
        Change::RemoveLearner(remove) => group.remove_learner(ReplicaId(remove.replica_id)).await,
        Change::TransferLeader(transfer) => group.transfer_leader(ReplicaId(transfer.to_replica_id)).await,
    }
}

/// Blocks on the disk.
fn observed(group: &Group) -> ObservedReplica {
    let seen = group.observe();
    ObservedReplica {
        group: seen.group.number(),
        replica_id: seen.replica.0,
        leader_replica_id: seen.leader.map_or(0, |leader| leader.0),
        term: seen.term,
        leading_ms: seen.leading_ms,
        last_log_index: seen.last_log_index,
        applied_index: seen.applied,
        voters: seen.voters.iter().flatten().map(|voter| voter.0).collect(),
        learners: seen.learners.iter().map(|learner| learner.0).collect(),
        joint: seen.voters.len() > 1 || !seen.membership_committed,
        membership_log_id: seen.membership_log_id.clone(),
        progress: seen
            .progress
            .iter()
            .map(|(replica, progress)| ReplicaProgress {
                replica_id: replica.0,
                matched_index: progress.matched_index,
                silent_ms: progress.silent_ms,
            })
            .collect(),
        noted_digest: noted_digest_of(group),
    }
}

/// A state that cannot be read says nothing here; its own scrub does.
fn noted_digest_of(group: &Group) -> Option<NotedDigest> {
    let GroupId::Partition(_) = group.id() else {
        return None;
    };
    let noted = partition::noted_digest(&group.view().ok()?).ok().flatten()?;
    Some(NotedDigest {
        index: noted.index,
        digest: noted.digest.to_vec().into(),
    })
}
