//! What each command does; in the modules below, what the driver makes of the catalogue.

mod cluster;
mod diverged;
mod drain;
mod events;
mod leaders;
mod meta_group;
mod moves;
mod replacement;

use proptest::prelude::*;

use super::*;
use crate::ids::{MemberId, PartitionId};
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

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
