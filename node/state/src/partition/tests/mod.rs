//! Tests of the partition's state machine: each rule by name, and all of it against a naive model.

mod collection;
mod conditions;
mod digests;
mod laws;
mod model;
mod one_phase;
mod outcomes;
mod prepare;
mod reading;
mod refreshing;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ids::{MemberId, Timestamp};
use crate::machine::{EntryPosition, StateMachine};
use crate::store::{MemoryStore, StoreError};

/// The primary of a transaction whose outcome another partition keeps.
const ELSEWHERE: &str = "zz-elsewhere";
const DEADLINE_MS: u64 = 1_000;
const TERM: u64 = 1;

pub(super) fn ts(number: u64) -> Timestamp {
    Timestamp(number)
}

pub(super) fn txn(counter: u64) -> TxnId {
    TxnId {
        member: MemberId(1),
        incarnation: 1,
        counter,
    }
}

pub(super) fn key(name: &str) -> Key {
    name.as_bytes().to_vec()
}

pub(super) fn head(counter: u64, start: u64, primary: &str) -> TxnHead {
    TxnHead {
        txn: txn(counter),
        start_ts: ts(start),
        primary: key(primary),
        deadline_ms: DEADLINE_MS,
    }
}

pub(super) fn put(name: &str) -> (Key, Op) {
    (key(name), Op::Put(format!("value of {name}").into_bytes()))
}

pub(super) fn put_value(name: &str, value: &str) -> (Key, Op) {
    (key(name), Op::Put(value.as_bytes().to_vec()))
}

pub(super) fn delete(name: &str) -> (Key, Op) {
    (key(name), Op::Delete)
}

pub(super) fn condition(name: &str, kind: ConditionKind) -> Condition {
    Condition {
        key: key(name),
        kind,
        guarded: false,
    }
}

pub(super) fn range(from: &str, to: &str) -> Span {
    Span::Range {
        from: key(from),
        to: key(to),
    }
}

/// One partition and the next index of its log.
#[derive(Clone, Default)]
pub(super) struct Partition {
    pub store: MemoryStore,
    index: u64,
}

impl Partition {
    pub fn apply(&mut self, command: Command) -> Answer {
        self.apply_in_term(TERM, command)
    }

    pub fn apply_in_term(&mut self, term: u64, command: Command) -> Answer {
        self.index += 1;
        let at = EntryPosition {
            term,
            index: self.index,
        };
        let answer = PartitionMachine.apply(&mut self.store, at, &command.encode()).unwrap();
        assert_eq!(
            digest(&self.store).unwrap(),
            digest_by_scan(&self.store).unwrap(),
            "the kept digest is wrong"
        );
        Answer::decode(&answer).unwrap()
    }

    pub fn prepare(&mut self, command: Prepare) -> PrepareAnswer {
        match self.apply(Command::Prepare(command)) {
            Answer::Prepare(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn check(&mut self, head: &TxnHead, now_ms: u64, push: Push) -> TxnStatus {
        let head = head.clone();
        match self.apply(Command::CheckTxn(CheckTxn { head, now_ms, push })) {
            Answer::CheckTxn(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub fn abort(&mut self, head: &TxnHead) -> TxnStatus {
        self.check(head, 0, Push::Abort)
    }

    pub fn resolve(&mut self, counter: u64, decided: Decided) {
        let txn = txn(counter);
        assert_eq!(self.apply(Command::ResolveIntents { txn, decided }), Answer::Resolved);
    }

    pub fn forget(&mut self, counter: u64, slots: BTreeSet<u16>) {
        let txn = txn(counter);
        let forget = Command::Forget(vec![Resolved { txn, slots }]);
        assert_eq!(self.apply(forget), Answer::Forgotten);
    }

    pub fn one_phase(&mut self, command: CommitOnePhase) -> OnePhaseAnswer {
        self.one_phase_in_term(TERM, command)
    }

    pub fn one_phase_in_term(&mut self, term: u64, command: CommitOnePhase) -> OnePhaseAnswer {
        match self.apply_in_term(term, Command::CommitOnePhase(command)) {
            Answer::OnePhase(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn record_floor(&mut self, floor: u64) -> (Timestamp, Option<TxnHead>) {
        match self.apply(Command::RecordFloor {
            floor: ts(floor),
            max_records: 1_000,
        }) {
            Answer::RecordFloor { floor, blocked_by } => (floor, blocked_by),
            other => panic!("{other:?}"),
        }
    }

    pub fn version_floor(&mut self, floor: u64, max_versions: u32) -> bool {
        match self.apply(Command::VersionFloor {
            floor: ts(floor),
            max_versions,
        }) {
            Answer::VersionFloor { more, .. } => more,
            other => panic!("{other:?}"),
        }
    }

    /// Commits writes in one phase, with nothing in the way.
    pub fn wrote(&mut self, counter: u64, commit: u64, writes: impl IntoIterator<Item = (Key, Op)>) {
        let command = one_phase(head(counter, commit - 1, ""), commit, writes);
        assert_eq!(self.one_phase(command), OnePhaseAnswer::Committed(ts(commit)));
    }

    pub fn read(&self, name: &str, snapshot: u64) -> Option<String> {
        self.read_knowing(name, snapshot, &Known::new())
            .expect("blocked by an intent")
    }

    /// The value, or the transaction that has to be asked about.
    pub fn read_knowing(&self, name: &str, snapshot: u64, known: &Known) -> Result<Option<String>, TxnId> {
        match read_at(&self.store, &key(name), ts(snapshot), known).unwrap() {
            ReadAt::Value { value, .. } => Ok(value.map(|value| String::from_utf8(value.into()).unwrap())),
            ReadAt::Blocked(met) => Err(met.intent.head.txn),
        }
    }

    pub fn has_intent(&self, name: &str) -> bool {
        intent_of(&self.store, &key(name)).unwrap().is_some()
    }
}

/// A Prepare with nothing but writes.
pub(super) fn prepare(head: TxnHead, writes: impl IntoIterator<Item = (Key, Op)>) -> Prepare {
    let writes: BTreeMap<Key, Op> = writes.into_iter().collect();
    Prepare {
        head,
        writes,
        reads: Vec::new(),
        conditions: Vec::new(),
        min_commit_hint: ts(0),
    }
}

/// A one-phase commit of this term with nothing but writes; its primary is the first key.
pub(super) fn one_phase(head: TxnHead, commit: u64, writes: impl IntoIterator<Item = (Key, Op)>) -> CommitOnePhase {
    let writes: BTreeMap<Key, Op> = writes.into_iter().collect();
    let primary = writes.keys().next().expect("it writes something").clone();
    CommitOnePhase {
        head: TxnHead { primary, ..head },
        commit_ts: ts(commit),
        epoch: TERM,
        writes,
        reads: Vec::new(),
        conditions: Vec::new(),
        prepared: BTreeSet::new(),
    }
}

pub(super) fn slots(names: &[&str]) -> BTreeSet<u16> {
    names.iter().map(|name| slot_of(name.as_bytes())).collect()
}

#[test]
fn a_command_of_an_unknown_format_stops_the_replica() {
    let mut store = MemoryStore::default();
    let at = EntryPosition { term: 1, index: 1 };
    let mut bytes = Command::CloseTs { closed: ts(1) }.encode();
    bytes[0] += 1;
    let StoreError(cause) = PartitionMachine.apply(&mut store, at, &bytes).unwrap_err();
    assert!(cause.to_string().contains("start a newer build"), "{cause}");
    assert!(PartitionMachine.apply(&mut store, at, &[]).is_err());
    assert!(PartitionMachine.apply(&mut store, at, &[1, 250]).is_err());
    assert_eq!(store, MemoryStore::default());
}

#[test]
fn closed_ts_only_grows() {
    let mut partition = Partition::default();
    partition.apply(Command::CloseTs { closed: ts(5) });
    let answer = partition.apply(Command::CloseTs { closed: ts(3) });
    assert_eq!(answer, Answer::Closed(ts(5)));
    assert_eq!(closed_ts(&partition.store).unwrap(), ts(5));
}
