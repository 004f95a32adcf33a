//! Changes of a group's membership: one at a time, each by compare-and-set, none half done because a caller went away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, PreconditionFailed, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::type_config::TypeConfigExt;
use openraft::{ChangeMembers, Precondition, RaftMetrics};

use super::observe::{log_id_text, parse_log_id};
use super::{Group, leader_of};
use crate::raft::types::{Raft, StoredMembership, TypeConfig};

/// After this the outcome counts as unknown; the change itself goes on.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a membership change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("this replica does not lead its group")]
    NotLeader { leader: Option<(ReplicaId, MemberId)> },
    #[error("the membership is no longer the one expected; now it is {actual}")]
    Changed { actual: String },
    #[error("another membership change is in progress")]
    InProgress,
    #[error("the membership change is refused: {0}")]
    Refused(String),
    #[error("the outcome of the membership change is unknown; observe the group and decide again")]
    Unknown,
    #[error("this replica is stopped")]
    Stopped,
}

type WriteResult = Result<ClientWriteResponse<TypeConfig>, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

/// How long a handover waits for an heir that is just coming back.
const READY_WITHIN: Duration = Duration::from_millis(500);

impl Group {
    /// Gives a new group its first voters, of whom this replica is one. Where the group has a membership already, whatever
    /// it is, nothing happens.
    pub async fn initialize(&self, voters: BTreeMap<ReplicaId, MemberId>) -> Result<(), MembershipError> {
        match self.inner.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(error @ InitializeError::NotInMembers(_))) => {
                Err(MembershipError::Refused(error.to_string()))
            }
            Err(RaftError::Fatal(_)) => Err(MembershipError::Stopped),
        }
    }

    /// Adds a learner; returns when that is committed, not when it has caught up.
    pub async fn add_learner(&self, replica: ReplicaId, member: MemberId) -> Result<(), MembershipError> {
        match self.committed_membership()?.get_node(&replica) {
            Some(known) if *known == member => return Ok(()),
            Some(known) => {
                let reason = format!("replica {replica} is on member {known}, and a replica never moves");
                return Err(MembershipError::Refused(reason));
            }
            None => {}
        }
        self.change(move |raft| async move { raft.add_learner(replica, member, false).await })
            .await
    }

    /// Makes these the voters by one joint change, if the membership is still the one of `expected_membership_log_id`.
    ///
    /// Old voters that are not among them leave the group; learners stay. Called on a joint membership that a lost leader
    /// left behind, it ends it.
    pub async fn replace_voters(
        &self,
        voters: BTreeSet<ReplicaId>,
        expected_membership_log_id: &str,
    ) -> Result<(), MembershipError> {
        let unchanged = unchanged_since(expected_membership_log_id)?;
        self.change(move |raft| async move { raft.change_membership_if(voters, false, [unchanged]).await })
            .await
    }

    /// Drops a learner from the group.
    pub async fn remove_learner(&self, replica: ReplicaId) -> Result<(), MembershipError> {
        let membership = self.committed_membership()?;
        if membership.get_node(&replica).is_none() {
            return Ok(());
        }
        if membership.voter_ids().any(|voter| voter == replica) {
            let reason = format!("replica {replica} votes; replace the voters first");
            return Err(MembershipError::Refused(reason));
        }
        let remove = ChangeMembers::RemoveNodes(BTreeSet::from([replica]));
        self.change(move |raft| async move { raft.change_membership(remove, false).await })
            .await
    }

    /// Drops a learner from the group, if the membership is still the one of `expected_membership_log_id`.
    pub async fn remove_learner_if(
        &self,
        replica: ReplicaId,
        expected_membership_log_id: &str,
    ) -> Result<(), MembershipError> {
        let unchanged = unchanged_since(expected_membership_log_id)?;
        let remove = ChangeMembers::RemoveNodes(BTreeSet::from([replica]));
        self.change(move |raft| async move { raft.change_membership_if(remove, false, [unchanged]).await })
            .await
    }

    /// Asks this leader to hand over, to one that can take the lead at once; whether it did, the leadership tells.
    pub async fn transfer_leader(&self, to: ReplicaId) -> Result<(), MembershipError> {
        if !self.leadership().leading {
            return Err(self.not_leader());
        }
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        if !metrics.membership_config.voter_ids().any(|voter| voter == to) {
            return Err(MembershipError::Refused(format!("replica {to} does not vote")));
        }
        let heir = metrics.membership_config.nodes().find(|(replica, _)| **replica == to);
        if let Some((_, member)) = heir
            && !self.is_ready_to_lead(to, *member).await
        {
            let reason = format!("replica {to} on member {member} does not answer, or lacks what its leader has");
            return Err(MembershipError::Refused(reason));
        }
        // Looked at behind the wait, in which this replica may have led anew. The core may be a term ahead of its report; as this
        // term's heir leads the next one, that costs nothing.
        let term = self.inner.raft.metrics().borrow_watched().current_term;
        self.inner.lease.hand_over(term + 1);
        let asked = self.inner.raft.trigger().transfer_leader(to).await;
        asked.map_err(|_| MembershipError::Stopped)
    }

    /// Whether a replica is reached, has answered since this call began, and has all that was in this leader's log then, now or in
    /// a moment. openraft gives up the lead before it knows, and a group whose heir is only starting would be without a leader.
    async fn is_ready_to_lead(&self, heir: ReplicaId, member: MemberId) -> bool {
        if heir == self.replica() {
            return true;
        }
        let (raft, begin) = (&self.inner.raft, TypeConfig::now());
        // The barrier asks all, at once.
        if !self.inner.transport.reaches(member, READY_WITHIN).await || self.read_barrier().await.is_err() {
            return false;
        }
        let needed = raft.metrics().borrow_watched().last_log_index;
        let is_ready = |seen: &RaftMetrics<TypeConfig>| {
            let heard = seen
                .heartbeat
                .as_ref()
                .and_then(|heard| heard.get(&heir).copied().flatten());
            let matched = seen
                .replication
                .as_ref()
                .and_then(|matched| matched.get(&heir).copied().flatten());
            heard.is_some_and(|heard| heard.into_inner() >= begin) && matched.map(|log_id| log_id.index()) >= needed
        };
        let ready = raft
            .wait(Some(READY_WITHIN))
            .metrics(is_ready, "an heir that is ready")
            .await;
        ready.is_ok()
    }

    fn committed_membership(&self) -> Result<std::sync::Arc<StoredMembership>, MembershipError> {
        if !self.leadership().leading {
            return Err(self.not_leader());
        }
        Ok(self
            .inner
            .raft
            .metrics()
            .borrow_watched()
            .committed_membership_config
            .clone())
    }

    fn not_leader(&self) -> MembershipError {
        match self.stop_reason() {
            Some(_) => MembershipError::Stopped,
            None => MembershipError::NotLeader {
                leader: self.leadership().leader,
            },
        }
    }

    /// Runs a change in a task of its own: its second entry must follow its first even if the caller goes away.
    async fn change<Change>(&self, change: impl FnOnce(Raft) -> Change + Send + 'static) -> Result<(), MembershipError>
    where
        Change: Future<Output = WriteResult> + Send + 'static,
    {
        let Ok(turn) = self.inner.membership_turn.clone().try_acquire_owned() else {
            return Err(MembershipError::InProgress);
        };
        let raft = self.inner.raft.clone();
        let task = self.inner.tasks.spawn(async move {
            let result = change(raft).await;
            drop(turn);
            result
        });
        match tokio::time::timeout(CHANGE_TIMEOUT, task).await {
            Ok(Ok(Ok(_response))) => Ok(()),
            Ok(Ok(Err(RaftError::APIError(error)))) => Err(membership_error(error)),
            // It may have been accepted before Raft stopped, or be under way still.
            Ok(Ok(Err(RaftError::Fatal(_))) | Err(_)) | Err(_) => Err(MembershipError::Unknown),
        }
    }
}

/// The compare in compare-and-set: the newest membership is the one with this log id.
fn unchanged_since(membership_log_id: &str) -> Result<Precondition<TypeConfig>, MembershipError> {
    let last_membership_log_id = parse_log_id(membership_log_id)
        .ok_or_else(|| MembershipError::Refused(format!("{membership_log_id:?} is no log id")))?;
    Ok(Precondition::LastMembershipLogId { last_membership_log_id })
}

fn membership_error(error: ClientWriteError<TypeConfig>) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => MembershipError::NotLeader {
            leader: leader_of(&forward),
        },
        ClientWriteError::LogEntryDiscarded(_) => MembershipError::Unknown,
        ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => MembershipError::InProgress,
        ClientWriteError::ChangeMembershipError(error) => MembershipError::Refused(error.to_string()),
        ClientWriteError::PreconditionFailed(PreconditionFailed::LastMembershipLogIdMismatch { actual, .. }) => {
            MembershipError::Changed {
                actual: log_id_text(actual),
            }
        }
        ClientWriteError::PreconditionFailed(error) => MembershipError::Refused(error.to_string()),
    }
}
