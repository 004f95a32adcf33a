//! Replicas that are found to differ from their group, and what may be done about it.

use std::collections::BTreeMap;

use super::Group;
use crate::ids::{PartitionId, ReplicaId};
use crate::meta::driver::{Action, NotedDigests, report_diverged};
use crate::meta::{Answer, Command, Evidence};
use crate::partition::NotedDigest;

const PARTITION: PartitionId = PartitionId(0);

fn replicas(group: &Group) -> Vec<ReplicaId> {
    group.catalogue().partitions[&PARTITION]
        .replicas
        .keys()
        .copied()
        .collect()
}

fn report(replica: ReplicaId) -> Command {
    Command::ReportDiverged {
        partition: PARTITION,
        replica,
        evidence: Evidence::Comparison,
        now_ms: 7,
    }
}

/// Each replica's note, as (index, first byte of the digest).
fn noted(notes: &[(ReplicaId, u64, u8)]) -> NotedDigests {
    let note = |&(replica, index, byte): &(ReplicaId, u64, u8)| {
        let digest = [byte; 32];
        (replica, NotedDigest { index, digest })
    };
    BTreeMap::from([(PARTITION, notes.iter().map(note).collect())])
}

fn to_rebuild(group: &Group) -> Vec<ReplicaId> {
    let catalogue = group.catalogue();
    let rows = catalogue.diverged.iter().filter(|(_, row)| row.to_rebuild);
    rows.map(|(replica, _)| *replica).collect()
}

#[test]
fn one_of_three_is_rebuilt_and_the_next_one_after_it() {
    let mut group = Group::founded(3);
    let [first, second, _] = replicas(&group)[..] else {
        panic!("three replicas")
    };
    assert_eq!(group.apply(&report(first)), Answer::Done);
    assert_eq!(to_rebuild(&group), [first]);
    group.apply(&report(second));
    assert_eq!(group.catalogue().diverged.len(), 2, "it is known");
    assert_eq!(to_rebuild(&group), [first], "with the second only one would be sound");
    let rebuilt = Command::ReportRebuilt {
        partition: PARTITION,
        replica: first,
    };
    assert_eq!(group.apply(&rebuilt), Answer::Done);
    assert_eq!(to_rebuild(&group), [second]);
    assert_eq!(group.apply(&rebuilt), Answer::Done, "told again");
}

#[test]
fn an_only_replica_is_known_and_not_stopped() {
    let mut group = Group::founded(1);
    let only = replicas(&group)[0];
    group.apply(&report(only));
    assert!(group.catalogue().diverged.contains_key(&only));
    assert_eq!(to_rebuild(&group), []);
}

#[test]
fn a_replica_that_is_not_placed_is_nobodys() {
    let mut group = Group::founded(3);
    assert_eq!(group.apply(&report(ReplicaId(999))), Answer::Done);
    assert!(group.catalogue().diverged.is_empty());
}

#[test]
fn who_contradicts_a_majority_at_the_same_index_is_reported() {
    let group = Group::founded(3);
    let catalogue = group.catalogue();
    let [a, b, c] = replicas(&group)[..] else {
        panic!("three replicas")
    };
    let found = |notes: &[(ReplicaId, u64, u8)]| report_diverged(&catalogue, &noted(notes), 7);
    assert_eq!(
        found(&[(a, 10, 1), (b, 10, 1), (c, 10, 2)]),
        [Action::Propose(report(c))]
    );
    assert_eq!(found(&[(a, 10, 1), (b, 10, 1), (c, 10, 1)]), []);
    assert_eq!(found(&[(a, 10, 1), (b, 10, 1), (c, 9, 2)]), [], "it is not there yet");
    assert_eq!(
        found(&[(a, 10, 1), (b, 10, 2)]),
        [],
        "nobody knows which of two is right"
    );
    assert_eq!(found(&[(a, 10, 1), (b, 10, 2), (c, 10, 3)]), []);
}

#[test]
fn what_is_being_rebuilt_is_not_reported_again() {
    let mut group = Group::founded(3);
    let [a, b, c] = replicas(&group)[..] else {
        panic!("three replicas")
    };
    group.apply(&report(c));
    let notes = noted(&[(a, 10, 1), (b, 10, 1), (c, 10, 2)]);
    assert_eq!(report_diverged(&group.catalogue(), &notes, 7), []);
}
