//! Leaders spread over the members, and left alone once they are.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Group;
use super::cluster::{Cluster, Step};
use crate::ids::{MemberId, PartitionId};
use crate::meta::driver::{Action, Policy, balance_leaders};
use crate::meta::{Command, MoveStep};

fn cluster(seed: &[u8]) -> Cluster {
    let mut cluster = Cluster::new(Group::founded(3), 4..=5);
    cluster.run_until(|catalogue| catalogue.is_balanced());
    for ((id, partition), dice) in cluster.meta.catalogue().partitions.iter().zip(seed.iter().cycle()) {
        let heir = partition.replicas.keys().nth(usize::from(*dice) % 3).unwrap();
        let to = *heir;
        cluster.execute(&Action::TransferLeader { partition: *id, to });
    }
    cluster.policy.balance_leaders = true;
    cluster
}

fn led(cluster: &Cluster) -> BTreeMap<MemberId, usize> {
    let mut led: BTreeMap<_, _> = cluster.meta.catalogue().members.keys().map(|id| (*id, 0)).collect();
    for view in cluster.leaders.values() {
        *led.get_mut(&view.member).unwrap() += 1;
    }
    led
}

fn transfers(cluster: &Cluster) -> Vec<PartitionId> {
    let transfer = |step: &Step| match step {
        Step::Of(Action::TransferLeader { partition, .. }) => Some(*partition),
        Step::Of(_) | Step::OfMeta(_) => None,
    };
    cluster.steps().iter().filter_map(transfer).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn leaders_are_spread_one_at_a_time_and_then_left_alone(seed in prop::collection::vec(0u8..3, 16)) {
        let mut cluster = cluster(&seed);
        let squares = |cluster: &Cluster| led(cluster).values().map(|count| count * count).sum::<usize>();
        let mut before = squares(&cluster);
        loop {
            let wanted = transfers(&cluster);
            prop_assert!(wanted.len() <= 1);
            cluster.pass();
            if wanted.is_empty() {
                break;
            }
            prop_assert!(squares(&cluster) < before, "a transfer that gains nothing");
            before = squares(&cluster);
        }
        for (partition, view) in &cluster.leaders {
            for replica in cluster.meta.catalogue().partitions[partition].replicas.values() {
                let led = led(&cluster);
                prop_assert!(led[&view.member] <= led[&replica.member] + 1, "{:?}", led);
            }
        }
    }
}

#[test]
fn no_leader_goes_to_a_member_that_fails_stops_leaves_or_lags() {
    let first = |cluster: &Cluster| balance_leaders(&cluster.meta.catalogue(), &cluster.observed(), &cluster.policy);
    let target = |cluster: &Cluster| match first(cluster) {
        Some(Action::TransferLeader { partition, to }) => {
            Some(cluster.meta.catalogue().partitions[&partition].replicas[&to].member)
        }
        _ => None,
    };
    let all_on_the_first = || cluster(&[0]);
    let wanted = target(&all_on_the_first()).unwrap();

    let mut stopping = all_on_the_first();
    stopping.policy.absent.insert(wanted);
    assert_ne!(target(&stopping), Some(wanted));

    let mut failed = all_on_the_first();
    failed.crash(wanted);
    assert_ne!(target(&failed), Some(wanted));

    let mut leaving = all_on_the_first();
    leaving.meta.apply(&Command::Drain {
        member: wanted,
        then_remove: false,
    });
    assert_ne!(target(&leaving), Some(wanted));

    let mut lagging = all_on_the_first();
    let catalogue = lagging.meta.catalogue();
    for (partition, view) in &mut lagging.leaders {
        if let Some(replica) = catalogue.replica_on(*partition, wanted) {
            view.matched.insert(replica, view.last_log_index - 500);
        }
    }
    assert_ne!(target(&lagging), Some(wanted));

    let mut silent = all_on_the_first();
    for (partition, view) in &mut silent.leaders {
        if let Some(replica) = catalogue.replica_on(*partition, wanted) {
            view.silent_ms.insert(replica, 1_500);
        }
    }
    assert_ne!(target(&silent), Some(wanted));
}

#[test]
fn a_leader_that_is_new_is_left_alone() {
    let mut cluster = cluster(&[0]);
    for view in cluster.leaders.values_mut() {
        view.led_ms = 500;
    }
    let (catalogue, observed) = (cluster.meta.catalogue(), cluster.observed());
    assert_eq!(balance_leaders(&catalogue, &observed, &cluster.policy), None);
}

#[test]
fn nothing_is_judged_by_half_a_picture() {
    let cluster = cluster(&[0]);
    let mut observed = cluster.observed();
    assert!(balance_leaders(&cluster.meta.catalogue(), &observed, &cluster.policy).is_some());
    observed.insert(PartitionId(7), None);
    assert_eq!(
        balance_leaders(&cluster.meta.catalogue(), &observed, &cluster.policy),
        None
    );
    assert_eq!(
        balance_leaders(&cluster.meta.catalogue(), &cluster.observed(), &Policy::default()),
        None
    );
}

#[test]
fn a_partition_that_moves_keeps_its_leader() {
    let mut cluster = cluster(&[0]);
    cluster.meta.apply(&Command::Drain {
        member: MemberId(5),
        then_remove: false,
    });
    let mut moved = 0;
    for _ in 0..100 {
        let catalogue = cluster.meta.catalogue();
        if let Some(Action::TransferLeader { partition, .. }) =
            balance_leaders(&catalogue, &cluster.observed(), &cluster.policy)
        {
            assert_eq!(catalogue.move_under_way(partition), None);
        }
        moved += catalogue
            .moves
            .values()
            .filter(|row| row.step == MoveStep::Learning)
            .count();
        cluster.pass();
    }
    assert!(moved > 0);
}
