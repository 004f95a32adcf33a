//! A cluster for the driver to drive: groups that do what they are told, as far as it gets through.

use std::collections::{BTreeMap, BTreeSet};

use super::Group;
use crate::ids::{MemberId, PartitionId, ReplicaId};
use crate::meta::driver::{
    Action, LeaderView, MetaAction, Observed, Policy, balance_leaders, next_member_steps, next_meta_step, next_removal,
    next_step,
};
use crate::meta::{Catalogue, Command, Health, MoveStep, Partition, ReplicaRole};

/// A cluster whose groups do what the driver says, as far as it gets through.
pub struct Cluster {
    pub meta: Group,
    pub leaders: BTreeMap<PartitionId, LeaderView>,
    /// The meta group, as its leader sees it.
    pub group: LeaderView,
    pub policy: Policy,
    /// Members that are silent.
    pub down: BTreeSet<MemberId>,
}

/// One thing the driver wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Of(Action),
    OfMeta(MetaAction),
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
        let group = first_meta_view(&meta.catalogue());
        Cluster {
            meta,
            leaders,
            group,
            policy: Policy::default(),
            down: BTreeSet::new(),
        }
    }

    /// Five members, balanced.
    pub fn of_five() -> Self {
        let mut cluster = Cluster::new(Group::founded(3), 4..=5);
        cluster.run_until(|catalogue| catalogue.is_balanced());
        cluster
    }

    /// All that the driver does in one pass.
    pub fn steps(&self) -> Vec<Step> {
        let (catalogue, observed) = (self.meta.catalogue(), self.observed());
        let meta = next_meta_step(&catalogue, &self.group).or_else(|| next_removal(&catalogue, &observed, &self.group));
        let members = next_member_steps(&catalogue, &observed, &self.policy);
        let moves = next_step(&catalogue, &observed);
        let leaders = balance_leaders(&catalogue, &observed, &self.policy);
        let of_partitions = members.into_iter().chain(moves).chain(leaders).map(Step::Of);
        meta.map(Step::OfMeta).into_iter().chain(of_partitions).collect()
    }

    pub fn perform(&mut self, step: &Step) {
        match step {
            Step::Of(action) => self.execute(action),
            Step::OfMeta(action) => self.execute_on_meta(action),
        }
    }

    pub fn pass(&mut self) {
        for step in self.steps() {
            self.perform(&step);
            self.check();
        }
        self.tick();
    }

    pub fn run_until(&mut self, is_wanted: impl Fn(&Catalogue) -> bool) {
        for _ in 0..1_000 {
            if is_wanted(&self.meta.catalogue()) {
                return;
            }
            self.pass();
        }
        panic!("not reached; the driver wants {:?}", self.steps());
    }

    /// A member falls silent; where it led, another voter leads.
    pub fn crash(&mut self, member: MemberId) {
        self.down.insert(member);
        self.tick();
        let health = Health::Failed;
        let now_ms = self.policy.now_ms;
        self.meta.apply(&Command::SetHealth { member, health, now_ms });
    }

    pub fn come_back(&mut self, member: MemberId) {
        self.down.remove(&member);
        self.tick();
        let health = Health::Alive;
        let now_ms = self.policy.now_ms;
        self.meta.apply(&Command::SetHealth { member, health, now_ms });
    }

    fn execute_on_meta(&mut self, action: &MetaAction) {
        let view = &mut self.group;
        match action {
            MetaAction::Propose(command) => {
                if let Command::RemoveMember { member, .. } = command {
                    self.assert_nothing_on(*member);
                }
                self.meta.apply(command);
            }
            MetaAction::AddLearner { replica, .. } => {
                view.learners.insert(*replica);
                view.matched.insert(*replica, view.last_log_index);
                view.silent_ms.insert(*replica, 10);
            }
            MetaAction::ReplaceVoters {
                voters,
                expected_membership_log_id,
            } => {
                // What a leader decided from an older look is refused.
                if *expected_membership_log_id != view.membership_log_id {
                    return;
                }
                let in_sync =
                    |voters: &BTreeSet<ReplicaId>| voters.iter().filter(|voter| view.is_in_sync(**voter)).count();
                assert!(in_sync(voters) > voters.len() / 2, "the meta group lost its majority");
                view.voters.clone_from(voters);
                view.learners.retain(|learner| !voters.contains(learner));
                view.membership_log_id.push('+');
                view.replica = *voters.first().expect("a change leaves a voter");
            }
            MetaAction::RemoveLearner {
                replica,
                expected_membership_log_id,
            } => {
                if *expected_membership_log_id == view.membership_log_id {
                    view.learners.remove(replica);
                    view.membership_log_id.push('-');
                }
            }
            MetaAction::TransferLeader { to } => {
                assert!(view.voters.contains(to) && view.is_in_sync(*to));
                view.replica = *to;
            }
        }
    }

    fn assert_nothing_on(&self, member: MemberId) {
        let catalogue = self.meta.catalogue();
        if catalogue.members[&member].drain.is_none() {
            return;
        }
        let replica = catalogue.members[&member].meta_replica;
        assert!(!self.group.voters.contains(&replica) && !self.group.learners.contains(&replica));
        assert_eq!(catalogue.replicas_on(member), 0);
        for view in self.leaders.values() {
            let rows = &catalogue
                .partitions
                .values()
                .flat_map(|row| &row.replicas)
                .collect::<BTreeMap<_, _>>();
            let elsewhere = |replica: &ReplicaId| rows.get(replica).is_some_and(|placed| placed.member != member);
            assert!(view.voters.iter().chain(&view.learners).all(elsewhere), "{view:?}");
        }
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
                let member = self.meta.catalogue().partitions[partition].replicas[to].member;
                let view = self.view(*partition);
                assert!(view.is_in_sync(*to) && !view.joint, "a leader that could not lead");
                view.member = member;
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
        self.settle_leaders();
        self.view(partition)
    }

    /// The members of the leaders, and another leader where its member is silent.
    fn settle_leaders(&mut self) {
        let catalogue = self.meta.catalogue();
        for (id, view) in &mut self.leaders {
            let place = |replica: &ReplicaId| {
                catalogue.partitions[id]
                    .replicas
                    .get(replica)
                    .map(|placed| placed.member)
            };
            let lives = |replica: &ReplicaId| place(replica).is_some_and(|member| !self.down.contains(&member));
            if !lives(&view.replica) {
                let heirs = view.voters.iter().copied().filter(|voter| lives(voter));
                let heir = heirs
                    .max_by_key(|voter| view.matched.get(voter))
                    .expect("a voter lives");
                let old = std::mem::replace(&mut view.replica, heir);
                view.matched.insert(old, view.last_log_index);
            }
            view.member = place(&view.replica).unwrap_or(view.member);
        }
    }

    fn settle_silence(&mut self) {
        let catalogue = self.meta.catalogue();
        for (id, view) in &mut self.leaders {
            for (replica, placed) in &catalogue.partitions[id].replicas {
                let silent = if self.down.contains(&placed.member) { 60_000 } else { 10 };
                view.silent_ms.insert(*replica, silent);
            }
        }
        for member in catalogue.members.values() {
            let silent = if self.down.contains(&member.id) { 60_000 } else { 10 };
            self.group.silent_ms.insert(member.meta_replica, silent);
        }
        let leader_is_down = |member: &crate::meta::Member| member.meta_replica == self.group.replica;
        let down = catalogue
            .members
            .values()
            .filter(|member| self.down.contains(&member.id));
        if down.into_iter().any(leader_is_down) {
            let silent = &self.group.silent_ms;
            let heir = self.group.voters.iter().find(|voter| silent[voter] == 10);
            self.group.replica = *heir.expect("a meta voter lives");
        }
    }

    pub fn view(&mut self, partition: PartitionId) -> &mut LeaderView {
        self.leaders.get_mut(&partition).unwrap()
    }

    /// Learners catch up, and members delete what retires.
    pub fn tick(&mut self) {
        self.settle_silence();
        self.settle_leaders();
        for view in self.leaders.values_mut() {
            let silent = &view.silent_ms;
            let heard = |replica: &ReplicaId| silent.get(replica).is_none_or(|silent| *silent < 1_000);
            for (_, matched) in view.matched.iter_mut().filter(|(replica, _)| heard(replica)) {
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
        led_ms: 60_000,
        matched: voters.iter().map(|voter| (*voter, 5_000)).collect(),
        silent_ms: voters.iter().map(|voter| (*voter, 10)).collect(),
        learners: BTreeSet::new(),
        joint: false,
        last_log_index: 5_000,
        membership_log_id: "0".to_owned(),
        voters,
    }
}

fn first_meta_view(catalogue: &Catalogue) -> LeaderView {
    let replicas = || catalogue.members.values().map(|member| member.meta_replica);
    let voters = catalogue.members.values().filter(|member| member.meta_voter);
    let voters: BTreeSet<ReplicaId> = voters.map(|member| member.meta_replica).collect();
    LeaderView {
        member: MemberId(1),
        replica: ReplicaId(1),
        term: 1,
        led_ms: 60_000,
        learners: replicas().filter(|replica| !voters.contains(replica)).collect(),
        voters,
        joint: false,
        last_log_index: 100,
        membership_log_id: "0".to_owned(),
        matched: replicas().map(|replica| (replica, 100)).collect(),
        silent_ms: replicas().map(|replica| (replica, 10)).collect(),
    }
}
