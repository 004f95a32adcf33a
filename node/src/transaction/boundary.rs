//! The outside world of a transaction, each part one narrow trait, so that tests can break it on purpose.

use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use kotoba_state::ids::{MemberId, PartitionId, Timestamp};
use kotoba_state::partition::TxnId;
use kotoba_state::store::Read;
use tokio::sync::{oneshot, watch};

use super::leader::Opened;
use super::message::{Failure, Reply, Request};
use crate::raft::{BarrierError, Group, Leadership, ProposeError, Proposed};

/// Why a group did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Nothing happened.
    #[error("this replica does not lead its partition")]
    NotLeader { leader: Option<MemberId> },
    /// The proposal may still be applied.
    #[error("the outcome of a proposal is unknown")]
    Unknown,
    #[error("a proposal may have at most {limit} bytes: send fewer or smaller operations in one request")]
    TooLarge { limit: usize },
    #[error("the state of the partition cannot be read: {0}")]
    State(String),
}

/// The replica of a partition, as the transaction layer sees it.
#[async_trait]
pub trait PartitionGroup: Send + Sync + 'static {
    /// Proposes a command of the partition's state machine; returns its answer when it is applied and visible here.
    async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, GroupError>;
    /// As `propose`, and tells before the answer that the entry is on this replica's disk.
    async fn propose_told(&self, command: Vec<u8>, on_disk: oneshot::Sender<()>) -> Result<Vec<u8>, GroupError>;
    /// Returns once everything committed before the call is applied here. Only a leader can.
    async fn read_barrier(&self) -> Result<(), GroupError>;
    /// As `read_barrier`, for what is only read: whether this replica leads may be known from a moment ago.
    async fn lease_barrier(&self) -> Result<(), GroupError>;
    /// Whether `lease_barrier` would ask nobody.
    fn is_covered_by_lease(&self) -> bool;
    /// Index of the last applied entry. A view that is opened later contains it, and what was answered before is in it.
    fn applied_index(&self) -> u64;
    /// Pins the state as of the last applied entry.
    fn view(&self) -> Result<Box<dyn Read + Send>, GroupError>;
    fn leadership(&self) -> Leadership;
    fn watch_leadership(&self) -> watch::Receiver<Leadership>;
}

/// The source of timestamps. It batches only requests that already wait, and keeps nothing.
#[async_trait]
pub trait Timestamps: Send + Sync + 'static {
    /// A timestamp above every one issued before this call.
    async fn take(&self) -> Result<Timestamp, CallError>;
    /// As [`Timestamps::take`], for a reader: sooner, where leaders answer reads by their leases.
    async fn take_to_read(&self) -> Result<Timestamp, CallError> {
        self.take().await
    }
    /// The largest timestamp known here to be issued, if it was issued a moment ago.
    fn recent(&self) -> Option<Timestamp>;
    /// Whether a reader's costs nothing now, as it is given here.
    fn are_free(&self) -> bool {
        false
    }
}

/// Whether there is room on the disks under a partition.
pub trait Admission: Send + Sync + 'static {
    /// Asked before a client's write gets into the log; an error says that nothing was done.
    fn admit(&self, partition: PartitionId) -> Result<(), Failure>;
}

/// Disks without an end.
impl Admission for () {
    fn admit(&self, _: PartitionId) -> Result<(), Failure> {
        Ok(())
    }
}

/// Why a partition gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Nothing was done: the same call may be made again.
    #[error("{0}")]
    Unavailable(String),
    /// The call was sent, and may have been done.
    #[error("the outcome of a call is unknown: {0}")]
    Unknown(String),
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What the member that began a transaction says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorSays {
    UnderWay,
    /// Nobody carries it on: who finds it open may roll it back.
    Ended,
    /// It gives no answer, for so long already.
    Nothing {
        silent_for: Duration,
    },
}

/// The way to the leaders of all partitions.
#[async_trait]
pub trait Partitions: Send + Sync + 'static {
    /// Asks a partition's leader; finds the new one after a change, as long as nothing was done yet.
    async fn call(&self, partition: PartitionId, request: Request) -> Result<Reply, CallError>;
    /// Asks the leaders of several partitions at once; the answers are in the order of the requests.
    async fn call_all(&self, requests: Vec<(PartitionId, Request)>) -> Vec<Result<Reply, CallError>> {
        join_all(
            requests
                .into_iter()
                .map(|(partition, request)| self.call(partition, request)),
        )
        .await
    }
    /// Asks one replica, the nearest, whether it leads or not; none where it gave no answer.
    async fn call_replica(&self, partition: PartitionId, request: Request) -> Option<Reply>;
    /// The replica of a partition that this member has, opened to be read; none where it has none, or it would have to wait.
    fn open(&self, _partition: PartitionId, _at: Timestamp) -> Option<Opened> {
        None
    }
    /// Asks leaders how far replicas that follow have to have applied the log of each partition to show the present; none where
    /// nothing is known without waiting.
    async fn read_indexes(&self, _at_least: Timestamp, partitions: &[PartitionId]) -> Vec<Option<u64>> {
        vec![None; partitions.len()]
    }
    /// Whether this member has a replica of a partition that does not lead.
    fn is_followed_here(&self, _partition: PartitionId) -> bool {
        false
    }
    /// Whether there is any such.
    fn follows(&self) -> bool {
        false
    }
    /// Asks the member that coordinates a transaction whether it still does; the answer is soon there, or none.
    async fn ask_coordinator(&self, _txn: TxnId) -> CoordinatorSays {
        CoordinatorSays::Nothing {
            silent_for: Duration::ZERO,
        }
    }
    fn partition_of(&self, slot: u16) -> PartitionId;
    /// First and last slot of a partition.
    fn slots_of(&self, partition: PartitionId) -> (u16, u16);
    /// All partitions, ascending by their slots.
    fn all(&self) -> Vec<PartitionId>;
}

#[async_trait]
impl PartitionGroup for Group {
    async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, GroupError> {
        answer(Group::propose(self, command).await)
    }

    async fn propose_told(&self, command: Vec<u8>, on_disk: oneshot::Sender<()>) -> Result<Vec<u8>, GroupError> {
        answer(Group::propose_told(self, command, on_disk).await)
    }

    async fn read_barrier(&self) -> Result<(), GroupError> {
        Group::read_barrier(self).await.map_err(no_barrier)
    }

    async fn lease_barrier(&self) -> Result<(), GroupError> {
        Group::lease_barrier(self).await.map_err(no_barrier)
    }

    fn is_covered_by_lease(&self) -> bool {
        Group::is_covered_by_lease(self)
    }

    fn applied_index(&self) -> u64 {
        Group::applied_index(self)
    }

    fn view(&self) -> Result<Box<dyn Read + Send>, GroupError> {
        match Group::view(self) {
            Ok(view) => Ok(Box::new(view)),
            Err(error) => Err(GroupError::State(format!("{error:?}"))),
        }
    }

    fn leadership(&self) -> Leadership {
        Group::leadership(self)
    }

    fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        Group::watch_leadership(self)
    }
}

fn answer(proposed: Result<Proposed, ProposeError>) -> Result<Vec<u8>, GroupError> {
    match proposed {
        Ok(proposed) => Ok(proposed.answer),
        Err(ProposeError::NotLeader { leader }) => Err(not_leader(leader)),
        Err(ProposeError::Unknown) => Err(GroupError::Unknown),
        Err(ProposeError::TooLarge { limit }) => Err(GroupError::TooLarge { limit }),
        Err(ProposeError::Stopped) => Err(GroupError::NotLeader { leader: None }),
    }
}

fn no_barrier(error: BarrierError) -> GroupError {
    match error {
        BarrierError::NotLeader { leader } => not_leader(leader),
        BarrierError::NoQuorum | BarrierError::Stopped => GroupError::NotLeader { leader: None },
    }
}

fn not_leader<R>(leader: Option<(R, MemberId)>) -> GroupError {
    GroupError::NotLeader {
        leader: leader.map(|(_, member)| member),
    }
}
