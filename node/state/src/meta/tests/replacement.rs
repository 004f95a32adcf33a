//! Members that have failed for good: their replicas are placed elsewhere, and they come back to nothing.

use std::collections::BTreeSet;

use super::Group;
use super::cluster::Cluster;
use crate::ids::{MemberId, PartitionId, ReplicaId};
use crate::meta::driver::{Action, LeaderView, next_member_steps, next_step};
use crate::meta::{Answer, Command, MemberState, MoveStep};

const AFTER_MS: u64 = 600_000;

fn cluster_with_replacement() -> Cluster {
    let mut cluster = Cluster::of_five();
    cluster.policy.now_ms = 1_000_000;
    cluster.policy.replacement_after_ms = Some(AFTER_MS);
    cluster.policy.leading_ms = AFTER_MS;
    cluster
}

fn is_gone(cluster: &Cluster, member: u64) -> bool {
    cluster.meta.catalogue().members[&MemberId(member)].gone
}

#[test]
fn a_member_that_has_failed_for_long_is_replaced_and_not_before() {
    let mut cluster = cluster_with_replacement();
    let failed = MemberId(2);
    let held = cluster.meta.catalogue().replicas_on(failed);
    assert!(held > 0);
    cluster.crash(failed);
    cluster.policy.now_ms += AFTER_MS - 1;
    (0..20).for_each(|_| cluster.pass());
    assert!(!is_gone(&cluster, 2));
    assert_eq!(cluster.meta.catalogue().replicas_on(failed), held);
    cluster.policy.now_ms += 1;
    cluster.run_until(|catalogue| catalogue.replicas_on(failed) == 0 && catalogue.moves.is_empty());
    let voters = cluster.leaders.values().map(|view| view.voters.len());
    assert_eq!(voters.collect::<BTreeSet<_>>(), BTreeSet::from([3]));
    assert!(
        cluster
            .leaders
            .values()
            .all(|view| view.voters.iter().all(|voter| view.is_in_sync(*voter)))
    );
}

#[test]
fn replacement_can_be_switched_off() {
    let mut cluster = cluster_with_replacement();
    cluster.policy.replacement_after_ms = None;
    cluster.crash(MemberId(2));
    cluster.policy.now_ms += 100 * AFTER_MS;
    (0..20).for_each(|_| cluster.pass());
    assert!(!is_gone(&cluster, 2));
}

#[test]
fn nobody_is_replaced_where_the_rest_could_not_hold_the_replicas() {
    let mut cluster = Cluster::new(Group::founded(3), 4..=4);
    cluster.run_until(|catalogue| catalogue.is_balanced());
    cluster.policy.replacement_after_ms = Some(AFTER_MS);
    for member in [1, 2] {
        cluster.crash(MemberId(member));
    }
    cluster.policy.now_ms += 2 * AFTER_MS;
    let catalogue = cluster.meta.catalogue();
    assert_eq!(
        next_member_steps(&catalogue, &cluster.observed(), &cluster.policy),
        vec![]
    );
    let forced = Command::CountAsGone { member: MemberId(1) };
    assert!(matches!(cluster.meta.apply(&forced), Answer::Refused(_)));
}

#[test]
fn a_member_that_comes_back_early_keeps_what_has_not_moved() {
    let mut cluster = cluster_with_replacement();
    let failed = MemberId(2);
    cluster.crash(failed);
    cluster.policy.now_ms += AFTER_MS;
    (0..6).for_each(|_| cluster.pass());
    assert!(is_gone(&cluster, 2));
    cluster.come_back(failed);
    let catalogue = cluster.meta.catalogue();
    assert!(!is_gone(&cluster, 2));
    assert!(
        catalogue.moves.values().all(|row| row.step == MoveStep::Learning),
        "{:?}",
        catalogue.moves
    );
    cluster.run_until(|catalogue| catalogue.moves.is_empty());
    let left = cluster.meta.catalogue().replicas_on(failed);
    assert!(left > 0);
    (0..20).for_each(|_| cluster.pass());
    assert_eq!(cluster.meta.catalogue().replicas_on(failed), left);
}

#[test]
fn a_member_that_comes_back_late_gets_replicas_only_by_a_rebalance() {
    let mut cluster = cluster_with_replacement();
    let failed = MemberId(2);
    cluster.crash(failed);
    cluster.policy.now_ms += AFTER_MS;
    cluster.run_until(|catalogue| catalogue.replicas_on(failed) == 0 && catalogue.moves.is_empty());
    cluster.come_back(failed);
    (0..20).for_each(|_| cluster.pass());
    let catalogue = cluster.meta.catalogue();
    assert_eq!((catalogue.replicas_on(failed), catalogue.retiring_on(failed)), (0, 0));
    cluster.meta.apply(&Command::PlanRebalance { now_ms: 1 });
    cluster.run_until(|catalogue| catalogue.is_balanced());
    assert!(cluster.meta.catalogue().replicas_on(failed) > 0);
}

#[test]
fn the_partitions_nearest_to_losing_their_majority_come_first() {
    let mut cluster = cluster_with_replacement();
    cluster.crash(MemberId(1));
    cluster.policy.now_ms += AFTER_MS;
    for step in cluster.steps().iter().take(4) {
        cluster.perform(step);
    }
    cluster.meta.apply(&Command::CountAsGone { member: MemberId(1) });
    cluster.meta.apply(&Command::PlanDepartures { now_ms: 1 });
    // The same loss everywhere; where the lost one still counts as heard there is a voter to spare.
    let catalogue = cluster.meta.catalogue();
    let planned: Vec<PartitionId> = catalogue.moves.values().map(|row| row.partition).collect();
    let (last, others) = planned.split_last().unwrap();
    for partition in others {
        let lost = catalogue.replica_on(*partition, MemberId(1)).unwrap();
        cluster.view(*partition).silent_ms.insert(lost, 10);
    }
    let begun = next_step(&catalogue, &cluster.observed())
        .into_iter()
        .find_map(|action| match action {
            Action::Propose(Command::AdvanceMove { id, .. }) => Some(catalogue.moves[&id].partition),
            _ => None,
        });
    assert_eq!(begun, Some(*last));
}

#[test]
fn a_leader_that_is_new_counts_nobody_as_gone() {
    let mut cluster = cluster_with_replacement();
    cluster.crash(MemberId(2));
    cluster.policy.now_ms += 10 * AFTER_MS;
    cluster.policy.leading_ms = 1_000;
    (0..20).for_each(|_| cluster.pass());
    assert!(!is_gone(&cluster, 2));
}

#[test]
fn a_move_that_waits_for_a_voter_that_is_lost_for_good_gives_way_to_its_replacement() {
    let mut cluster = cluster_with_replacement();
    let (partition, lost) = begin_a_drain(&mut cluster);
    let fresh = cluster.meta.add_member(6);
    cluster.crash(lost);
    (0..20).for_each(|_| cluster.pass());
    assert!(cluster.meta.catalogue().move_under_way(partition).is_some(), "it waits");
    cluster.policy.now_ms += AFTER_MS;
    cluster.run_until(|catalogue| {
        catalogue.replicas_on(lost) == 0 && catalogue.members[&MemberId(4)].state == MemberState::Removed
    });
    assert!(cluster.meta.catalogue().replicas_on(fresh) > 0);
}

/// Drains member 4 until its first move is under way; gives that partition and a holder that the move does not touch.
fn begin_a_drain(cluster: &mut Cluster) -> (PartitionId, MemberId) {
    let drain = Command::Drain {
        member: MemberId(4),
        then_remove: true,
    };
    cluster.meta.apply(&drain);
    loop {
        let catalogue = cluster.meta.catalogue();
        let mut rows = catalogue.moves.values();
        if let Some(row) = rows.find(|row| row.step == MoveStep::Learning) {
            let replicas = catalogue.partitions[&row.partition].replicas.values();
            let mut holders = replicas.map(|replica| Some(replica.member));
            let other = holders.find(|member| ![row.from, row.to].contains(member));
            return (row.partition, other.flatten().unwrap());
        }
        cluster.pass();
    }
}

#[test]
fn one_dead_voter_of_five_does_not_hold_up_the_replacement_of_another() {
    let (dead, dying) = (ReplicaId(1), ReplicaId(2));
    assert_eq!(five_voters(&[dead, dying]).holds_up(Some(dead)), None);
    let lost_majority = five_voters(&[dead, dying, ReplicaId(3)]);
    assert!(lost_majority.holds_up(Some(dead)).is_some());
    let moves_a_live_one = five_voters(&[dead]).holds_up(Some(dying));
    assert_eq!(moves_a_live_one, Some(dead));
}

fn five_voters(silent: &[ReplicaId]) -> LeaderView {
    let voters: BTreeSet<_> = (1..=5).map(ReplicaId).collect();
    let silence = |voter: &ReplicaId| if silent.contains(voter) { 60_000 } else { 0 };
    LeaderView {
        member: MemberId(5),
        replica: ReplicaId(5),
        term: 1,
        led_ms: 60_000,
        learners: BTreeSet::new(),
        joint: false,
        last_log_index: 9,
        membership_log_id: String::new(),
        matched: voters.iter().map(|voter| (*voter, 9)).collect(),
        silent_ms: voters.iter().map(|voter| (*voter, silence(voter))).collect(),
        voters,
    }
}

#[test]
fn a_dead_member_with_nothing_left_is_removed_although_it_never_deleted_its_replicas() {
    let mut cluster = cluster_with_replacement();
    let failed = MemberId(3);
    cluster.crash(failed);
    cluster.policy.now_ms += AFTER_MS;
    cluster.run_until(|catalogue| catalogue.replicas_on(failed) == 0 && catalogue.moves.is_empty());
    assert!(cluster.meta.catalogue().retiring_on(failed) > 0);
    let drain = Command::Drain {
        member: failed,
        then_remove: true,
    };
    assert_eq!(cluster.meta.apply(&drain), Answer::Done);
    cluster.run_until(|catalogue| catalogue.members[&failed].state == MemberState::Removed);
    assert_eq!(cluster.meta.catalogue().retiring_on(failed), 0);
}

#[test]
fn a_lost_disk_may_be_followed_at_its_address_once_its_member_has_failed() {
    let mut cluster = Cluster::of_five();
    let at_address_of_two = Command::Join {
        disk_id: "disk-9".to_owned(),
        peer_address: "m2:7600".to_owned(),
        client_address: "m2:7700".to_owned(),
        zone: "b".to_owned(),
        name: String::new(),
        version: "1".to_owned(),
    };
    assert!(matches!(cluster.meta.apply(&at_address_of_two), Answer::Refused(_)));
    cluster.crash(MemberId(2));
    let Answer::Joined { member, .. } = cluster.meta.apply(&at_address_of_two) else {
        panic!("refused");
    };
    assert_eq!(member, MemberId(6));
}
