//! The catalogue's invariants, and the driver against a cluster that crashes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::driver::{Action, LeaderView, MetaAction, Observed, next_meta_step, next_step};
use super::*;
use crate::ids::{MemberId, PartitionId, ReplicaId};
use crate::machine::{EntryPosition, StateMachine};
use crate::store::MemoryStore;

const ZONES: [&str; 3] = ["a", "b", "c"];

struct Group {
    store: MemoryStore,
    index: u64,
}

impl Group {
    fn founded(members: u64) -> Self {
        let mut group = Group {
            store: MemoryStore::default(),
            index: 0,
        };
        assert_eq!(group.apply(&found("c", members)), Answer::Done);
        group
    }

    fn apply(&mut self, command: &Command) -> Answer {
        self.index += 1;
        let at = EntryPosition {
            term: 1,
            index: self.index,
        };
        let answer = MetaMachine.apply(&mut self.store, at, &command.encode()).unwrap();
        Answer::decode(&answer).unwrap()
    }

    fn catalogue(&self) -> Catalogue {
        Catalogue::load(&self.store).unwrap()
    }

    fn add_member(&mut self, number: u64) -> MemberId {
        let Answer::Joined { member, .. } = self.apply(&join(number)) else {
            panic!("the join is refused");
        };
        self.apply(&Command::ActivateMember { member });
        member
    }
}

fn found(cluster_id: &str, members: u64) -> Command {
    let first = |number: u64| FirstMember {
        peer_address: format!("m{number}:7600"),
        client_address: format!("m{number}:7700"),
        zone: ZONES[(number as usize - 1) % 3].to_owned(),
        disk_id: format!("disk-{number}"),
        name: String::new(),
        meta_voter: number <= 3,
    };
    Command::Found {
        cluster_id: cluster_id.to_owned(),
        members: (1..=members).map(first).collect(),
        replication_factor: members.min(3) as u32,
        partition_count: 16,
        max_parallel_moves: 2,
    }
}

fn join(number: u64) -> Command {
    Command::Join {
        disk_id: format!("disk-{number}"),
        peer_address: format!("m{number}:7600"),
        client_address: format!("m{number}:7700"),
        zone: ZONES[(number as usize - 1) % 3].to_owned(),
        name: String::new(),
        version: "1".to_owned(),
    }
}

#[test]
fn a_cluster_is_founded_once_and_its_id_never_changes() {
    let mut group = Group::founded(3);
    let before = group.catalogue();
    assert_eq!(group.apply(&found("c", 3)), Answer::Done);
    assert!(matches!(group.apply(&found("other", 3)), Answer::Refused(_)));
    assert_eq!(group.catalogue(), before);
    assert!(
        before
            .partitions
            .values()
            .all(|partition| partition.replicas.len() == 3)
    );
}

#[test]
fn nothing_is_done_before_the_founding() {
    let mut group = Group {
        store: MemoryStore::default(),
        index: 0,
    };
    assert!(matches!(group.apply(&join(1)), Answer::Refused(_)));
    assert!(group.store.0.is_empty());
}

#[test]
fn a_disk_that_joins_twice_is_one_member() {
    let mut group = Group::founded(3);
    let first = group.apply(&join(4));
    assert_eq!(group.apply(&join(4)), first);
    assert_eq!(group.catalogue().members.len(), 4);
}

#[test]
fn an_address_is_of_one_disk_only() {
    let mut group = Group::founded(3);
    let Command::Join { peer_address, .. } = join(1) else {
        unreachable!()
    };
    let Command::Join {
        disk_id,
        client_address,
        zone,
        name,
        version,
        ..
    } = join(9)
    else {
        unreachable!()
    };
    let stolen = Command::Join {
        disk_id,
        peer_address,
        client_address,
        zone,
        name,
        version,
    };
    let Answer::Refused(reason) = group.apply(&stolen) else {
        panic!("accepted")
    };
    assert!(reason.contains("member 1"), "{reason}");
}

#[test]
fn another_disk_cannot_speak_for_a_member() {
    let mut group = Group::founded(3);
    let describe = Command::DescribeMember {
        member: MemberId(1),
        disk_id: "disk-9".to_owned(),
        peer_address: "m9:7600".to_owned(),
        client_address: "m9:7700".to_owned(),
        version: "1".to_owned(),
    };
    assert!(matches!(group.apply(&describe), Answer::Refused(_)));
}

#[test]
fn a_balanced_cluster_plans_nothing() {
    let mut group = Group::founded(3);
    assert!(group.catalogue().is_balanced());
    assert_eq!(
        group.apply(&Command::PlanRebalance { now_ms: 1 }),
        Answer::Planned { job: 0, moves: vec![] }
    );
}

#[test]
fn a_rebalance_asked_for_twice_is_one_job() {
    let mut group = Group::founded(3);
    group.add_member(4);
    group.add_member(5);
    assert!(!group.catalogue().is_balanced());
    let first = group.apply(&Command::PlanRebalance { now_ms: 1 });
    assert_eq!(group.apply(&Command::PlanRebalance { now_ms: 2 }), first);
    let Answer::Planned { job: 1, moves } = first else {
        panic!("{first:?}")
    };
    assert_eq!(moves.len(), 14);
}

#[test]
fn a_move_advances_only_from_where_it_is() {
    let mut group = Group::founded(3);
    group.add_member(4);
    group.apply(&Command::PlanRebalance { now_ms: 1 });
    let id = *group.catalogue().moves.keys().next().unwrap();
    let end = Command::AdvanceMove {
        id,
        from: MoveStep::Learning,
        to: None,
    };
    assert!(matches!(group.apply(&end), Answer::Refused(_)));
    let begin = Command::AdvanceMove {
        id,
        from: MoveStep::Planned,
        to: Some(MoveStep::Learning),
    };
    assert_eq!(group.apply(&begin), Answer::Done);
    assert!(matches!(group.apply(&begin), Answer::Refused(_)));
    assert_eq!(group.apply(&end), Answer::Done);
    assert!(matches!(group.apply(&end), Answer::Refused(_)));
}

#[test]
fn a_replica_is_forgotten_only_when_it_retires() {
    let mut group = Group::founded(3);
    let catalogue = group.catalogue();
    let partition = PartitionId(0);
    let replica = *catalogue.partitions[&partition].replicas.keys().next().unwrap();
    assert!(matches!(
        group.apply(&Command::ForgetReplica { partition, replica }),
        Answer::Refused(_)
    ));
    assert_eq!(group.catalogue(), catalogue);
}

/// A cluster whose groups do what the driver says, as far as it gets through.
struct Cluster {
    meta: Group,
    leaders: BTreeMap<PartitionId, LeaderView>,
}

impl Cluster {
    fn new(mut meta: Group, numbers: std::ops::RangeInclusive<u64>) -> Self {
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

    fn observed(&self) -> Observed {
        self.leaders
            .iter()
            .map(|(id, view)| (*id, Some(view.clone())))
            .collect()
    }

    fn execute(&mut self, action: &Action) {
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
    fn begin_change(
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

    fn view(&mut self, partition: PartitionId) -> &mut LeaderView {
        self.leaders.get_mut(&partition).unwrap()
    }

    /// Learners catch up, and members delete what retires.
    fn tick(&mut self) {
        for view in self.leaders.values_mut() {
            for matched in view.matched.values_mut() {
                *matched = (*matched + 2_000).min(view.last_log_index);
            }
        }
        for partition in self.meta.catalogue().partitions.values() {
            for (replica, placed) in &partition.replicas {
                if placed.role == ReplicaRole::Retiring {
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

    fn check(&self) {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Actions get lost or are done twice, as when leaders crash between deciding, doing and logging.
    #[test]
    fn the_driver_converges_whatever_gets_lost(seed in prop::collection::vec(0u8..4, 64)) {
        let mut cluster = Cluster::new(Group::founded(3), 4..=5);
        let mut dice = seed.iter().cycle();
        for _ in 0..2_000 {
            let actions = next_step(&cluster.meta.catalogue(), &cluster.observed());
            for action in actions {
                match dice.next().unwrap() {
                    0 => {}
                    1 => match &action {
                        Action::ReplaceVoters { partition, voters, expected_membership_log_id } => {
                            cluster.begin_change(*partition, voters, expected_membership_log_id);
                        }
                        Action::Propose(_) | Action::AddLearner { .. } | Action::TransferLeader { .. } | Action::Wait { .. } => {
                            cluster.execute(&action);
                            cluster.execute(&action);
                        }
                    },
                    _ => cluster.execute(&action),
                }
                cluster.check();
            }
            cluster.tick();
            if cluster.meta.catalogue().is_balanced() {
                break;
            }
        }
        prop_assert!(cluster.meta.catalogue().is_balanced());
        for partition in cluster.meta.catalogue().partitions.values() {
            let voters: BTreeSet<_> = partition.replicas.keys().copied().collect();
            prop_assert_eq!(&cluster.leaders[&partition.id].voters, &voters);
        }
    }

    #[test]
    fn sequences_and_timestamps_never_overlap(counts in prop::collection::vec(1u64..1_000_000, 1..20)) {
        let mut group = Group::founded(1);
        let (mut sequence, mut timestamp) = (0, 0);
        for count in counts {
            let Answer::Sequences { from, to } = group.apply(&Command::LeaseSequences { count }) else { panic!() };
            prop_assert!(from >= sequence && to - from == count);
            sequence = to;
            let Answer::Timestamps { from, to } = group.apply(&Command::ExtendTimestamps { count }) else { panic!() };
            prop_assert!(from.0 >= timestamp && to.0 - from.0 == count);
            timestamp = to.0;
        }
    }
}

#[test]
fn a_move_waits_while_another_voter_lags() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=4);
    for view in cluster.leaders.values_mut() {
        let laggard = *view.voters.last().unwrap();
        view.matched.insert(laggard, 10);
    }
    let actions = next_step(&cluster.meta.catalogue(), &cluster.observed());
    assert!(
        actions
            .iter()
            .all(|action| matches!(action, Action::Propose(Command::MarkFounded { .. })))
    );
}

fn run_to_the_end(cluster: &mut Cluster) {
    for _ in 0..500 {
        for action in next_step(&cluster.meta.catalogue(), &cluster.observed()) {
            cluster.execute(&action);
        }
        cluster.tick();
    }
    assert!(cluster.meta.catalogue().is_balanced());
}

#[test]
fn a_move_repairs_where_the_lagging_voter_is_the_one_that_goes() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=4);
    let catalogue = cluster.meta.catalogue();
    let row = catalogue.moves.values().next().unwrap();
    let old = catalogue.replica_on(row.partition, row.from.unwrap()).unwrap();
    let view = cluster.view(row.partition);
    view.replica = *view.voters.iter().find(|voter| **voter != old).unwrap();
    view.silent_ms.insert(old, 60_000);
    let begin = Action::Propose(Command::AdvanceMove {
        id: row.id,
        from: MoveStep::Planned,
        to: Some(MoveStep::Learning),
    });
    assert!(next_step(&catalogue, &cluster.observed()).contains(&begin));
}

#[test]
fn a_joint_change_that_was_left_half_done_is_finished() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=4);
    let half_done = loop {
        let actions = next_step(&cluster.meta.catalogue(), &cluster.observed());
        let change = actions.iter().find_map(|action| match action {
            Action::ReplaceVoters {
                partition,
                voters,
                expected_membership_log_id,
            } => Some((*partition, voters.clone(), expected_membership_log_id.clone())),
            Action::Propose(_) | Action::AddLearner { .. } | Action::TransferLeader { .. } | Action::Wait { .. } => {
                None
            }
        });
        if let Some((partition, voters, expected)) = change {
            cluster.begin_change(partition, &voters, &expected);
            break partition;
        }
        actions.iter().for_each(|action| cluster.execute(action));
        cluster.tick();
    };
    assert!(cluster.leaders[&half_done].joint);
    run_to_the_end(&mut cluster);
    assert!(!cluster.leaders[&half_done].joint);
}

#[test]
fn a_learner_that_is_being_added_is_not_promoted() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=4);
    for action in next_step(&cluster.meta.catalogue(), &cluster.observed()) {
        cluster.execute(&action);
    }
    let catalogue = cluster.meta.catalogue();
    let row = catalogue
        .moves
        .values()
        .find(|row| row.step == MoveStep::Learning)
        .unwrap();
    cluster.view(row.partition).joint = true;
    let actions = next_step(&catalogue, &cluster.observed());
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::Wait { id, .. } if *id == row.id))
    );
}

#[test]
fn a_cluster_that_began_with_one_member_gets_its_replicas_when_members_come() {
    let mut group = Group {
        store: MemoryStore::default(),
        index: 0,
    };
    let Command::Found {
        cluster_id,
        members,
        partition_count,
        max_parallel_moves,
        ..
    } = found("c", 1)
    else {
        unreachable!()
    };
    let alone = Command::Found {
        cluster_id,
        members,
        replication_factor: 3,
        partition_count,
        max_parallel_moves,
    };
    assert_eq!(group.apply(&alone), Answer::Done);
    let mut cluster = Cluster::new(group, 2..=3);
    run_to_the_end(&mut cluster);
    assert!(cluster.leaders.values().all(|view| view.voters.len() == 3));
}

#[test]
fn a_single_replica_moves_although_no_other_voter_can_lead() {
    let mut cluster = Cluster::new(Group::founded(1), 2..=2);
    run_to_the_end(&mut cluster);
    let holders: BTreeSet<_> = cluster.meta.catalogue().placement().0.into_values().flatten().collect();
    assert_eq!(holders, BTreeSet::from([MemberId(1), MemberId(2)]));
}

#[test]
fn a_partition_without_a_leader_is_left_alone() {
    let cluster = Cluster::new(Group::founded(3), 4..=5);
    let observed = cluster.leaders.keys().map(|id| (*id, None)).collect();
    assert_eq!(next_step(&cluster.meta.catalogue(), &observed), vec![]);
}

fn meta_view(voters: &[u64], learners: &[u64]) -> LeaderView {
    let ids = |ids: &[u64]| ids.iter().map(|id| ReplicaId(*id)).collect::<BTreeSet<_>>();
    let everyone = voters.iter().chain(learners);
    LeaderView {
        member: MemberId(1),
        replica: ReplicaId(1),
        term: 1,
        voters: ids(voters),
        learners: ids(learners),
        joint: false,
        last_log_index: 100,
        membership_log_id: "0".to_owned(),
        matched: everyone.clone().map(|id| (ReplicaId(*id), 100)).collect(),
        silent_ms: everyone.map(|id| (ReplicaId(*id), 10)).collect(),
    }
}

#[test]
fn a_member_that_joins_learns_the_catalogue_before_it_is_active() {
    let mut group = Group::founded(3);
    group.apply(&join(4));
    let catalogue = group.catalogue();
    let member = MemberId(4);
    let replica = catalogue.members[&member].meta_replica;
    let learn = next_meta_step(&catalogue, &meta_view(&[1, 2, 3], &[]));
    assert_eq!(learn, Some(MetaAction::AddLearner { replica, member }));
    let activate = next_meta_step(&catalogue, &meta_view(&[1, 2, 3], &[replica.0]));
    assert_eq!(activate, Some(MetaAction::Propose(Command::ActivateMember { member })));
}

#[test]
fn a_failed_meta_voter_is_exchanged_for_one_that_is_well() {
    let mut group = Group::founded(3);
    let member = group.add_member(4);
    let replica = group.catalogue().members[&member].meta_replica;
    let view = meta_view(&[1, 2, 3], &[replica.0]);
    assert_eq!(next_meta_step(&group.catalogue(), &view), None);
    group.apply(&Command::SetHealth {
        member: MemberId(2),
        health: Health::Failed,
        now_ms: 5,
    });
    let Some(MetaAction::ReplaceVoters { voters, .. }) = next_meta_step(&group.catalogue(), &view) else {
        panic!("nothing is done");
    };
    assert_eq!(voters, BTreeSet::from([ReplicaId(1), ReplicaId(3), replica]));
}

#[test]
fn an_exchange_of_meta_voters_that_was_left_half_done_is_finished() {
    let mut group = Group::founded(3);
    let member = group.add_member(4);
    let replica = group.catalogue().members[&member].meta_replica;
    let mut view = meta_view(&[1, 2, 3, replica.0], &[]);
    view.joint = true;
    view.silent_ms.insert(ReplicaId(2), 60_000);
    let finish = next_meta_step(&group.catalogue(), &view);
    let voters = BTreeSet::from([ReplicaId(1), ReplicaId(3), replica]);
    let expected_membership_log_id = view.membership_log_id;
    assert_eq!(
        finish,
        Some(MetaAction::ReplaceVoters {
            voters,
            expected_membership_log_id
        })
    );
}

#[test]
fn a_meta_learner_that_is_being_added_is_waited_for() {
    let group = Group::founded(3);
    let mut view = meta_view(&[1, 2, 3], &[99]);
    view.joint = true;
    assert_eq!(next_meta_step(&group.catalogue(), &view), None);
}

#[test]
fn a_suspected_meta_voter_is_left_alone() {
    let mut group = Group::founded(3);
    let member = group.add_member(4);
    let replica = group.catalogue().members[&member].meta_replica;
    group.apply(&Command::SetHealth {
        member: MemberId(2),
        health: Health::Suspected,
        now_ms: 5,
    });
    assert_eq!(
        next_meta_step(&group.catalogue(), &meta_view(&[1, 2, 3], &[replica.0])),
        None
    );
}
