//! What holds of the catalogue whatever commands come, in whatever order, and however often each.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::ids::{GroupId, MemberId, PartitionId, ReplicaId};
use crate::machine::{EntryPosition, StateMachine};
use crate::store::MemoryStore;

const ZONES: [&str; 3] = ["a", "b", "c"];

fn first_member(number: u64) -> FirstMember {
    FirstMember {
        peer_address: format!("m{number}:7600"),
        client_address: String::new(),
        zone: ZONES[number as usize % 3].to_owned(),
        disk_id: format!("disk-{number}"),
        name: String::new(),
        meta_voter: number <= 3,
    }
}

fn found(cluster: u8) -> Command {
    Command::Found {
        cluster_id: format!("cluster-{cluster}"),
        members: (1..=3).map(first_member).collect(),
        replication_factor: 3,
        partition_count: 4,
        max_parallel_moves: 2,
    }
}

fn join(number: u64) -> Command {
    Command::Join {
        disk_id: format!("disk-{number}"),
        peer_address: format!("m{number}:7600"),
        client_address: String::new(),
        zone: ZONES[number as usize % 3].to_owned(),
        name: String::new(),
        version: "1".to_owned(),
    }
}

fn describe(number: u64, disk: u64) -> Command {
    Command::DescribeMember {
        member: MemberId(number),
        disk_id: format!("disk-{disk}"),
        peer_address: format!("m{disk}:7600"),
        client_address: String::new(),
        version: "2".to_owned(),
    }
}

fn any_health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Alive), Just(Health::Suspected), Just(Health::Failed)]
}

fn any_leaders() -> impl Strategy<Value = Vec<ElectedLeader>> {
    let leader = (0u64..6, 0u64..6, 0u64..9).prop_map(|(group, member, term)| ElectedLeader {
        group: GroupId::from_number(group).unwrap(),
        member: MemberId(member),
        term,
    });
    prop::collection::vec(leader, 0..4)
}

/// Commands about few things, among them things that do not exist, so that they meet often.
fn any_command() -> impl Strategy<Value = Command> {
    let member = || (0u64..8).prop_map(MemberId);
    let begin = |id| Command::AdvanceMove {
        id,
        from: MoveStep::Planned,
        to: Some(MoveStep::Learning),
    };
    let end = |id| Command::AdvanceMove {
        id,
        from: MoveStep::Learning,
        to: None,
    };
    let put_back = |id| Command::AdvanceMove {
        id,
        from: MoveStep::Learning,
        to: Some(MoveStep::Planned),
    };
    let drop = |id| Command::AdvanceMove {
        id,
        from: MoveStep::Planned,
        to: None,
    };
    prop_oneof![
        1 => (0u8..2).prop_map(found),
        4 => (1u64..8).prop_map(join),
        1 => (1u64..8, 1u64..8).prop_map(|(number, disk)| describe(number, disk)),
        4 => member().prop_map(|member| Command::ActivateMember { member }),
        1 => (member(), any::<bool>()).prop_map(|(member, voter)| Command::SetMetaVoter { member, voter }),
        3 => (member(), any::<bool>()).prop_map(|(member, then_remove)| Command::Drain { member, then_remove }),
        2 => member().prop_map(|member| Command::CancelDrain { member }),
        3 => (member(), any_health()).prop_map(|(member, health)| Command::SetHealth { member, health, now_ms: 7 }),
        2 => member().prop_map(|member| Command::AskRemoval { member }),
        2 => member().prop_map(|member| Command::CountAsGone { member }),
        3 => Just(Command::PlanDepartures { now_ms: 1 }),
        3 => (member(), 0u64..6).prop_map(|(member, drain)| Command::RemoveMember { member, drain }),
        1 => (0u32..6).prop_map(|partition| Command::MarkFounded { partition: PartitionId(partition) }),
        1 => any::<u64>().prop_map(|now_ms| Command::PlanRebalance { now_ms }),
        8 => (0u64..24).prop_map(begin),
        8 => (0u64..24).prop_map(end),
        2 => (0u64..24).prop_map(put_back),
        1 => (0u64..24).prop_map(drop),
        6 => (0u32..5, 0u64..40).prop_map(|(partition, replica)| Command::ForgetReplica {
            partition: PartitionId(partition),
            replica: ReplicaId(replica),
        }),
        1 => (0u64..1 << 33).prop_map(|count| Command::ExtendTimestamps { count }),
        1 => (0u64..1 << 33).prop_map(|count| Command::LeaseSequences { count }),
        1 => Just(Command::NextIncarnation),
        3 => (0u32..5, 0u64..40, 0u64..9).prop_map(|(partition, replica, now_ms)| Command::ReportDiverged {
            partition: PartitionId(partition),
            replica: ReplicaId(replica),
            evidence: Evidence::Scrub,
            now_ms,
        }),
        1 => (0u32..5, 0u64..40).prop_map(|(partition, replica)| Command::ReportRebuilt {
            partition: PartitionId(partition),
            replica: ReplicaId(replica),
        }),
        4 => any_leaders().prop_map(|leaders| Command::NoteLeaders { leaders }),
    ]
}

fn apply(store: &mut MemoryStore, index: u64, command: &Command) -> Answer {
    let answer = MetaMachine
        .apply(store, EntryPosition { term: 1, index }, &command.encode_at(index))
        .unwrap();
    Answer::decode(&answer).unwrap()
}

/// A cluster that was founded, has grown, and is about to move.
fn growing() -> Vec<Command> {
    let activate = |number| Command::ActivateMember {
        member: MemberId(number),
    };
    let plan = Command::PlanRebalance { now_ms: 1 };
    vec![found(0), join(4), join(5), activate(4), activate(5), plan]
}

fn check(catalogue: &Catalogue) {
    for partition in catalogue.partitions.values() {
        let with = |role| {
            partition
                .replicas
                .values()
                .filter(move |replica| replica.role == role)
                .count()
        };
        assert_eq!(
            with(ReplicaRole::Voter),
            3,
            "partition {} has lost a voter, or has one too many",
            partition.id
        );
        let holders: BTreeSet<_> = partition.replicas.values().map(|replica| replica.member).collect();
        assert_eq!(
            holders.len(),
            partition.replicas.len(),
            "two replicas of a partition on one member"
        );
        let running: Vec<_> = catalogue
            .moves
            .values()
            .filter(|row| row.partition == partition.id && row.step == MoveStep::Learning)
            .collect();
        assert!(running.len() <= 1, "two moves of one partition at a time");
        assert_eq!(with(ReplicaRole::Learner), running.len(), "a learner without a move");
    }
    let running = catalogue
        .moves
        .values()
        .filter(|row| row.step == MoveStep::Learning)
        .count();
    assert!(running <= 2, "more moves at a time than allowed");
    for member in catalogue.members.values() {
        assert_eq!(
            member.drain.is_some(),
            member.state == MemberState::Draining,
            "{member:?}"
        );
        let left = catalogue.replicas_on(member.id) + catalogue.retiring_on(member.id);
        assert!(
            member.state != MemberState::Removed || left == 0,
            "a removed member holds {left} replicas"
        );
    }
    for (replica, row) in &catalogue.diverged {
        let placed = catalogue.partitions[&row.partition].replicas.get(replica);
        let role = placed.map(|placed| placed.role);
        assert!(
            matches!(role, Some(ReplicaRole::Voter | ReplicaRole::Learner)),
            "replica {replica} is to be rebuilt, but is {role:?}"
        );
    }
    let placeable = catalogue.candidates().len();
    assert!(placeable >= 3, "{placeable} members are left for three replicas");
    let disks: BTreeSet<_> = catalogue.members.values().map(|member| &member.disk_id).collect();
    assert_eq!(disks.len(), catalogue.members.len(), "two members with one disk");
}

/// Every id that one command brought was never there before, and no counter went back.
fn check_change(before: &Catalogue, after: &Catalogue) {
    let (old, new) = (&before.counters, &after.counters);
    let replicas = |catalogue: &Catalogue| -> BTreeSet<ReplicaId> {
        let of_partitions = catalogue
            .partitions
            .values()
            .flat_map(|partition| partition.replicas.keys().copied());
        of_partitions
            .chain(catalogue.members.values().map(|member| member.meta_replica))
            .collect()
    };
    for replica in replicas(after).difference(&replicas(before)) {
        assert!(
            (old.next_replica..new.next_replica).contains(replica),
            "replica id {replica} is used again"
        );
    }
    for member in after.members.keys().filter(|id| !before.members.contains_key(id)) {
        assert!(
            (old.next_member..new.next_member).contains(member),
            "member id {member} is used again"
        );
    }
    for id in after.moves.keys().filter(|id| !before.moves.contains_key(id)) {
        assert!(
            (old.next_move..new.next_move).contains(id),
            "move id {id} is used again"
        );
    }
    assert!(old.next_sequence <= new.next_sequence && old.next_timestamp <= new.next_timestamp);
    assert!(old.next_incarnation <= new.next_incarnation && old.moves_finished <= new.moves_finished);
    if before.settings.is_some() {
        assert_eq!(before.settings, after.settings, "the cluster id is latched");
    }
    for (id, member) in &before.members {
        let now = after.members.get(id).expect("a member is never forgotten");
        let was_removed = member.state == MemberState::Removed;
        assert!(
            !was_removed || now.state == MemberState::Removed,
            "member {id} came back"
        );
        let is_removed_now = now.state == MemberState::Removed && !was_removed;
        assert!(
            !is_removed_now || before.is_empty_of(*id),
            "member {id} was removed with something on it"
        );
    }
}

/// Positions follow each other without a gap, and what was recorded stays as it was.
fn check_events(before: &MemoryStore, after: &MemoryStore, index: u64) {
    let all = |store| events::read_after(store, 0, usize::MAX).unwrap().unwrap();
    let (old, new) = (all(before), all(after));
    assert_eq!(new[..old.len()], old, "an event changed after it was recorded");
    assert!(new.iter().map(|recorded| recorded.position).eq(1..=new.len() as u64));
    assert!(new[old.len()..].iter().all(|recorded| recorded.time_ms == index));
    assert_eq!(events::newest(after).unwrap(), new.len() as u64);
}

/// Commands that give something new each time; all others do no more the second time.
fn gives_something(command: &Command) -> bool {
    match command {
        Command::PlanRebalance { .. }
        | Command::ExtendTimestamps { .. }
        | Command::LeaseSequences { .. }
        | Command::NextIncarnation => true,
        Command::Found { .. }
        | Command::Join { .. }
        | Command::ActivateMember { .. }
        | Command::DescribeMember { .. }
        | Command::SetMetaVoter { .. }
        | Command::SetHealth { .. }
        | Command::Drain { .. }
        | Command::CancelDrain { .. }
        | Command::AskRemoval { .. }
        | Command::CountAsGone { .. }
        | Command::PlanDepartures { .. }
        | Command::RemoveMember { .. }
        | Command::MarkFounded { .. }
        | Command::AdvanceMove { .. }
        | Command::ForgetReplica { .. }
        | Command::ReportDiverged { .. }
        | Command::ReportRebuilt { .. }
        | Command::NoteLeaders { .. } => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_order_of_commands_breaks_the_catalogue(commands in prop::collection::vec(any_command(), 1..120)) {
        let mut store = MemoryStore::default();
        for (index, command) in (1..).zip(&growing()) {
            apply(&mut store, index, command);
        }
        for (index, command) in (10..).zip(&commands) {
            let before = store.clone();
            let answer = apply(&mut store, index, command);
            if matches!(answer, Answer::Refused(_)) {
                prop_assert_eq!(&store, &before, "a refused command changed something");
            }
            let catalogue = Catalogue::load(&store).unwrap();
            check(&catalogue);
            check_change(&Catalogue::load(&before).unwrap(), &catalogue);
            check_events(&before, &store, index);
            if !gives_something(command) {
                let mut again = store.clone();
                apply(&mut again, index + 1, command);
                prop_assert_eq!(&again, &store, "a command that came twice changed something the second time");
            }
        }
    }

    #[test]
    fn equal_logs_give_equal_stores(commands in prop::collection::vec(any_command(), 1..60)) {
        let run = || {
            let mut store = MemoryStore::default();
            let answers: Vec<_> =
                (1..).zip(growing().iter().chain(&commands)).map(|(at, command)| apply(&mut store, at, command)).collect();
            (store, answers)
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn entity_sequences_end_where_their_bits_do() {
    let mut store = MemoryStore::default();
    apply(&mut store, 1, &found(0));
    // Leasing all of them would take all day, so it begins shortly before the end.
    let end = 1 << 51;
    let before = Catalogue::load(&store).unwrap();
    let mut after = before.clone();
    after.counters.next_sequence = end - 10;
    rows::save(&mut store, &before, &after).unwrap();
    let mut lease = |index, count| apply(&mut store, index, &Command::LeaseSequences { count });
    assert!(matches!(lease(2, 11), Answer::Refused(_)));
    assert_eq!(
        lease(3, 10),
        Answer::Sequences {
            from: end - 10,
            to: end
        }
    );
    assert!(matches!(lease(4, 1), Answer::Refused(_)));
}

#[test]
fn a_command_of_another_format_stops_the_replica() {
    let mut command = found(0).encode();
    command[0] = 3;
    let at = EntryPosition { term: 1, index: 1 };
    assert!(MetaMachine.apply(&mut MemoryStore::default(), at, &command).is_err());
    assert!(MetaMachine.apply(&mut MemoryStore::default(), at, &[]).is_err());
}
