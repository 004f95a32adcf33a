//! Events: what one command changed, told in the log's order, and the newest of them kept in the store.
//!
//! They are recorded in `apply`, so every member keeps the same events at the same positions, and a subscriber goes on at
//! any member where another left it. Facts are kept, not texts: a build that words one otherwise writes the same bytes.

use serde::{Deserialize, Serialize};

use super::catalogue::{Catalogue, Health, Member, MemberState, Move, ReplicaRole};
use super::command::{decode, encode};
use super::diverged::Diverged;
use crate::ids::{GroupId, MemberId, PartitionId, ReplicaId};
use crate::store::{Read, StoreError, Write};

/// Events that are kept. A rebalance of the largest cluster (1,024 partitions of 3 replicas) tells of as many moves, so a
/// subscriber may be away for one and miss nothing; at about 20 bytes each they do not burden a snapshot.
/// All members must keep the same: another number is another format.
pub const KEPT_EVENTS: u64 = 4_096;

const EVENTS: u8 = b'e';
/// The position of the newest event.
const NEWEST: &[u8] = b"n";

/// Something that happened. New kinds go at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    MemberJoined {
        member: MemberId,
        address: String,
    },
    MemberRemoved {
        member: MemberId,
    },
    /// The meta leader hears of a member again, or no longer.
    HealthChanged {
        member: MemberId,
        health: Health,
    },
    DrainBegun {
        member: MemberId,
        then_remove: bool,
    },
    /// The drain that is under way ends in a removal after all.
    RemovalAsked {
        member: MemberId,
    },
    DrainCancelled {
        member: MemberId,
    },
    /// Failed for so long that its replicas are placed elsewhere.
    CountedAsGone {
        member: MemberId,
    },
    CameBack {
        member: MemberId,
    },
    SettingsChanged,
    PartitionMoved {
        partition: PartitionId,
        from: Option<MemberId>,
        to: Option<MemberId>,
    },
    RebalanceStarted {
        job: u64,
        moves: u32,
    },
    RebalanceFinished {
        job: u64,
        moves: u32,
    },
    LeaderElected {
        group: GroupId,
        member: MemberId,
        term: u64,
    },
    ReplicaDiverged {
        replica: ReplicaId,
        member: MemberId,
        diverged: Diverged,
    },
    ReplicaRebuilt {
        replica: ReplicaId,
        member: MemberId,
        partition: PartitionId,
    },
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// From 1, without gaps.
    pub position: u64,
    /// When it was proposed, in milliseconds since the epoch by the proposer's clock; 0 where a build without clocks did.
    pub time_ms: u64,
    pub event: Event,
}

/// What is asked for is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotKept {
    /// The oldest position that is.
    pub oldest: u64,
}

/// The position of the newest event; 0 where nothing has happened yet.
pub fn newest(view: &dyn Read) -> Result<u64, StoreError> {
    match view.get(NEWEST)? {
        Some(bytes) => decode(&bytes).map_err(StoreError::new),
        None => Ok(0),
    }
}

/// At most `most` events that follow a position, oldest first; after 0 come the oldest that are kept.
pub fn read_after(view: &dyn Read, after: u64, most: usize) -> Result<Result<Vec<Recorded>, NotKept>, StoreError> {
    let oldest = oldest(newest(view)?);
    if after > 0 && after.saturating_add(1) < oldest {
        return Ok(Err(NotKept { oldest }));
    }
    view.scan(&key(after.saturating_add(1)), &[EVENTS + 1])?
        .take(most)
        .map(|pair| decode(&pair?.1).map_err(StoreError::new))
        .collect::<Result<_, _>>()
        .map(Ok)
}

/// Records what happened from one catalogue to the next.
pub(super) fn record(
    store: &mut dyn Write,
    before: &Catalogue,
    after: &Catalogue,
    time_ms: u64,
) -> Result<(), StoreError> {
    let events = differences(before, after);
    if events.is_empty() {
        return Ok(());
    }
    let mut position = newest(store)?;
    for event in events {
        position += 1;
        let recorded = Recorded {
            position,
            time_ms,
            event,
        };
        store.put(&key(position), &encode(&recorded))?;
        if let Some(dropped) = position.checked_sub(KEPT_EVENTS) {
            store.delete(&key(dropped))?;
        }
    }
    store.put(NEWEST, &encode(&position))
}

fn oldest(newest: u64) -> u64 {
    newest.saturating_sub(KEPT_EVENTS) + 1
}

fn key(position: u64) -> Vec<u8> {
    [&[EVENTS][..], &position.to_be_bytes()].concat()
}

/// The events between two catalogues: members first, then partitions, then jobs, then leaders.
fn differences(before: &Catalogue, after: &Catalogue) -> Vec<Event> {
    let mut events = Vec::new();
    for member in after.members.values() {
        events.extend(of_member(before.members.get(&member.id), member));
    }
    for row in before.moves.values().filter(|row| !after.moves.contains_key(&row.id)) {
        events.extend(of_ended_move(row, after));
    }
    events.extend(of_diverged(before, after));
    if before.settings.is_some() && before.settings != after.settings {
        events.push(Event::SettingsChanged);
    }
    events.extend(of_rebalance(before, after));
    let elected = after
        .leaders
        .iter()
        .filter(|(group, leader)| before.leaders.get(*group) != Some(*leader));
    events.extend(elected.map(|(group, leader)| Event::LeaderElected {
        group: *group,
        member: leader.member,
        term: leader.term,
    }));
    events
}

fn of_member(before: Option<&Member>, after: &Member) -> Vec<Event> {
    let mut events = Vec::new();
    let member = after.id;
    let state = before.map(|member| member.state);
    let was_in = matches!(state, Some(MemberState::Active | MemberState::Draining));
    if after.state == MemberState::Active && !was_in {
        let address = after.peer_address.clone();
        events.push(Event::MemberJoined { member, address });
    }
    if after.state == MemberState::Removed && state != Some(MemberState::Removed) {
        events.push(Event::MemberRemoved { member });
    }
    if let Some(before) = before {
        events.extend(of_drain(before, after));
        events.extend(of_absence(before, after));
    }
    let health = before.map_or(Health::Alive, |member| member.health);
    if health != after.health {
        let health = after.health;
        events.push(Event::HealthChanged { member, health });
    }
    events
}

/// Drains that begin, change or are cancelled.
fn of_drain(before: &Member, after: &Member) -> Option<Event> {
    let member = after.id;
    match (before.drain, after.drain) {
        (None, Some(drain)) => Some(Event::DrainBegun {
            member,
            then_remove: drain.then_remove,
        }),
        (Some(old), Some(new)) if new.then_remove && !old.then_remove => Some(Event::RemovalAsked { member }),
        (Some(_), None) if after.state != MemberState::Removed => Some(Event::DrainCancelled { member }),
        (Some(_), _) | (None, None) => None,
    }
}

/// Members that count as gone, or no longer do.
fn of_absence(before: &Member, after: &Member) -> Option<Event> {
    let member = after.id;
    match (before.gone, after.gone) {
        (false, true) => Some(Event::CountedAsGone { member }),
        (true, false) if after.state == MemberState::Active => Some(Event::CameBack { member }),
        (true, _) | (false, false) => None,
    }
}

/// A move that ended with its new replica in place; one that was dropped before it began is no event.
fn of_ended_move(row: &Move, after: &Catalogue) -> Option<Event> {
    let replica = row.replica?;
    let partition = after.partitions.get(&row.partition)?;
    partition
        .replicas
        .contains_key(&replica)
        .then_some(Event::PartitionMoved {
            partition: row.partition,
            from: row.from,
            to: row.to,
        })
}

/// Replicas that were found out or are mended; those that are not placed any more are neither.
fn of_diverged(before: &Catalogue, after: &Catalogue) -> Vec<Event> {
    let member_of = |replica: &ReplicaId, partition: &PartitionId| {
        let placed = after.partitions.get(partition)?.replicas.get(replica)?;
        (placed.role != ReplicaRole::Retiring).then_some(placed.member)
    };
    let found = after
        .diverged
        .iter()
        .filter(|(id, _)| !before.diverged.contains_key(*id));
    let found = found.filter_map(|(replica, diverged)| {
        Some(Event::ReplicaDiverged {
            replica: *replica,
            member: member_of(replica, &diverged.partition)?,
            diverged: *diverged,
        })
    });
    let mended = before
        .diverged
        .iter()
        .filter(|(id, _)| !after.diverged.contains_key(*id));
    let mended = mended.filter_map(|(replica, diverged)| {
        Some(Event::ReplicaRebuilt {
            replica: *replica,
            member: member_of(replica, &diverged.partition)?,
            partition: diverged.partition,
        })
    });
    found.chain(mended).collect()
}

fn of_rebalance(before: &Catalogue, after: &Catalogue) -> Vec<Event> {
    let Some(now) = &after.rebalance else {
        return Vec::new();
    };
    let (old_job, job) = (before.rebalance.as_ref().map(|old| old.job), now.job);
    let moves = now.moves_planned;
    let started = (old_job != Some(job)).then_some(Event::RebalanceStarted { job, moves });
    let moves = now.moves_finished;
    let ended = !before.moves.is_empty() && after.moves.is_empty();
    let finished = ended.then_some(Event::RebalanceFinished { job, moves });
    started.into_iter().chain(finished).collect()
}
