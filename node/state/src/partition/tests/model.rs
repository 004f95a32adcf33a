//! A naive model of a partition: maps and loops, written from the protocol's text and sharing no code with the
//! state machine but the types.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use super::ts;
use crate::ids::Timestamp;

const MAX_PUSHES: u32 = 16;

#[derive(Clone, Debug)]
enum Record {
    Pending { min: Timestamp, pushes: u32 },
    Committed { at: Timestamp, unresolved: BTreeSet<u16> },
    Aborted,
}

#[derive(Clone, Debug)]
struct Version {
    at: Timestamp,
    txn: TxnId,
    op: Op,
}

#[derive(Clone, Debug)]
struct ModelIntent {
    head: TxnHead,
    op: Op,
    min: Timestamp,
}

/// All state of a partition.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Newest last.
    versions: BTreeMap<Key, Vec<Version>>,
    intents: BTreeMap<Key, ModelIntent>,
    records: BTreeMap<TxnId, (TxnHead, Record)>,
    pub closed: Timestamp,
    pub record_floor: Timestamp,
    pub version_floor: Timestamp,
}

enum Known {
    Committed(Timestamp),
    Aborted,
    Gone,
    Open,
}

impl Model {
    pub fn apply(&mut self, term: u64, command: &Command) -> Answer {
        match command {
            Command::Prepare(command) => Answer::Prepare(self.prepare(command)),
            Command::CheckTxn(command) => Answer::CheckTxn(self.check(command)),
            Command::ResolveIntents { txn, decided } => {
                self.resolve(*txn, *decided);
                Answer::Resolved
            }
            Command::Forget(resolved) => {
                for resolved in resolved {
                    if let Some((_, Record::Committed { unresolved, .. })) = self.records.get_mut(&resolved.txn) {
                        unresolved.retain(|slot| !resolved.slots.contains(slot));
                    }
                }
                Answer::Forgotten
            }
            Command::CommitOnePhase(command) => Answer::OnePhase(self.one_phase(term, command)),
            Command::CloseTs { closed } => {
                self.closed = self.closed.max(*closed);
                Answer::Closed(self.closed)
            }
            Command::RecordFloor { floor, .. } => self.raise_record_floor(*floor),
            Command::VersionFloor { floor, .. } => self.raise_version_floor(*floor),
            Command::NoteDigest => Answer::DigestNoted,
        }
    }

    fn known(&self, head: &TxnHead) -> Known {
        match self.records.get(&head.txn) {
            Some((_, Record::Committed { at, .. })) => return Known::Committed(*at),
            Some((_, Record::Aborted)) => return Known::Aborted,
            Some((_, Record::Pending { .. })) => return Known::Open,
            None => {}
        }
        let versions = self.versions.get(&head.primary).into_iter().flatten();
        let mut own = versions.filter(|version| version.txn == head.txn);
        match own.next() {
            Some(version) => Known::Committed(version.at),
            None if head.start_ts <= self.record_floor => Known::Gone,
            None => Known::Open,
        }
    }

    fn prepare(&mut self, command: &Prepare) -> PrepareAnswer {
        let Prepare { head, writes, .. } = command;
        let own = |key| self.intents.get(key).is_some_and(|intent| intent.head.txn == head.txn);
        if writes.keys().all(own) {
            return PrepareAnswer::Prepared;
        }
        if let Some(refusal) = self.refusal(head, writes, &command.reads, &command.conditions, None) {
            return PrepareAnswer::Refused(refusal);
        }
        for (key, op) in writes {
            let intent = ModelIntent {
                head: head.clone(),
                op: op.clone(),
                min: command.min_commit_hint,
            };
            self.intents.insert(key.clone(), intent);
        }
        PrepareAnswer::Prepared
    }

    fn refusal(
        &self,
        head: &TxnHead,
        writes: &BTreeMap<Key, Op>,
        reads: &[Span],
        conditions: &[Condition],
        limit: Option<Timestamp>,
    ) -> Option<Refusal> {
        if head.start_ts < self.version_floor {
            return Some(Refusal::TooOld);
        }
        for key in writes.keys() {
            if self.newest(key).is_some_and(|version| version.at > head.start_ts) {
                return Some(Refusal::WriteConflict { key: key.clone() });
            }
            if let Some(holder) = self.foreign(key, head.txn) {
                let (key, holder) = (key.clone(), holder.head.clone());
                return Some(Refusal::Intent { key, holder });
            }
        }
        for (from, to) in reads.iter().flat_map(Span::ranges) {
            let inside = |key: &Key| from <= *key && *key < to;
            let changed = |key: &&Key| inside(key) && self.changed_since(key, head.start_ts);
            if let Some(key) = self.versions.keys().find(changed) {
                return Some(Refusal::ReadConflict { key: key.clone() });
            }
            let met = |key: &&Key| inside(key) && self.foreign(key, head.txn).is_some();
            if let Some(key) = self.intents.keys().find(met) {
                let (key, holder) = (key.clone(), self.intents[key].head.clone());
                return Some(Refusal::Intent { key, holder });
            }
        }
        conditions
            .iter()
            .find_map(|condition| self.condition(head.txn, condition, limit))
    }

    fn condition(&self, txn: TxnId, condition: &Condition, limit: Option<Timestamp>) -> Option<Refusal> {
        let Condition { key, kind, .. } = condition;
        let newest = self.newest(key);
        if limit.is_some_and(|limit| newest.is_some_and(|version| version.at > limit)) {
            return Some(Refusal::ConditionConflict { key: key.clone() });
        }
        let exists = newest.is_some_and(|version| version.op != Op::Delete);
        let (holds, breaks): (bool, fn(&Op) -> bool) = match kind {
            ConditionKind::Exists => (exists, |op| *op == Op::Delete),
            ConditionKind::Absent => (!exists, |op| *op != Op::Delete),
        };
        match self.foreign(key, txn) {
            Some(intent) if !holds || breaks(&intent.op) => Some(Refusal::Intent {
                key: key.clone(),
                holder: intent.head.clone(),
            }),
            _ if holds => None,
            _ => Some(Refusal::ConditionFailed {
                key: key.clone(),
                kind: *kind,
            }),
        }
    }

    fn check(&mut self, command: &CheckTxn) -> TxnStatus {
        let head = &command.head;
        match self.known(head) {
            Known::Committed(at) => return TxnStatus::Committed(at),
            Known::Aborted => return TxnStatus::Aborted,
            Known::Gone => return TxnStatus::Gone,
            Known::Open => {}
        }
        let deadline = match self.records.get(&head.txn) {
            Some((known, _)) => known.deadline_ms,
            None => head.deadline_ms,
        };
        match command.push {
            Push::None => TxnStatus::Pending,
            Push::AbortExpired if command.now_ms <= deadline => TxnStatus::Pending,
            Push::AbortExpired | Push::Abort => {
                self.records.insert(head.txn, (head.clone(), Record::Aborted));
                self.resolve(head.txn, Decided::Aborted);
                TxnStatus::Aborted
            }
            Push::MinCommit(snapshot) => self.push(head, snapshot),
        }
    }

    fn push(&mut self, head: &TxnHead, snapshot: Timestamp) -> TxnStatus {
        let stub = || {
            let record = Record::Pending { min: ts(0), pushes: 0 };
            (head.clone(), record)
        };
        let (_, record) = self.records.entry(head.txn).or_insert_with(stub);
        let Record::Pending { min, pushes } = record else {
            unreachable!("it is open");
        };
        if *min <= snapshot {
            if *pushes == MAX_PUSHES {
                return TxnStatus::Pending;
            }
            *pushes += 1;
            *min = ts(snapshot.0 + 1);
        }
        TxnStatus::PendingAbove(snapshot)
    }

    fn one_phase(&mut self, term: u64, command: &CommitOnePhase) -> OnePhaseAnswer {
        let head = &command.head;
        match self.known(head) {
            Known::Committed(at) => return OnePhaseAnswer::Committed(at),
            Known::Aborted => return OnePhaseAnswer::Aborted,
            Known::Gone => return OnePhaseAnswer::TooOld,
            Known::Open => {}
        }
        let at = command.commit_ts;
        let least = match self.records.get(&head.txn) {
            Some((_, Record::Pending { min, .. })) => *min,
            _ => ts(0),
        };
        if command.epoch != term || at <= self.closed || at <= head.start_ts || at < least {
            return OnePhaseAnswer::Retry;
        }
        let refusal = self.refusal(head, &command.writes, &command.reads, &command.conditions, Some(at));
        if let Some(refusal) = refusal {
            self.records.insert(head.txn, (head.clone(), Record::Aborted));
            return OnePhaseAnswer::Refused(refusal);
        }
        for (key, op) in &command.writes {
            self.write(key, head.txn, at, op.clone());
        }
        if !command.prepared.is_empty() {
            let unresolved = command.prepared.clone();
            self.records
                .insert(head.txn, (head.clone(), Record::Committed { at, unresolved }));
        }
        OnePhaseAnswer::Committed(at)
    }

    fn raise_record_floor(&mut self, floor: Timestamp) -> Answer {
        let unfinished = self.records.values().filter(|(_, record)| match record {
            Record::Pending { .. } => true,
            Record::Committed { unresolved, .. } => !unresolved.is_empty(),
            Record::Aborted => false,
        });
        let blocked_by = unfinished
            .map(|(head, _)| head)
            .filter(|head| head.start_ts <= floor)
            .min_by_key(|head| (head.start_ts, head.txn))
            .cloned();
        let floor = blocked_by.as_ref().map_or(floor, |head| ts(head.start_ts.0 - 1));
        self.records.retain(|_, (head, _)| head.start_ts > floor);
        self.record_floor = self.record_floor.max(floor);
        Answer::RecordFloor {
            floor: self.record_floor,
            blocked_by,
        }
    }

    fn raise_version_floor(&mut self, floor: Timestamp) -> Answer {
        self.version_floor = self.version_floor.max(floor);
        let limit = self.version_floor.min(self.record_floor);
        for (key, versions) in &mut self.versions {
            let Some(visible) = versions.iter().rposition(|version| version.at <= limit) else {
                continue;
            };
            let first_kept = visible + usize::from(versions[visible].op == Op::Delete);
            if !self.intents.contains_key(key) {
                versions.drain(..first_kept);
            }
        }
        self.versions.retain(|_, versions| !versions.is_empty());
        Answer::VersionFloor {
            floor: self.version_floor,
            // The logs of the laws give no bound to end at.
            more: false,
        }
    }

    fn resolve(&mut self, txn: TxnId, decided: Decided) -> BTreeSet<u16> {
        let own = |intent: &ModelIntent| intent.head.txn == txn;
        let keys: Vec<Key> = self
            .intents
            .iter()
            .filter(|(_, intent)| own(intent))
            .map(|(key, _)| key.clone())
            .collect();
        let mut slots = BTreeSet::new();
        for key in keys {
            let intent = self.intents.remove(&key).unwrap();
            slots.insert(slot_of(&key));
            if let Decided::Committed(at) = decided {
                self.write(&key, txn, at, intent.op);
            }
        }
        slots
    }

    fn write(&mut self, key: &[u8], txn: TxnId, at: Timestamp, op: Op) {
        let versions = self.versions.entry(key.to_vec()).or_default();
        versions.push(Version { at, txn, op });
        assert!(
            versions.is_sorted_by_key(|version| version.at),
            "a version below a newer one"
        );
    }

    fn newest(&self, key: &[u8]) -> Option<&Version> {
        self.versions.get(key).and_then(|versions| versions.last())
    }

    fn changed_since(&self, key: &[u8], start: Timestamp) -> bool {
        self.newest(key).is_some_and(|version| version.at > start)
    }

    fn foreign(&self, key: &[u8], txn: TxnId) -> Option<&ModelIntent> {
        self.intents.get(key).filter(|intent| intent.head.txn != txn)
    }

    /// What a reader at a snapshot finds, every intent's outcome being unknown to it.
    pub fn read(&self, key: &[u8], snapshot: Timestamp) -> Result<Option<Value>, TxnId> {
        if let Some(intent) = self.intents.get(key)
            && intent.head.start_ts < snapshot
            && intent.min <= snapshot
        {
            return Err(intent.head.txn);
        }
        let versions = self.versions.get(key).into_iter().flatten();
        Ok(
            match versions
                .rev()
                .find(|version| version.at <= snapshot)
                .map(|version| &version.op)
            {
                Some(Op::Put(value) | Op::PutTemporary(value)) => Some(value.clone()),
                Some(Op::Delete) | None => None,
            },
        )
    }
}
