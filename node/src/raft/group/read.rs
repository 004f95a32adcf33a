//! Reads that see everything acknowledged before them, and waiting for what is not applied yet.

use std::time::{Duration, Instant};

use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::metrics::WaitError as RaftWaitError;
use openraft::{LinearizerOption, ReadPolicy};

use super::{Group, leader_of};

/// Why a linearizable read cannot be served here now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    #[error("this replica does not lead its group")]
    NotLeader { leader: Option<(ReplicaId, MemberId)> },
    #[error("no majority confirmed the leader in time")]
    NoQuorum,
    #[error("this replica is stopped")]
    Stopped,
}

/// Why something was not awaited to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    #[error("not reached in time")]
    Timeout,
    #[error("this replica is stopped")]
    Stopped,
}

impl Group {
    /// Returns once everything committed before the call is applied here. Only a leader can: it asks a majority whether it
    /// still leads. Calls that wait at the same time share the question.
    pub async fn read_barrier(&self) -> Result<(), BarrierError> {
        self.barrier(LinearizerOption::from(ReadPolicy::ReadIndex)).await
    }

    /// As [`Group::read_barrier`], without a question where a majority has answered this leader within its lease: none of them
    /// votes for another one before that is over. What is decided by the clocks of members is the age of a read alone: their
    /// rates must not differ by more than the lease is longer than what is used of it, and a machine that is halted with its
    /// clock may answer with what was true before.
    pub async fn lease_barrier(&self) -> Result<(), BarrierError> {
        if !self.inner.settings.lease_reads {
            return self.read_barrier().await;
        }
        if self.is_covered_by_lease() {
            return Ok(());
        }
        self.barrier(LinearizerOption::new(Some(self.used_lease()), true)).await
    }

    /// Whether [`Group::lease_barrier`] would ask nobody.
    pub fn is_covered_by_lease(&self) -> bool {
        let applied = self.inner.state.applied().log_id;
        self.inner.settings.lease_reads
            && self.inner.lease.covers(applied, self.used_lease())
            && !self.inner.stopped.is_cancelled()
    }

    fn used_lease(&self) -> Duration {
        self.inner.settings.of(self.id()).used_lease()
    }

    async fn barrier(&self, option: LinearizerOption) -> Result<(), BarrierError> {
        let ask = self.inner.raft.ensure_linearizable(option);
        match tokio::time::timeout(self.inner.settings.barrier_timeout, ask).await {
            Ok(Ok(_read_log_id)) => Ok(()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(BarrierError::NotLeader {
                    leader: leader_of(&forward),
                })
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(BarrierError::NoQuorum)
            }
            Ok(Err(RaftError::Fatal(_))) => Err(BarrierError::Stopped),
        }
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn wait_applied(&self, index: u64, deadline: Instant) -> Result<(), WaitError> {
        let mut applied = self.applied();
        let reached = applied.wait_for(|applied| *applied >= index);
        let reached = tokio::time::timeout_at(deadline.into(), reached);
        match self.inner.stopped.run_until_cancelled(reached).await {
            Some(Ok(Ok(_))) => Ok(()),
            Some(Err(_)) => Err(WaitError::Timeout),
            Some(Ok(Err(_))) | None => Err(WaitError::Stopped),
        }
    }

    /// Waits until this replica has applied all that it may have served before a restart. Reads before that could go back
    /// in time.
    pub async fn wait_for_recovery(&self, deadline: Instant) -> Result<(), WaitError> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.inner.raft.wait_for_recovery(Some(left)).await {
            Ok(_metrics) => Ok(()),
            Err(RaftWaitError::Timeout(..)) => Err(WaitError::Timeout),
            Err(RaftWaitError::ShuttingDown) => Err(WaitError::Stopped),
        }
    }
}
