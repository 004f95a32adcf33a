//! What is told of each change, and how much of it is kept.

use super::*;
use crate::ids::GroupId;
use crate::meta::driver::{LeaderView, Observed, elected_leaders};
use crate::meta::events::{Event, KEPT_EVENTS, NotKept, Recorded, newest, read_after};

impl Group {
    fn newest(&self) -> u64 {
        newest(&self.store).unwrap()
    }

    fn events_after(&self, position: u64) -> Vec<Event> {
        let recorded = read_after(&self.store, position, usize::MAX).unwrap().unwrap();
        recorded.into_iter().map(|recorded| recorded.event).collect()
    }

    /// What commands are told as, one after the other.
    fn told(&mut self, commands: &[Command]) -> Vec<Event> {
        let before = self.newest();
        for command in commands {
            assert!(!matches!(self.apply(command), Answer::Refused(_)), "{command:?}");
        }
        self.events_after(before)
    }
}

const FIRST: MemberId = MemberId(1);

fn health(health: Health) -> Command {
    Command::SetHealth {
        member: FIRST,
        health,
        now_ms: 1,
    }
}

fn leader(group: GroupId, member: u64, term: u64) -> Command {
    let member = MemberId(member);
    Command::NoteLeaders {
        leaders: vec![ElectedLeader { group, member, term }],
    }
}

#[test]
fn the_founders_are_the_first_events() {
    let joined = |member: u64| Event::MemberJoined {
        member: MemberId(member),
        address: format!("m{member}:7600"),
    };
    let group = Group::founded(3);
    assert_eq!(group.events_after(0), [joined(1), joined(2), joined(3)]);
}

#[test]
fn a_member_joins_when_it_is_active_and_not_before() {
    let mut group = Group::founded(3);
    assert_eq!(group.told(&[join(4)]), []);
    let member = MemberId(4);
    let address = "m4:7600".to_owned();
    let activate = Command::ActivateMember { member };
    let joined = Event::MemberJoined { member, address };
    assert_eq!(group.told(&[activate.clone(), activate]), [joined]);
}

#[test]
fn a_drain_is_told_from_its_start_to_its_end() {
    let mut group = Group::founded(3);
    let member = group.add_member(4);
    let drain = |then_remove| Command::Drain { member, then_remove };
    let begun = || Event::DrainBegun {
        member,
        then_remove: false,
    };
    let cancelled = Event::DrainCancelled { member };
    assert_eq!(group.told(&[drain(false), drain(false)]), [begun()]);
    assert_eq!(group.told(&[Command::CancelDrain { member }]), [cancelled]);
    let asked = Event::RemovalAsked { member };
    assert_eq!(group.told(&[drain(false), drain(true), drain(true)]), [begun(), asked]);
    let number = group.catalogue().members[&member].drain.unwrap().number;
    let remove = Command::RemoveMember { member, drain: number };
    assert_eq!(group.told(&[remove]), [Event::MemberRemoved { member }]);
}

#[test]
fn health_is_told_at_each_turn() {
    let mut group = Group::founded(3);
    let turns = [Health::Suspected, Health::Failed, Health::Failed, Health::Alive];
    let told = group.told(&turns.map(health));
    let changed = |health| Event::HealthChanged { member: FIRST, health };
    assert_eq!(told, [turns[0], turns[1], turns[3]].map(changed));
}

#[test]
fn a_member_that_counts_as_gone_is_told_of_and_so_is_its_return() {
    let mut group = Group::founded(3);
    group.add_member(4);
    let gone = Command::CountAsGone { member: FIRST };
    let told = group.told(&[health(Health::Failed), gone, health(Health::Alive)]);
    let changed = |health| Event::HealthChanged { member: FIRST, health };
    let expected = [
        changed(Health::Failed),
        Event::CountedAsGone { member: FIRST },
        Event::CameBack { member: FIRST },
        changed(Health::Alive),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_rebalance_is_told_from_its_start_over_each_move_to_its_end() {
    let mut group = Group::founded(3);
    group.add_member(4);
    let started = group.told(&[Command::PlanRebalance { now_ms: 1 }]);
    let moves = group.catalogue().moves;
    let count = moves.len() as u32;
    assert_eq!(started, [Event::RebalanceStarted { job: 1, moves: count }]);
    for (number, (id, row)) in (1..).zip(&moves) {
        let step = |from, to| Command::AdvanceMove { id: *id, from, to };
        let begin = step(MoveStep::Planned, Some(MoveStep::Learning));
        let moved = Event::PartitionMoved {
            partition: row.partition,
            from: row.from,
            to: row.to,
        };
        let finished = (number == count).then_some(Event::RebalanceFinished { job: 1, moves: count });
        let expected: Vec<_> = [moved].into_iter().chain(finished).collect();
        assert_eq!(group.told(&[begin, step(MoveStep::Learning, None)]), expected);
    }
}

#[test]
fn an_election_is_told_once_and_never_after_a_later_one() {
    let mut group = Group::founded(3);
    let partition = GroupId::Partition(PartitionId(2));
    let elected = |group, member, term| Event::LeaderElected {
        group,
        member: MemberId(member),
        term,
    };
    let told = group.told(&[
        leader(partition, 1, 2),
        leader(partition, 1, 2),
        leader(GroupId::Meta, 3, 1),
        leader(partition, 2, 5),
        leader(partition, 1, 4),
        leader(partition, 9, 6),
        leader(GroupId::Partition(PartitionId(99)), 1, 1),
    ]);
    let expected = [
        elected(partition, 1, 2),
        elected(GroupId::Meta, 3, 1),
        elected(partition, 2, 5),
    ];
    assert_eq!(told, expected);
}

#[test]
fn in_a_cluster_at_rest_no_leader_is_worth_a_note() {
    let mut group = Group::founded(3);
    let view = |member, term| LeaderView {
        member: MemberId(member),
        replica: Default::default(),
        term,
        led_ms: 0,
        voters: Default::default(),
        learners: Default::default(),
        joint: false,
        last_log_index: 0,
        membership_log_id: String::new(),
        matched: Default::default(),
        silent_ms: Default::default(),
    };
    let unseen = (PartitionId(1), None);
    let observed: Observed = [(PartitionId(0), Some(view(2, 3))), unseen].into();
    let leaders = elected_leaders(&group.catalogue(), &observed, &view(1, 1));
    assert_eq!(leaders.len(), 2);
    assert_eq!(group.told(&[Command::NoteLeaders { leaders }]).len(), 2);
    let newer = |meta: LeaderView| elected_leaders(&group.catalogue(), &observed, &meta).len();
    assert_eq!((newer(view(1, 1)), newer(view(1, 2))), (0, 1));
}

#[test]
fn an_event_has_the_time_of_its_proposal() {
    let mut group = Group::founded(3);
    let at = EntryPosition { term: 1, index: 2 };
    let command = health(Health::Failed).encode_at(77);
    MetaMachine.apply(&mut group.store, at, &command).unwrap();
    let recorded: Vec<Recorded> = read_after(&group.store, 3, 9).unwrap().unwrap();
    assert_eq!((recorded[0].position, recorded[0].time_ms), (4, 77));
}

#[test]
fn the_newest_events_are_kept_and_who_asks_for_others_is_told_so() {
    let mut group = Group::founded(3);
    let last = 2 * KEPT_EVENTS + 7;
    for term in 1..=last {
        group.apply(&leader(GroupId::Meta, 1, term));
    }
    // The three founders were the first.
    assert_eq!(group.newest(), last + 3);
    let oldest = last + 3 - KEPT_EVENTS + 1;
    let read = |after, most| read_after(&group.store, after, most).unwrap();
    assert_eq!(read(0, usize::MAX).unwrap().len() as u64, KEPT_EVENTS);
    assert_eq!(read(0, 1).unwrap()[0].position, oldest);
    assert_eq!(read(oldest - 1, 1).unwrap()[0].position, oldest);
    assert_eq!(read(oldest - 2, 1), Err(NotKept { oldest }));
    assert_eq!(read(last + 3, 1), Ok(vec![]));
    assert_eq!(read(u64::MAX, 1), Ok(vec![]));
    let stored = group.store.0.keys().filter(|key| key[0] == b'e').count();
    assert_eq!(stored as u64, KEPT_EVENTS);
}
