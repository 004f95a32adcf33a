//! Who waits to commit with whom: transactions that have read nothing, by where they write.
//!
//! In a lane one commit is under way; what comes meanwhile waits, and commits together with all that waits. So whoever is alone
//! never waits, and the more there are the more share what a commit costs. Clients that were answered together come back
//! together: behind a commit of many the next one waits a moment for them, unless they did not come the last time.
//!
//! What shares a commit touches nothing in common, so that each of them could have been alone, before or after the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kotoba_state::ids::PartitionId;
use kotoba_state::partition::{Condition, ConditionKind, Key};
use tokio::sync::oneshot;

use super::{Acknowledgement, Writes};

/// How long a commit waits for those that are expected.
pub const GATHERS_FOR: Duration = Duration::from_millis(1);
/// Fewer are not waited for: they share too little.
const WORTH_WAITING: usize = 4;
/// Commits that do not wait, after one that had waited in vain.
const IN_VAIN_FOR: u32 = 8;
/// Transactions of one commit.
const MAX_SHARING: usize = 256;
/// Bytes of one commit's writes, unless it is of one transaction.
const MAX_SHARED_BYTES: usize = 128 << 10;

/// Where transactions go that may share a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The one that all of it is in; none where several take part.
    pub partition: Option<PartitionId>,
    pub acknowledgement: Acknowledgement,
}

/// A transaction that waits, and whom to tell.
#[derive(Debug)]
pub struct Waiting<T> {
    pub writes: Writes,
    pub whom: T,
}

/// Names somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<(Ticket, Waiting<T>)>,
    gathering: Option<Gathering>,
    /// Commits from now on that do not wait.
    in_vain: u32,
}

/// Between two commits.
#[derive(Debug)]
struct Gathering {
    wanted: usize,
    complete: oneshot::Sender<()>,
}

/// All lanes of a coordinator in which a commit is under way, or about to be.
#[derive(Debug)]
pub struct Lanes<T> {
    queues: BTreeMap<Lane, Queue<T>>,
    next_ticket: u64,
}

/// What becomes of a transaction that comes.
#[derive(Debug)]
pub enum Entered<T> {
    /// It has the lane to itself.
    Begins(Waiting<T>),
    Waits(Ticket),
}

/// What comes behind a commit.
#[derive(Debug)]
pub enum Next {
    /// [`Lanes::share`] at once.
    Commit,
    /// [`Lanes::share`] when this says so, or after [`GATHERS_FOR`].
    Gather(oneshot::Receiver<()>),
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Lanes {
            queues: BTreeMap::new(),
            next_ticket: 0,
        }
    }
}

impl<T> Lanes<T> {
    pub fn enter(&mut self, lane: Lane, comes: Waiting<T>) -> Entered<T> {
        let Some(queue) = self.queues.get_mut(&lane) else {
            self.queues.insert(lane, Queue::default());
            return Entered::Begins(comes);
        };
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        queue.waiting.push_back((ticket, comes));
        let waiting = queue.waiting.len();
        if let Some(gathering) = queue.gathering.take_if(|gathering| waiting >= gathering.wanted) {
            // The lane waits for it, or has just had its time.
            let _ = gathering.complete.send(());
        }
        Entered::Waits(ticket)
    }

    /// A commit that so many shared has ended.
    pub fn ended(&mut self, lane: Lane, sharing: usize) -> Next {
        let Some(queue) = self.queues.get_mut(&lane) else {
            return Next::Commit;
        };
        let waiting = queue.waiting.len();
        // Of those who had their answer and those who wait, all but the late.
        let wanted = ((sharing + waiting) * 3 / 4).min(MAX_SHARING);
        if queue.in_vain > 0 || wanted < WORTH_WAITING || waiting >= wanted {
            queue.in_vain = queue.in_vain.saturating_sub(1);
            return Next::Commit;
        }
        let (complete, completed) = oneshot::channel();
        queue.gathering = Some(Gathering { wanted, complete });
        Next::Gather(completed)
    }

    /// Who commits next, together; the lane is over where nobody does.
    pub fn share(&mut self, lane: Lane) -> Vec<Waiting<T>> {
        let Some(queue) = self.queues.get_mut(&lane) else {
            return Vec::new();
        };
        if queue.gathering.take().is_some() {
            queue.in_vain = IN_VAIN_FOR;
        }
        let share = queue.take_who_may_share();
        if share.is_empty() {
            self.queues.remove(&lane);
        }
        share
    }

    /// Ends a lane; who waits is not told.
    pub fn end(&mut self, lane: Lane) {
        self.queues.remove(&lane);
    }

    /// Takes back one who still waits.
    pub fn take_back(&mut self, lane: Lane, ticket: Ticket) -> Option<Waiting<T>> {
        let queue = self.queues.get_mut(&lane)?;
        let at = queue.waiting.iter().position(|(waits, _)| *waits == ticket)?;
        queue.waiting.remove(at).map(|(_, waiting)| waiting)
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            waiting: VecDeque::new(),
            gathering: None,
            in_vain: 0,
        }
    }
}

impl<T> Queue<T> {
    /// In the order in which they came, but for those that would touch what another one touches: they wait on.
    fn take_who_may_share(&mut self) -> Vec<Waiting<T>> {
        let (mut share, mut left) = (Vec::new(), VecDeque::new());
        let mut touched = Touched::default();
        while share.len() < MAX_SHARING
            && let Some((ticket, waiting)) = self.waiting.pop_front()
        {
            match touched.admits(&waiting.writes) {
                true => share.push(waiting),
                false => left.push_back((ticket, waiting)),
            }
        }
        left.append(&mut self.waiting);
        self.waiting = left;
        share
    }
}

/// What the transactions of one commit write and require so far.
#[derive(Debug, Default)]
struct Touched {
    written: BTreeSet<Key>,
    required: BTreeSet<Key>,
    bytes: usize,
}

impl Touched {
    /// Adds a transaction, if nobody of them writes what another one writes or requires something of, and all have room.
    fn admits(&mut self, writes: &Writes) -> bool {
        let bytes = writes.size_bytes();
        let has_room = self.bytes == 0 || self.bytes + bytes <= MAX_SHARED_BYTES;
        let mut written = writes.writes.keys();
        let mut required = writes.conditions.iter().map(|condition| &condition.key);
        let is_unwritten = |key: &Key| !self.written.contains(key);
        let may = has_room
            && written.all(|key| is_unwritten(key) && !self.required.contains(key))
            && required.all(is_unwritten);
        if may {
            self.bytes += bytes;
            self.written.extend(writes.writes.keys().cloned());
            let required = writes.conditions.iter().map(|condition| condition.key.clone());
            self.required.extend(required);
        }
        may
    }
}

/// Writes and conditions of all of them.
pub fn merge<'w>(sharing: impl Iterator<Item = &'w Writes>) -> Writes {
    let mut merged = Writes::default();
    let mut conditions: BTreeMap<(&Key, ConditionKind), Condition> = BTreeMap::new();
    for writes in sharing {
        let cloned = writes.writes.iter().map(|(key, op)| (key.clone(), op.clone()));
        merged.writes.extend(cloned);
        for condition in &writes.conditions {
            // Only where each would see to it is it not looked at again.
            let known = conditions
                .entry((&condition.key, condition.kind))
                .or_insert_with(|| condition.clone());
            known.guarded &= condition.guarded;
        }
    }
    merged.conditions = conditions.into_values().collect();
    merged
}

#[cfg(test)]
mod tests {
    use kotoba_state::partition::{Op, slot_key};

    use super::*;

    const LANE: Lane = Lane {
        partition: None,
        acknowledgement: Acknowledgement::ByMajority,
    };

    fn key(name: usize) -> Key {
        slot_key(1, name.to_string().as_bytes())
    }

    fn condition(name: usize, guarded: bool) -> Condition {
        Condition {
            key: key(name),
            kind: ConditionKind::Exists,
            guarded,
        }
    }

    fn writes(written: usize, required: &[usize]) -> Writes {
        Writes {
            writes: [(key(written), Op::Put(vec![0; 10]))].into(),
            conditions: required.iter().map(|name| condition(*name, true)).collect(),
        }
    }

    fn waiting(written: usize, required: &[usize]) -> Waiting<usize> {
        Waiting {
            writes: writes(written, required),
            whom: written,
        }
    }

    /// A lane in which one commit is under way and these wait.
    fn lane_with(waits: impl IntoIterator<Item = Waiting<usize>>) -> (Lanes<usize>, Vec<Ticket>) {
        let mut lanes = Lanes::default();
        assert!(matches!(lanes.enter(LANE, waiting(0, &[])), Entered::Begins(_)));
        let wait = |one| match lanes.enter(LANE, one) {
            Entered::Waits(ticket) => ticket,
            Entered::Begins(one) => panic!("{one:?} did not wait"),
        };
        let tickets = waits.into_iter().map(wait).collect();
        (lanes, tickets)
    }

    fn who_shares(lanes: &mut Lanes<usize>) -> Vec<usize> {
        lanes.share(LANE).into_iter().map(|one| one.whom).collect()
    }

    #[test]
    fn what_waits_commits_together_and_behind_it_the_lane_is_free() {
        let (mut lanes, _) = lane_with((1..=3).map(|name| waiting(name, &[])));
        assert!(matches!(lanes.ended(LANE, 1), Next::Commit));
        assert_eq!(who_shares(&mut lanes), [1, 2, 3]);
        assert!(matches!(lanes.enter(LANE, waiting(4, &[])), Entered::Waits(_)));
        assert_eq!(who_shares(&mut lanes), [4]);
        assert!(who_shares(&mut lanes).is_empty());
        assert!(matches!(lanes.enter(LANE, waiting(5, &[])), Entered::Begins(_)));
    }

    #[test]
    fn lanes_do_not_wait_for_each_other() {
        let (mut lanes, _) = lane_with([]);
        let other = Lane {
            acknowledgement: Acknowledgement::ByLeader,
            ..LANE
        };
        assert!(matches!(lanes.enter(other, waiting(1, &[])), Entered::Begins(_)));
    }

    #[test]
    fn what_touches_the_same_keys_does_not_share() {
        // Both require 9; 3 is written by one and required by the other; 1 is written twice.
        let waits = [
            waiting(1, &[9]),
            waiting(2, &[9]),
            waiting(3, &[]),
            waiting(4, &[3]),
            waiting(1, &[]),
        ];
        let (mut lanes, _) = lane_with(waits);
        assert_eq!(who_shares(&mut lanes), [1, 2, 3]);
        assert_eq!(who_shares(&mut lanes), [4, 1]);
    }

    #[test]
    fn a_commit_has_an_end_in_transactions_and_in_bytes() {
        let (mut lanes, _) = lane_with((0..=MAX_SHARING).map(|name| waiting(name, &[])));
        assert_eq!(who_shares(&mut lanes).len(), MAX_SHARING);
        assert_eq!(who_shares(&mut lanes), [MAX_SHARING]);

        let large = |name| {
            let mut waiting = waiting(name, &[]);
            waiting
                .writes
                .writes
                .insert(key(name), Op::Put(vec![0; MAX_SHARED_BYTES]));
            waiting
        };
        let (mut lanes, _) = lane_with([large(1), large(2), waiting(3, &[])]);
        assert_eq!(who_shares(&mut lanes), [1], "however large it is");
        assert_eq!(who_shares(&mut lanes), [2]);
        assert_eq!(who_shares(&mut lanes), [3]);
    }

    #[test]
    fn whoever_is_taken_back_does_not_commit() {
        let (mut lanes, tickets) = lane_with([waiting(1, &[]), waiting(2, &[])]);
        assert_eq!(lanes.take_back(LANE, tickets[0]).unwrap().whom, 1);
        assert!(lanes.take_back(LANE, tickets[0]).is_none());
        assert_eq!(who_shares(&mut lanes), [2]);
        assert!(lanes.take_back(LANE, tickets[1]).is_none(), "it is under way");
    }

    #[test]
    fn behind_a_commit_of_many_the_next_gathers_until_most_are_back() {
        let (mut lanes, _) = lane_with([]);
        let Next::Gather(mut complete) = lanes.ended(LANE, 8) else {
            panic!("eight were answered and none is back")
        };
        for name in 1..6 {
            lanes.enter(LANE, waiting(name, &[]));
        }
        assert!(complete.try_recv().is_err());
        lanes.enter(LANE, waiting(6, &[]));
        complete.try_recv().expect("six of eight are back");
        assert_eq!(who_shares(&mut lanes).len(), 6);
        assert!(matches!(lanes.ended(LANE, 6), Next::Gather(_)));
    }

    #[test]
    fn who_did_not_come_is_not_waited_for_again_soon() {
        let (mut lanes, _) = lane_with([waiting(1, &[])]);
        assert!(matches!(lanes.ended(LANE, 8), Next::Gather(_)));
        assert_eq!(who_shares(&mut lanes), [1], "the time is over");
        for _ in 0..IN_VAIN_FOR {
            assert!(matches!(lanes.ended(LANE, 8), Next::Commit));
        }
        assert!(matches!(lanes.ended(LANE, 8), Next::Gather(_)));
    }

    #[test]
    fn few_are_not_waited_for() {
        let (mut lanes, _) = lane_with([]);
        assert!(matches!(lanes.ended(LANE, WORTH_WAITING), Next::Commit));
    }

    #[test]
    fn merged_is_all_that_they_write_and_require() {
        let mut unguarded = writes(2, &[]);
        unguarded.conditions = vec![condition(9, false)];
        let merged = merge([&writes(1, &[8, 9]), &unguarded].into_iter());
        assert_eq!(merged.writes.len(), 2);
        assert_eq!(merged.conditions, [condition(8, true), condition(9, false)]);
    }
}
