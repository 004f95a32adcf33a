//! A cluster for the driver to drive: groups that do what they are told, as far as it gets through.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use crate::ids::{MemberId, PartitionId, ReplicaId};
use crate::meta::driver::{Action, LeaderView, Observed};
use crate::meta::{Command, Health, MoveStep, Partition, ReplicaRole};

/// A cluster whose groups do what the driver says, as far as it gets through.
pub struct Cluster {
    pub meta: Group,
    pub leaders: BTreeMap<PartitionId, LeaderView>,
}

impl Cluster {
    pub fn new(mut meta: Group, numbers: std::ops::RangeInclusive<u64>) -> Self {
        let leaders = meta
            .catalogue()
            .partitions
            .values()
            .map(|partition| (partition.id, first_view(partition)))
            .collect();
        for number in numbers {
            meta.add_member(number);
        }
        meta.apply(&Command::PlanRebalance { now_ms: 1 });
        Cluster { meta, leaders }
    }

    pub fn observed(&self) -> Observed {
        self.leaders
            .iter()
            .map(|(id, view)| (*id, Some(view.clone())))
            .collect()
    }

    pub fn execute(&mut self, action: &Action) {
        match action {
            Action::Propose(command) => {
                self.meta.apply(command);
            }
            Action::AddLearner { partition, replica, .. } => {
                let view = self.view(*partition);
                view.learners.insert(*replica);
                view.matched.insert(*replica, 0);
                view.silent_ms.insert(*replica, 10);
            }
            Action::RemoveLearner { partition, replica } => {
                self.view(*partition).learners.remove(replica);
            }
            Action::ReplaceVoters {
                partition,
                voters,
                expected_membership_log_id,
            } => {
                let view = self.begin_change(*partition, voters, expected_membership_log_id);
                view.joint = false;
                view.voters.clone_from(voters);
                view.membership_log_id.push('+');
            }
            Action::TransferLeader { partition, to } => {
                let view = self.view(*partition);
                let old = std::mem::replace(&mut view.replica, *to);
                view.matched.insert(old, view.last_log_index);
                view.silent_ms.insert(old, 10);
            }
            Action::Wait { .. } => {}
        }
    }

    /// The first half of a joint change: what is left when the leader is lost before the second.
    pub fn begin_change(
        &mut self,
        partition: PartitionId,
        voters: &BTreeSet<ReplicaId>,
        expected: &str,
    ) -> &mut LeaderView {
        let view = self.view(partition);
        assert_eq!(view.membership_log_id, expected);
        if !view.joint {
            let in_sync = |voters: &BTreeSet<ReplicaId>| voters.iter().filter(|voter| view.is_in_sync(**voter)).count();
            assert!(
                in_sync(voters) >= in_sync(&view.voters),
                "a move lowered the voters in sync"
            );
        }
        assert!(
            voters.contains(&view.replica) || view.voters.len() == 1,
            "the leader was dropped while another could lead"
        );
        assert!(
            voters
                .iter()
                .all(|voter| view.voters.contains(voter) || view.learners.contains(voter))
        );
        view.learners.retain(|learner| !voters.contains(learner));
        view.voters.extend(voters);
        view.joint = true;
        view.membership_log_id.push('j');
        if !voters.contains(&view.replica) {
            view.replica = *voters.first().expect("a change leaves a voter");
        }
        view
    }

    pub fn view(&mut self, partition: PartitionId) -> &mut LeaderView {
        self.leaders.get_mut(&partition).unwrap()
    }

    /// Learners catch up, and members delete what retires.
    pub fn tick(&mut self) {
        for view in self.leaders.values_mut() {
            for matched in view.matched.values_mut() {
                *matched = (*matched + 2_000).min(view.last_log_index);
            }
        }
        for partition in self.meta.catalogue().partitions.values() {
            for (replica, placed) in &partition.replicas {
                let lives = self.meta.catalogue().members[&placed.member].health == Health::Alive;
                if lives && placed.role == ReplicaRole::Retiring {
                    assert!(
                        !self.leaders[&partition.id].voters.contains(replica),
                        "a voter was retired"
                    );
                    self.meta.apply(&Command::ForgetReplica {
                        partition: partition.id,
                        replica: *replica,
                    });
                }
            }
        }
    }

    pub fn check(&self) {
        let catalogue = self.meta.catalogue();
        let under_way = catalogue
            .moves
            .values()
            .filter(|row| row.step == MoveStep::Learning)
            .count();
        assert!(under_way <= 2);
        for partition in catalogue.partitions.values() {
            let view = &self.leaders[&partition.id];
            assert!(view.joint || view.voters.len() == 3);
            assert!(
                view.voters.iter().all(|voter| partition.replicas.contains_key(voter)),
                "a voter without a row"
            );
            let holders: BTreeSet<_> = partition.replicas.values().map(|replica| replica.member).collect();
            assert_eq!(
                holders.len(),
                partition.replicas.len(),
                "two replicas of a partition on one member"
            );
        }
    }
}

fn first_view(partition: &Partition) -> LeaderView {
    let voters: BTreeSet<ReplicaId> = partition.replicas.keys().copied().collect();
    LeaderView {
        member: MemberId(1),
        replica: *voters.first().unwrap(),
        term: 1,
        matched: voters.iter().map(|voter| (*voter, 5_000)).collect(),
        silent_ms: voters.iter().map(|voter| (*voter, 10)).collect(),
        learners: BTreeSet::new(),
        joint: false,
        last_log_index: 5_000,
        membership_log_id: "0".to_owned(),
        voters,
    }
}
