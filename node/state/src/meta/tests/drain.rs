//! Drains, driven on a cluster that loses answers and leaders: to the removal, or back to where they began.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::Group;
use super::cluster::{Cluster, Step};
use crate::ids::{MemberId, PartitionId, ReplicaId};
use crate::meta::driver::{Action, next_removal, why_member_waits};
use crate::meta::{Answer, Catalogue, Command, Health, MemberState, MoveReason, MoveStep};

fn drain(member: u64, then_remove: bool) -> Command {
    Command::Drain {
        member: MemberId(member),
        then_remove,
    }
}

fn cancel(member: u64) -> Command {
    let member = MemberId(member);
    Command::CancelDrain { member }
}

fn state(catalogue: &Catalogue, member: u64) -> MemberState {
    catalogue.members[&MemberId(member)].state
}

fn is_drained(catalogue: &Catalogue, member: u64) -> bool {
    let id = MemberId(member);
    catalogue.is_empty_of(id) && !catalogue.members[&id].meta_voter
}

/// Three voters of each partition, all on members that stay.
fn assert_whole(cluster: &Cluster, without: u64) {
    let catalogue = cluster.meta.catalogue();
    for partition in catalogue.partitions.values() {
        let voters: BTreeSet<_> = partition.replicas.keys().copied().collect();
        assert_eq!(cluster.leaders[&partition.id].voters, voters);
        assert_eq!(voters.len(), 3);
        let zones: BTreeSet<_> = partition
            .replicas
            .values()
            .map(|replica| catalogue.members[&replica.member].zone.as_str())
            .collect();
        let zones_left: BTreeSet<_> = catalogue
            .members
            .values()
            .filter(|member| member.id != MemberId(without))
            .map(|member| member.zone.as_str())
            .collect();
        assert_eq!(
            zones.len(),
            zones_left.len().min(3),
            "partition {} is not spread",
            partition.id
        );
    }
    assert_eq!(catalogue.replicas_on(MemberId(without)), 0);
}

fn lossy_pass(cluster: &mut Cluster, dice: &mut impl Iterator<Item = u8>) {
    for step in cluster.steps() {
        match (dice.next().unwrap(), &step) {
            (0, _) => {}
            (
                1,
                Step::Of(Action::ReplaceVoters {
                    partition,
                    voters,
                    expected_membership_log_id,
                }),
            ) => {
                cluster.begin_change(*partition, voters, expected_membership_log_id);
            }
            (1, Step::OfMeta(_)) => {
                cluster.perform(&step);
                cluster.perform(&step);
            }
            _ => cluster.perform(&step),
        }
        cluster.check();
    }
    cluster.tick();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_drain_ends_in_a_proven_removal_whatever_gets_lost(seed in prop::collection::vec(0u8..4, 64), member in 1u64..=5) {
        let mut cluster = Cluster::of_five();
        prop_assert_eq!(cluster.meta.apply(&drain(member, true)), Answer::Done);
        let mut dice = seed.into_iter().chain([2]).collect::<Vec<_>>().into_iter().cycle();
        for _ in 0..3_000 {
            if state(&cluster.meta.catalogue(), member) == MemberState::Removed {
                break;
            }
            lossy_pass(&mut cluster, &mut dice);
        }
        prop_assert_eq!(state(&cluster.meta.catalogue(), member), MemberState::Removed);
        assert_whole(&cluster, member);
        prop_assert_eq!(cluster.group.voters.len(), 3);
        prop_assert_eq!(cluster.meta.apply(&drain(member, true)), Answer::Done);
        prop_assert!(matches!(cluster.meta.apply(&cancel(member)), Answer::Refused(_)));
    }

    #[test]
    fn a_drain_that_is_cancelled_at_any_moment_leaves_the_member_active_and_every_partition_whole(
        seed in prop::collection::vec(0u8..4, 64), member in 1u64..=5, passes in 0usize..60,
    ) {
        let mut cluster = Cluster::of_five();
        cluster.meta.apply(&drain(member, true));
        let mut dice = seed.into_iter().chain([2]).collect::<Vec<_>>().into_iter().cycle();
        (0..passes).for_each(|_| lossy_pass(&mut cluster, &mut dice));
        prop_assume!(state(&cluster.meta.catalogue(), member) != MemberState::Removed);
        prop_assert_eq!(cluster.meta.apply(&cancel(member)), Answer::Done);
        let catalogue = cluster.meta.catalogue();
        prop_assert!(catalogue.members[&MemberId(member)].is_well());
        prop_assert!(catalogue.moves.values().all(|row| row.step == MoveStep::Learning));
        cluster.run_until(|catalogue| catalogue.moves.is_empty());
        for _ in 0..20 {
            cluster.pass();
        }
        let replica = cluster.meta.catalogue().members[&MemberId(member)].meta_replica;
        prop_assert!(cluster.group.voters.contains(&replica) || cluster.group.learners.contains(&replica));
        cluster.meta.apply(&Command::PlanRebalance { now_ms: 9 });
        cluster.run_until(Catalogue::is_balanced);
    }
}

#[test]
fn a_drain_that_is_cancelled_before_anything_moved_leaves_no_trace() {
    let mut cluster = Cluster::of_five();
    let before = cluster.meta.catalogue();
    cluster.meta.apply(&drain(4, true));
    cluster.meta.apply(&Command::PlanDepartures { now_ms: 1 });
    assert!(!cluster.meta.catalogue().moves.is_empty());
    cluster.meta.apply(&cancel(4));
    let after = cluster.meta.catalogue();
    assert_eq!(after.members, before.members);
    assert_eq!((after.partitions, after.moves), (before.partitions, before.moves));
}

#[test]
fn a_drain_is_refused_where_the_rest_could_not_hold_the_replicas() {
    let mut group = Group::founded(3);
    let before = group.catalogue();
    let Answer::Refused(reason) = group.apply(&drain(2, false)) else {
        panic!("accepted");
    };
    assert!(
        reason.contains("2 members") && reason.contains("3 replicas"),
        "{reason}"
    );
    assert_eq!(group.catalogue(), before);
    group.add_member(4);
    assert_eq!(group.apply(&drain(2, false)), Answer::Done);
    assert!(
        matches!(group.apply(&drain(3, false)), Answer::Refused(_)),
        "a second one"
    );
}

#[test]
fn a_failed_member_does_not_count_among_those_that_could_take_over() {
    let mut group = Group::founded(3);
    group.add_member(4);
    let failed = Command::SetHealth {
        member: MemberId(1),
        health: Health::Failed,
        now_ms: 1,
    };
    group.apply(&failed);
    let Answer::Refused(reason) = group.apply(&drain(2, false)) else {
        panic!("accepted");
    };
    assert!(reason.contains("1 more have failed"), "{reason}");
    assert_eq!(
        group.apply(&drain(1, true)),
        Answer::Done,
        "the failed one itself may go"
    );
}

#[test]
fn a_drained_member_stays_until_its_removal_is_asked_for() {
    let mut cluster = Cluster::of_five();
    cluster.meta.apply(&drain(2, false));
    cluster.run_until(|catalogue| is_drained(catalogue, 2));
    (0..50).for_each(|_| cluster.pass());
    let catalogue = cluster.meta.catalogue();
    assert_eq!(state(&catalogue, 2), MemberState::Draining);
    assert!(
        cluster.group.learners.contains(&ReplicaId(2)),
        "it still hears of the catalogue"
    );
    let row = &catalogue.members[&MemberId(2)];
    assert_eq!(
        why_member_waits(&catalogue, &cluster.observed(), Some(&cluster.group), row),
        None
    );
    cluster.meta.apply(&drain(2, true));
    cluster.run_until(|catalogue| state(catalogue, 2) == MemberState::Removed);
}

#[test]
fn the_leaders_of_a_drained_member_go_before_its_replicas() {
    let mut cluster = Cluster::of_five();
    let led = |cluster: &Cluster| -> Vec<PartitionId> {
        let leads =
            |(id, view): (&PartitionId, &crate::meta::driver::LeaderView)| (view.member == MemberId(1)).then_some(*id);
        cluster.leaders.iter().filter_map(leads).collect()
    };
    assert!(!led(&cluster).is_empty());
    cluster.meta.apply(&drain(1, true));
    while !led(&cluster).is_empty() {
        let led = led(&cluster);
        cluster.pass();
        let catalogue = cluster.meta.catalogue();
        let begun = |id: &&PartitionId| {
            catalogue
                .move_under_way(**id)
                .is_some_and(|row| row.from == Some(MemberId(1)))
        };
        assert_eq!(led.iter().find(begun), None, "a replica moved while it led");
    }
    cluster.run_until(|catalogue| state(catalogue, 1) == MemberState::Removed);
}

#[test]
fn nothing_is_removed_while_a_group_is_not_seen_or_holds_a_replica_that_is_not_known() {
    let mut cluster = Cluster::of_five();
    cluster.meta.apply(&drain(4, false));
    cluster.run_until(|catalogue| is_drained(catalogue, 4));
    (0..5).for_each(|_| cluster.pass());
    cluster.meta.apply(&drain(4, true));
    let catalogue = cluster.meta.catalogue();
    let proven = |cluster: &Cluster, observed| next_removal(&catalogue, &observed, &cluster.group).is_some();
    assert!(proven(&cluster, cluster.observed()));
    let mut blind = cluster.observed();
    blind.insert(PartitionId(3), None);
    assert!(!proven(&cluster, blind), "a group that was not seen");
    cluster.view(PartitionId(3)).learners.insert(ReplicaId(900));
    assert!(!proven(&cluster, cluster.observed()), "a stray learner may be on it");
}

#[test]
fn a_removal_decided_for_an_earlier_drain_is_refused() {
    let mut cluster = Cluster::of_five();
    cluster.meta.apply(&drain(4, true));
    let number = |cluster: &Cluster| cluster.meta.catalogue().members[&MemberId(4)].drain.unwrap().number;
    let earlier = number(&cluster);
    cluster.meta.apply(&cancel(4));
    cluster.meta.apply(&drain(4, false));
    cluster.run_until(|catalogue| is_drained(catalogue, 4));
    cluster.meta.apply(&drain(4, true));
    let remove = |drain| Command::RemoveMember {
        member: MemberId(4),
        drain,
    };
    assert!(matches!(cluster.meta.apply(&remove(earlier)), Answer::Refused(_)));
    assert_eq!(cluster.meta.apply(&remove(number(&cluster))), Answer::Done);
}

#[test]
fn a_removed_disk_never_joins_again_and_its_process_is_told_so() {
    let mut cluster = Cluster::of_five();
    cluster.meta.apply(&drain(5, true));
    cluster.run_until(|catalogue| state(catalogue, 5) == MemberState::Removed);
    assert!(matches!(cluster.meta.apply(&super::join(5)), Answer::Refused(_)));
    let describe = Command::DescribeMember {
        member: MemberId(5),
        disk_id: "disk-5".to_owned(),
        peer_address: "m5:7600".to_owned(),
        client_address: "m5:7700".to_owned(),
        version: "1".to_owned(),
    };
    assert_eq!(cluster.meta.apply(&describe), Answer::Removed);
}

#[test]
fn a_move_to_a_member_that_begins_to_leave_is_given_up() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=5);
    cluster.pass();
    cluster.pass();
    let to_four = |catalogue: &Catalogue| catalogue.moves.values().any(|row| row.to == Some(MemberId(4)));
    assert!(to_four(&cluster.meta.catalogue()));
    cluster.meta.apply(&drain(4, true));
    cluster.run_until(|catalogue| state(catalogue, 4) == MemberState::Removed);
    assert!(!to_four(&cluster.meta.catalogue()));
    cluster.run_until(|catalogue| catalogue.moves.is_empty());
    assert_whole(&cluster, 4);
}

#[test]
fn a_drain_goes_elsewhere_when_its_target_fails() {
    let mut cluster = Cluster::of_five();
    cluster.meta.apply(&drain(4, true));
    cluster.pass();
    let catalogue = cluster.meta.catalogue();
    let row = catalogue
        .moves
        .values()
        .find(|row| row.reason == MoveReason::Drain)
        .unwrap();
    let target = row.to.unwrap();
    let others = [1, 2, 3, 5].map(MemberId);
    assert!(others.contains(&target));
    cluster.crash(target);
    (0..200).for_each(|_| cluster.pass());
    let waits = cluster.meta.catalogue();
    let to_failed = waits.moves.values().filter(|row| row.to == Some(target)).count();
    assert_eq!(to_failed, 0, "{:?}", waits.moves);
    cluster.come_back(target);
    cluster.run_until(|catalogue| state(catalogue, 4) == MemberState::Removed);
}

#[test]
fn a_removal_is_asked_for_only_after_a_drain() {
    let mut cluster = Cluster::of_five();
    let ask = |member| Command::AskRemoval {
        member: MemberId(member),
    };
    assert!(
        matches!(cluster.meta.apply(&ask(4)), Answer::Refused(_)),
        "it is active"
    );
    cluster.crash(MemberId(4));
    let Answer::Refused(reason) = cluster.meta.apply(&ask(4)) else {
        panic!("it holds replicas");
    };
    assert!(reason.contains("drain it first"), "{reason}");
    cluster.meta.apply(&drain(4, false));
    assert_eq!(cluster.meta.apply(&ask(4)), Answer::Done);
    cluster.run_until(|catalogue| state(catalogue, 4) == MemberState::Removed);
    assert_eq!(cluster.meta.apply(&ask(4)), Answer::Done);
}
