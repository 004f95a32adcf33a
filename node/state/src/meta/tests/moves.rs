//! Moves, driven on a cluster that loses answers and leaders.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cluster::Cluster;
use super::{Group, found};
use crate::ids::MemberId;
use crate::meta::driver::{Action, next_step};
use crate::meta::{Answer, Catalogue, Command, Health, MoveStep, rows};
use crate::store::MemoryStore;

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
                        Action::Propose(_)
            | Action::AddLearner { .. }
            | Action::RemoveLearner { .. }
            | Action::TransferLeader { .. }
            | Action::Wait { .. } => {
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
            Action::Propose(_)
            | Action::AddLearner { .. }
            | Action::RemoveLearner { .. }
            | Action::TransferLeader { .. }
            | Action::Wait { .. } => None,
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
fn a_voter_that_falls_behind_during_a_move_holds_up_the_joint_change() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=4);
    let (id, partition) = loop {
        let actions = next_step(&cluster.meta.catalogue(), &cluster.observed());
        let ready = actions.iter().find_map(|action| match action {
            Action::ReplaceVoters { partition, .. } => Some(*partition),
            Action::Propose(_)
            | Action::AddLearner { .. }
            | Action::RemoveLearner { .. }
            | Action::TransferLeader { .. }
            | Action::Wait { .. } => None,
        });
        if let Some(partition) = ready {
            break (
                cluster.meta.catalogue().move_under_way(partition).unwrap().id,
                partition,
            );
        }
        actions.iter().for_each(|action| cluster.execute(action));
        cluster.tick();
    };
    let old = cluster.meta.catalogue().moves[&id].from.unwrap();
    let old = cluster.meta.catalogue().replica_on(partition, old).unwrap();
    let view = cluster.view(partition);
    let laggard = *view
        .voters
        .iter()
        .find(|voter| **voter != old && **voter != view.replica)
        .unwrap();
    view.silent_ms.insert(laggard, 60_000);
    let actions = next_step(&cluster.meta.catalogue(), &cluster.observed());
    let reason = actions.iter().find_map(|action| match action {
        Action::Wait { id: waiting, reason } if *waiting == id => Some(reason.as_str()),
        Action::Propose(_)
        | Action::AddLearner { .. }
        | Action::RemoveLearner { .. }
        | Action::ReplaceVoters { .. }
        | Action::TransferLeader { .. }
        | Action::Wait { .. } => None,
    });
    assert!(
        reason.is_some_and(|reason| reason.contains(&laggard.to_string())),
        "{actions:?}"
    );
}

fn pass(cluster: &mut Cluster) {
    for action in next_step(&cluster.meta.catalogue(), &cluster.observed()) {
        cluster.execute(&action);
    }
    cluster.check();
    cluster.tick();
}

#[test]
fn a_target_that_fails_gives_its_turn_to_others_and_gets_another_when_it_is_back() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=5);
    let target = MemberId(4);
    let to_target = |catalogue: &Catalogue, step| {
        let to = catalogue.moves.values().filter(|row| row.to == Some(target));
        to.filter(|row| row.step == step).count()
    };
    while to_target(&cluster.meta.catalogue(), MoveStep::Learning) == 0 {
        pass(&mut cluster);
    }
    pass(&mut cluster);
    let set_health = |health| Command::SetHealth {
        member: target,
        health,
        now_ms: 1,
    };
    cluster.meta.apply(&set_health(Health::Failed));
    (0..200).for_each(|_| pass(&mut cluster));
    let catalogue = cluster.meta.catalogue();
    assert_eq!(to_target(&catalogue, MoveStep::Learning), 0);
    assert_eq!(to_target(&catalogue, MoveStep::Planned), catalogue.moves.len());
    assert!(cluster.leaders.values().all(|view| view.learners.is_empty()));
    cluster.meta.apply(&set_health(Health::Alive));
    run_to_the_end(&mut cluster);
}

#[test]
fn a_learner_that_came_too_late_is_dropped() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=4);
    pass(&mut cluster);
    let catalogue = cluster.meta.catalogue();
    let row = catalogue.moves.values().find(|row| row.step == MoveStep::Learning);
    let (id, replica, partition) = row.map(|row| (row.id, row.replica.unwrap(), row.partition)).unwrap();
    cluster.meta.apply(&Command::AdvanceMove {
        id,
        from: MoveStep::Learning,
        to: Some(MoveStep::Planned),
    });
    let newer = catalogue.counters.next_replica;
    cluster.view(partition).learners.extend([replica, newer]);
    let actions = next_step(&cluster.meta.catalogue(), &cluster.observed());
    let dropped = |replica| actions.contains(&Action::RemoveLearner { partition, replica });
    assert!(dropped(replica));
    assert!(!dropped(newer), "it may belong to a newer leader's move");
}

fn begin(id: u64) -> Command {
    Command::AdvanceMove {
        id,
        from: MoveStep::Planned,
        to: Some(MoveStep::Learning),
    }
}

#[test]
fn no_more_moves_begin_than_may_run_at_a_time() {
    let cluster = Cluster::new(Group::founded(3), 4..=5);
    let mut group = cluster.meta;
    let answers: Vec<_> = group
        .catalogue()
        .moves
        .values()
        .take(4)
        .map(|row| group.apply(&begin(row.id)))
        .collect();
    assert_eq!(answers[..2], [Answer::Done, Answer::Done]);
    assert!(answers[2..].iter().all(|answer| matches!(answer, Answer::Refused(_))));
}

#[test]
fn a_member_that_still_holds_a_replica_gets_no_second_one() {
    let mut group = Cluster::new(Group::founded(3), 4..=4).meta;
    let before = group.catalogue();
    let (mut after, id) = (before.clone(), *before.moves.keys().next().unwrap());
    let holders = before.partitions[&before.moves[&id].partition].replicas.values();
    let holder = holders.map(|replica| replica.member).next();
    after.moves.get_mut(&id).unwrap().to = holder;
    rows::save(&mut group.store, &before, &after).unwrap();
    assert!(matches!(group.apply(&begin(id)), Answer::Refused(_)));
    assert_eq!(group.catalogue(), after);
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
