//! Proposals: accepted by the leader alone, answered when applied here.

use std::time::Duration;

use bytes::Bytes;
use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader, RaftError};
use openraft::raft::ClientWriteResponse;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Group, leader_of};
use crate::raft::counters::count;
use crate::raft::settings::MAX_PROPOSAL_BYTES;
use crate::raft::types::{Command, TypeConfig, Witness};

/// Bytes of proposals under way in all groups of a member; beyond, proposers wait.
pub const ROOM_BYTES: usize = 64 << 20;
/// What a proposal costs besides its bytes.
const PROPOSAL_OVERHEAD: usize = 256;
/// Between attempts at a leader that waits for its first majority; that takes one round trip.
const FRESH_LEADER_PAUSE: Duration = Duration::from_millis(5);

/// A proposal that a majority has on disk and this replica has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    pub term: u64,
    pub index: u64,
    /// What the state machine answered.
    pub answer: Vec<u8>,
}

/// Why a proposal has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this replica does not lead its group; nothing was proposed")]
    NotLeader { leader: Option<(ReplicaId, MemberId)> },
    #[error("the outcome of the proposal is unknown: it may still be applied")]
    Unknown,
    #[error("a proposal may have at most {limit} bytes")]
    TooLarge { limit: usize },
    #[error("this replica is stopped; nothing was proposed")]
    Stopped,
}

/// What one attempt came to.
enum Attempt {
    Ended(Result<Proposed, ProposeError>),
    /// Nothing was proposed, but this leader may take it in a moment.
    NotYet(ForwardToLeader<TypeConfig>),
}

impl Group {
    /// Proposes a command; answers when it is applied here.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        self.propose_command(Command::from(Bytes::from(command))).await
    }

    /// As [`Group::propose`], and tells before the answer, where it comes to that, that the entry is on this member's disk.
    pub async fn propose_told(&self, command: Vec<u8>, on_disk: oneshot::Sender<()>) -> Result<Proposed, ProposeError> {
        let command = Command {
            bytes: Bytes::from(command),
            witness: Some(Witness::new(on_disk)),
        };
        self.propose_command(command).await
    }

    async fn propose_command(&self, command: Command) -> Result<Proposed, ProposeError> {
        if command.bytes.len() > MAX_PROPOSAL_BYTES {
            return Err(ProposeError::TooLarge {
                limit: MAX_PROPOSAL_BYTES,
            });
        }
        if self.stop_reason().is_some() {
            return Err(ProposeError::Stopped);
        }
        let deadline = Instant::now() + self.inner.settings.propose_timeout;
        match timeout_at(deadline, self.propose_in_turn(command)).await {
            Ok(result) => result,
            Err(_) => Err(ProposeError::Unknown),
        }
    }

    async fn propose_in_turn(&self, command: Command) -> Result<Proposed, ProposeError> {
        let cost = u32::try_from(command.bytes.len() + PROPOSAL_OVERHEAD).expect("a proposal is limited to a few MiB");
        let room = self.inner.room.acquire_many(cost).await;
        let _room = room.map_err(|_| ProposeError::Stopped)?;
        let patience = Instant::now() + self.election_timeout();
        loop {
            match self.attempt(command.clone()).await {
                Attempt::Ended(result) => return result,
                Attempt::NotYet(_) if Instant::now() < patience => sleep(FRESH_LEADER_PAUSE).await,
                Attempt::NotYet(forward) => {
                    return Err(ProposeError::NotLeader {
                        leader: leader_of(&forward),
                    });
                }
            }
        }
    }

    async fn attempt(&self, command: Command) -> Attempt {
        let error = match self.inner.raft.client_write(command).await {
            Ok(response) => return Attempt::Ended(Ok(self.proposed(response))),
            Err(RaftError::APIError(error)) => error,
            // It may have been accepted before Raft stopped.
            Err(RaftError::Fatal(_)) => return Attempt::Ended(Err(ProposeError::Unknown)),
        };
        match error {
            // A leader refuses while no majority has answered it for a while; so does one that was just elected.
            ClientWriteError::ForwardToLeader(forward) if forward.reason == ForwardReason::LeaseExpired => {
                Attempt::NotYet(forward)
            }
            ClientWriteError::ForwardToLeader(forward) => Attempt::Ended(Err(ProposeError::NotLeader {
                leader: leader_of(&forward),
            })),
            ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_) => Attempt::Ended(Err(ProposeError::Unknown)),
        }
    }

    fn proposed(&self, response: ClientWriteResponse<TypeConfig>) -> Proposed {
        count(&self.inner.counters.proposals);
        Proposed {
            term: response.log_id.committed_leader_id().term,
            index: response.log_id.index(),
            answer: response.data.0,
        }
    }
}
