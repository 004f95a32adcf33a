//! A leader proven by the votes that its members have saved: no message where one of them comes along anyway.

use std::collections::BTreeSet;

use kotoba_state::ids::ReplicaId;
use openraft::async_runtime::watch::WatchReceiver;

use super::Group;
use crate::raft::types::Membership;

/// For which leader a replica voted last, or whom it follows: the vote that its disk holds. It is on disk, and seen here, before
/// the candidate is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedVote {
    pub replica: ReplicaId,
    pub term: u64,
    pub leader: ReplicaId,
}

impl Group {
    /// What this replica's vote is now; none where it never had one.
    pub fn saved_vote(&self) -> Option<SavedVote> {
        let vote = self.inner.log.vote()?;
        Some(SavedVote {
            replica: self.replica(),
            term: vote.leader_id.term,
            leader: vote.leader_id.node_id,
        })
    }

    /// The term in which this replica led when another saved a vote that was looked at before this call, where the two votes
    /// are a majority; none where that is not proven by them.
    ///
    /// A later leader would need the vote of one of the two, and neither had given it then. No clock is asked. Who leads by the
    /// time of the answer is not said; a read barrier does not say that, either.
    pub fn term_proven_by(&self, other: &SavedVote) -> Option<u64> {
        let own = self.saved_vote()?;
        // A change that begins later is none of the past's; one that is over is in the reports: those of the core, which alone
        // changes it, come before its answer.
        let is_settled = self.inner.membership_turn.available_permits() > 0;
        let reports = self.inner.raft.metrics();
        let membership = reports.borrow_watched().membership_config.clone();
        let led = is_settled && own.leader == own.replica && (own.term, own.leader) == (other.term, other.leader);
        let is_proven = led && is_majority(membership.membership(), [own.replica, other.replica]);
        is_proven.then_some(own.term)
    }
}

/// Of each configuration, where two hold at a time.
fn is_majority(membership: &Membership, replicas: [ReplicaId; 2]) -> bool {
    let replicas = BTreeSet::from(replicas);
    let is_majority_of = |voters: &BTreeSet<ReplicaId>| voters.intersection(&replicas).count() > voters.len() / 2;
    let configurations = membership.get_joint_config();
    !configurations.is_empty() && configurations.iter().all(is_majority_of)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kotoba_state::ids::MemberId;

    use super::*;

    fn membership(configurations: &[&[u64]]) -> Membership {
        let voters = configurations
            .iter()
            .map(|voters| voters.iter().copied().map(ReplicaId).collect());
        let nodes: BTreeMap<_, _> = (1..=9).map(|number| (ReplicaId(number), MemberId(number))).collect();
        Membership::new(voters.collect(), nodes).expect("all voters are known")
    }

    #[test]
    fn two_of_three_are_a_majority_and_two_of_four_are_not() {
        let proves = |configurations: &[&[u64]], replicas: [u64; 2]| {
            is_majority(&membership(configurations), replicas.map(ReplicaId))
        };
        assert!(proves(&[&[1, 2, 3]], [1, 3]));
        assert!(proves(&[&[1]], [1, 1]));
        assert!(!proves(&[&[1, 2, 3]], [1, 1]), "the leader alone");
        assert!(!proves(&[&[1, 2, 3]], [1, 4]), "a learner");
        assert!(!proves(&[&[1, 2, 3, 4]], [1, 2]));
        assert!(
            !proves(&[&[1, 2, 3], &[1, 4, 5]], [1, 2]),
            "none of the later voters but the leader"
        );
        assert!(proves(&[&[1, 2, 3], &[1, 2, 4]], [1, 2]));
    }
}
