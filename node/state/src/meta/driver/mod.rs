//! The rules by which the meta leader drives foundings, moves and the meta group's own membership.
//!
//! Pure and without memory: from the catalogue and one observation to actions with no choice left. After a crash of
//! anyone the next leader decides the same from what it sees. A move goes learner, caught up, one joint change that
//! promotes the new replica and drops the old one, and only then retires the old one.

mod diverged;
mod leaders;
mod members;
mod meta_group;
mod moves;
mod removal;

use std::collections::{BTreeMap, BTreeSet};

pub use diverged::{NotedDigests, report_diverged};
pub use leaders::{balance_leaders, elected_leaders};
pub use members::next_member_steps;
pub use meta_group::{MetaAction, next_meta_step};
pub use moves::{Action, next_step, why_not_begin};
pub use removal::{is_drained, next_removal, why_member_waits};

use crate::ids::{MemberId, PartitionId, ReplicaId};

/// A replica this close to its leader has caught up.
pub const CAUGHT_UP_ENTRIES: u64 = 1_000;
/// A voter that the leader has not heard from for this long is not counted on.
pub const IN_SYNC_WITHIN_MS: u64 = 3_000;

/// What a group's leader says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderView {
    pub member: MemberId,
    pub replica: ReplicaId,
    pub term: u64,
    /// Milliseconds since it began to lead.
    pub led_ms: u64,
    /// While a joint change is under way: of both its sets.
    pub voters: BTreeSet<ReplicaId>,
    pub learners: BTreeSet<ReplicaId>,
    /// A joint change, or an uncommitted one, is under way.
    pub joint: bool,
    pub last_log_index: u64,
    pub membership_log_id: String,
    /// Log index that each other replica has on disk.
    pub matched: BTreeMap<ReplicaId, u64>,
    /// Milliseconds since each other replica was last heard from.
    pub silent_ms: BTreeMap<ReplicaId, u64>,
}

/// What the meta leader's member was told to do, and what only it can know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Milliseconds since the epoch.
    pub now_ms: u64,
    /// For how long this member has led the meta group.
    pub leading_ms: u64,
    /// A member that has failed for longer counts as gone; none: never.
    pub replacement_after_ms: Option<u64>,
    pub balance_leaders: bool,
    /// Members that did not answer when they were asked now, or hand over what they lead because their process ends: a
    /// leader given to one of them would have its group wait for an election.
    pub absent: BTreeSet<MemberId>,
}

/// The leaders' views; `None` where no leader answered.
pub type Observed = BTreeMap<PartitionId, Option<LeaderView>>;

impl LeaderView {
    /// Entries that a replica has yet to get; none where the leader has not heard of its progress.
    pub fn lag(&self, replica: ReplicaId) -> Option<u64> {
        match replica == self.replica {
            true => Some(0),
            false => self
                .matched
                .get(&replica)
                .map(|matched| self.last_log_index.saturating_sub(*matched)),
        }
    }

    /// Caught up, and heard from a moment ago.
    pub fn is_in_sync(&self, replica: ReplicaId) -> bool {
        self.is_heard(replica) && self.lag(replica).is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES)
    }

    fn is_heard(&self, replica: ReplicaId) -> bool {
        let silent = self.silent_ms.get(&replica);
        replica == self.replica || silent.is_some_and(|silent| *silent <= IN_SYNC_WITHIN_MS)
    }

    fn voter_out_of_sync(&self, except: Option<ReplicaId>) -> Option<ReplicaId> {
        self.voters
            .iter()
            .copied()
            .find(|voter| Some(*voter) != except && !self.is_in_sync(*voter))
    }

    fn voters_in_sync(&self) -> usize {
        self.voters.iter().filter(|voter| self.is_in_sync(**voter)).count()
    }

    /// In-sync voters that could be lost before the group stops; below zero it has stopped already.
    fn spare_voters(&self) -> i64 {
        let majority = self.voters.len() / 2 + 1;
        self.voters_in_sync() as i64 - majority as i64
    }

    /// A voter that holds up a change which drops `old`.
    ///
    /// All others have to be in sync, so that a change never leaves fewer voters in sync than it found. Where the one that
    /// goes is itself lost the change is the repair: then a majority is enough, for each loss that is not repaired makes the
    /// next one worse.
    pub(super) fn holds_up(&self, old: Option<ReplicaId>) -> Option<ReplicaId> {
        let repairs = old.is_some_and(|old| self.voters.contains(&old) && !self.is_in_sync(old));
        match repairs && self.spare_voters() >= 0 {
            true => None,
            false => self.voter_out_of_sync(old),
        }
    }
}
