//! What one replica knows of its group, for placement, for status and for metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kotoba_state::ids::{GroupId, MemberId, ReplicaId};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant, RaftMetrics};

use super::Group;
use crate::raft::types::{LeaderId, LogId, TypeConfig};

/// What a leader knows of one replica's copy of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaProgress {
    /// Highest index known to be on that replica's disk.
    pub matched_index: Option<u64>,
    /// Milliseconds since the leader last heard from it; none: never in this term.
    pub silent_ms: Option<u64>,
}

/// What one replica knows of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupObservation {
    pub group: GroupId,
    pub replica: ReplicaId,
    pub leader: Option<ReplicaId>,
    pub term: u64,
    /// Milliseconds since this replica began to lead; none where it does not.
    pub leading_ms: Option<u64>,
    pub last_log_index: u64,
    pub applied: u64,
    /// State up to here survives a loss of power without the log.
    pub durable_applied: u64,
    /// Entries up to here are gone from the log; who needs them gets a snapshot.
    pub purged_index: u64,
    /// One set; two while a joint change is under way; none before the group is initialized.
    pub voters: Vec<BTreeSet<ReplicaId>>,
    pub learners: BTreeSet<ReplicaId>,
    /// Where each replica is.
    pub members: BTreeMap<ReplicaId, MemberId>,
    /// What `replace_voters` compares with.
    pub membership_log_id: String,
    /// The membership shown is committed.
    pub membership_committed: bool,
    /// Of a leader only: every other replica.
    pub progress: BTreeMap<ReplicaId, ReplicaProgress>,
    /// None while it runs; else why it stopped.
    pub stopped: Option<String>,
}

impl Group {
    /// What this replica knows now. Only what a leader says of others counts, and only with a read barrier behind it.
    pub fn observe(&self) -> GroupObservation {
        // Cloned at once: holding it would block Raft's core.
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.clone();
        let state = &self.inner.state;
        GroupObservation {
            group: self.id(),
            replica: self.replica(),
            leader: metrics.current_leader,
            term: metrics.current_term,
            leading_ms: self.inner.led_since.elapsed().map(millis),
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied: state.applied().end().saturating_sub(1),
            durable_applied: state.durable_index(),
            purged_index: metrics.purged.map_or(0, |log_id| log_id.index()),
            voters: membership.get_joint_config().clone(),
            learners: membership.membership().learner_ids().collect(),
            members: membership
                .nodes()
                .map(|(replica, member)| (*replica, *member))
                .collect(),
            membership_log_id: log_id_text(*membership.log_id()),
            membership_committed: metrics.committed_membership_config.log_id() == membership.log_id(),
            progress: progress(&metrics),
            stopped: self.stop_reason(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn progress(metrics: &RaftMetrics<TypeConfig>) -> BTreeMap<ReplicaId, ReplicaProgress> {
    let mut progress = BTreeMap::<_, ReplicaProgress>::new();
    for (replica, matched) in metrics.replication.iter().flatten() {
        progress.entry(*replica).or_default().matched_index = matched.map(|log_id| log_id.index());
    }
    for (replica, heard) in metrics.heartbeat.iter().flatten() {
        progress.entry(*replica).or_default().silent_ms = heard.as_ref().map(|heard| millis(heard.elapsed()));
    }
    progress.remove(&metrics.id);
    progress
}

/// A log id as term.leader.index, or a dash for none.
pub fn log_id_text(log_id: Option<LogId>) -> String {
    match log_id {
        Some(log_id) => {
            let leader = log_id.committed_leader_id();
            format!("{}.{}.{}", leader.term, leader.node_id, log_id.index())
        }
        None => "-".to_owned(),
    }
}

/// Reads what [`log_id_text`] wrote; the outer `None` is for anything else.
pub fn parse_log_id(text: &str) -> Option<Option<LogId>> {
    if text == "-" {
        return Some(None);
    }
    let mut numbers = text.split('.').map(|number| number.parse::<u64>().ok());
    let (term, node, index) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let leader = LeaderId {
        term,
        node_id: ReplicaId(node),
    };
    numbers.next().is_none().then_some(Some(LogId::new(leader, index)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_log_id_is_read_back_from_its_text(term: u64, node: u64, index: u64) {
            let log_id = Some(LogId::new(LeaderId { term, node_id: ReplicaId(node) }, index));
            prop_assert_eq!(parse_log_id(&log_id_text(log_id)), Some(log_id));
        }
    }

    #[test]
    fn text_that_is_no_log_id_is_refused() {
        assert_eq!(parse_log_id("-"), Some(None));
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "-1.2.3"] {
            assert_eq!(parse_log_id(text), None, "{text}");
        }
    }
}
