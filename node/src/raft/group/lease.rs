//! Whether this replica leads within its lease, as its last report says: a read that is covered by it asks Raft's core nothing.
//!
//! A report is older than the core, which only makes the lease end earlier. What it can miss is that the leader handed over:
//! then others vote before the lease is over. So that is noted here before it is done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::WatchReceiverOf;

use crate::raft::types::{LogId, TypeConfig};

type Metrics = RaftMetrics<TypeConfig>;

pub struct Lease {
    reports: WatchReceiverOf<TypeConfig, Metrics>,
    /// The last term in which this replica was asked to hand over; 0 for none, as no leader has that.
    handed_over: AtomicU64,
}

impl Lease {
    pub fn new(reports: WatchReceiverOf<TypeConfig, Metrics>) -> Self {
        Lease {
            reports,
            handed_over: AtomicU64::new(0),
        }
    }

    /// Comes before the core is asked to hand over.
    pub fn hand_over(&self, term: u64) {
        self.handed_over.fetch_max(term, Ordering::SeqCst);
    }

    /// Whether a majority answered this leader within `used`, and an entry of its own term is applied: then so is all that
    /// any leader has acknowledged.
    pub fn covers(&self, applied: Option<LogId>, used: Duration) -> bool {
        let reports = self.reports.borrow_watched();
        let term = reports.vote.leader_id.term;
        let leads = reports.running_state.is_ok() && reports.state == ServerState::Leader && reports.vote.committed;
        let has_own_entry = applied.is_some_and(|applied| applied.committed_leader_id().term == term);
        let is_fresh = || {
            let acked = reports.last_quorum_acked.map(|acked| acked.into_inner());
            let now = TypeConfig::now();
            acked.is_some_and(|acked| now < acked + used) || has_no_other_voter(&reports)
        };
        // In this order: one that handed over after the look at the clock did lead then.
        leads && has_own_entry && is_fresh() && self.handed_over.load(Ordering::SeqCst) < term
    }
}

fn has_no_other_voter(reports: &Metrics) -> bool {
    reports.membership_config.voter_ids().all(|voter| voter == reports.id)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use kotoba_state::ids::{MemberId, ReplicaId};
    use openraft::async_runtime::watch::WatchSender;

    use super::*;
    use crate::raft::types::{LeaderId, Membership, StoredMembership, Vote};

    const ME: ReplicaId = ReplicaId(1);
    const USED: Duration = Duration::from_millis(500);
    const TERM: u64 = 3;

    fn entry_of(term: u64) -> Option<LogId> {
        Some(LogId::new(LeaderId { term, node_id: ME }, 9))
    }

    /// The lease of a leader of three, after a change of what it reports.
    fn lease(change: impl FnOnce(&mut Metrics)) -> Lease {
        let mut metrics = Metrics::new_initial(ME);
        metrics.state = ServerState::Leader;
        metrics.vote = Vote::new_committed(TERM, ME);
        metrics.last_quorum_acked = Some(TypeConfig::now().into());
        metrics.membership_config = Arc::new(voters(3));
        change(&mut metrics);
        let (sender, reports) = TypeConfig::watch_channel(Metrics::new_initial(ME));
        sender.send(metrics).unwrap_or_else(|_| panic!("nobody listens"));
        Lease::new(reports)
    }

    fn voters(count: u64) -> StoredMembership {
        let ids: BTreeSet<ReplicaId> = (1..=count).map(ReplicaId).collect();
        let nodes: BTreeMap<ReplicaId, MemberId> = ids.iter().map(|id| (*id, MemberId(id.0))).collect();
        let membership = Membership::new(vec![ids], nodes).unwrap();
        StoredMembership::new(entry_of(1), membership)
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_is_covered_until_its_lease_is_over() {
        let lease = lease(|_| {});
        assert!(lease.covers(entry_of(TERM), USED));
        tokio::time::advance(USED).await;
        assert!(!lease.covers(entry_of(TERM), USED));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hands_over_is_not_covered_in_that_term_any_more() {
        let lease = lease(|_| {});
        lease.hand_over(TERM - 1);
        assert!(lease.covers(entry_of(TERM), USED));
        lease.hand_over(TERM);
        assert!(!lease.covers(entry_of(TERM), USED));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_lead_or_has_applied_no_entry_of_its_own_is_not_covered() {
        assert!(!lease(|metrics| metrics.state = ServerState::Follower).covers(entry_of(TERM), USED));
        assert!(!lease(|metrics| metrics.vote = Vote::new(TERM, ME)).covers(entry_of(TERM), USED));
        assert!(!lease(|metrics| metrics.last_quorum_acked = None).covers(entry_of(TERM), USED));
        assert!(!lease(|_| {}).covers(entry_of(TERM - 1), USED));
        assert!(!lease(|_| {}).covers(None, USED));
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_voter_asks_nobody() {
        let alone = |metrics: &mut Metrics| {
            metrics.last_quorum_acked = None;
            metrics.membership_config = Arc::new(voters(1));
        };
        assert!(lease(alone).covers(entry_of(TERM), USED));
    }
}
