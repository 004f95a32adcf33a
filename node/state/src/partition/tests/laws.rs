//! Laws over random logs: the answers of the naive model, equal stores on every replica, a right digest.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::model::Model;
use super::*;
use crate::store::{Keeps, Read};

const KEYS: [&str; 6] = ["aa", "ab", "b\0", "b\0\u{1}", "ca", "cb"];
const TXNS: u64 = 8;
const NO_BOUND: u32 = 1_000_000;

/// One command in the making: timestamps are given when its turn comes, as the oracle would.
#[derive(Clone, Debug)]
enum Step {
    Prepare {
        txn: u64,
        writes: Vec<(usize, bool)>,
        reads: Vec<Span>,
        conditions: Vec<Condition>,
        hint: bool,
    },
    OnePhase {
        txn: u64,
        writes: Vec<(usize, bool)>,
        reads: Vec<Span>,
        conditions: Vec<Condition>,
        old_epoch: bool,
        elsewhere: bool,
    },
    Check {
        txn: u64,
        push: u8,
        expired: bool,
    },
    Resolve {
        txn: u64,
        committed: bool,
    },
    Forget {
        txn: u64,
        key: usize,
    },
    Close,
    RecordFloor {
        back: u64,
    },
    VersionFloor {
        back: u64,
    },
}

fn writes() -> impl Strategy<Value = Vec<(usize, bool)>> {
    prop::collection::vec((0..KEYS.len(), prop::bool::weighted(0.7)), 1..4)
}

fn span() -> impl Strategy<Value = Span> {
    let name = || prop::sample::select(&KEYS[..]);
    prop_oneof![
        name().prop_map(|name| Span::Key(key(name))),
        (name(), name()).prop_map(|(from, to)| range(from, to)),
        Just(Span::Slots {
            first: slot_of(b"aa"),
            last: slot_of(b"b\0"),
            suffix_from: vec![],
            suffix_to: vec![],
        }),
    ]
}

fn a_condition() -> impl Strategy<Value = Condition> {
    let kind = prop_oneof![Just(ConditionKind::Exists), Just(ConditionKind::Absent)];
    (prop::sample::select(&KEYS[..]), kind).prop_map(|(name, kind)| condition(name, kind))
}

fn step() -> impl Strategy<Value = Step> {
    let txn = 0..TXNS;
    let reads = || prop::collection::vec(span(), 0..2);
    let conditions = || prop::collection::vec(a_condition(), 0..2);
    prop_oneof![
        6 => (txn.clone(), writes(), reads(), conditions(), any::<bool>()).prop_map(
            |(txn, writes, reads, conditions, hint)| Step::Prepare { txn, writes, reads, conditions, hint }),
        8 => (txn.clone(), writes(), reads(), conditions(), prop::bool::weighted(0.1), any::<bool>()).prop_map(
            |(txn, writes, reads, conditions, old_epoch, elsewhere)| Step::OnePhase {
                txn, writes, reads, conditions, old_epoch, elsewhere,
            }),
        3 => (txn.clone(), 0u8..4, any::<bool>()).prop_map(|(txn, push, expired)| Step::Check { txn, push, expired }),
        3 => (txn.clone(), any::<bool>()).prop_map(|(txn, committed)| Step::Resolve { txn, committed }),
        2 => (txn, 0..KEYS.len()).prop_map(|(txn, key)| Step::Forget { txn, key }),
        1 => Just(Step::Close),
        1 => (0u64..20).prop_map(|back| Step::RecordFloor { back }),
        1 => (0u64..20).prop_map(|back| Step::VersionFloor { back }),
    ]
}

/// Gives timestamps in order, as the oracle does; a transaction id is renewed now and then, as members do.
struct Script {
    clock: u64,
    starts: BTreeMap<u64, (TxnHead, bool)>,
    next_txn: u64,
    ids: BTreeMap<u64, u64>,
}

impl Script {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// The head of a transaction, made at its first use: this partition is its primary for its whole life, or never.
    fn head(&mut self, slot: u64, writes: &[(usize, bool)], at_primary: bool) -> TxnHead {
        let id = *self.ids.entry(slot).or_insert(self.next_txn);
        self.next_txn = self.next_txn.max(id + 1);
        let known = self.starts.get(&id).filter(|(_, primary)| *primary == at_primary);
        if let Some((head, _)) = known {
            return head.clone();
        }
        let id = self.next_txn;
        self.next_txn += 1;
        self.ids.insert(slot, id);
        let start = self.tick();
        let first = writes.iter().map(|(at, _)| KEYS[*at]).min().unwrap_or(KEYS[0]);
        let primary = if at_primary { first } else { ELSEWHERE };
        let head = head(id, start, primary);
        self.starts.insert(id, (head.clone(), at_primary));
        head
    }

    fn known_head(&mut self, slot: u64) -> TxnHead {
        let at_primary = self
            .ids
            .get(&slot)
            .and_then(|id| self.starts.get(id))
            .is_some_and(|(_, primary)| *primary);
        self.head(slot, &[], at_primary)
    }

    fn command(&mut self, step: Step) -> Command {
        match step {
            Step::Prepare {
                txn,
                writes,
                reads,
                conditions,
                hint,
            } => {
                let head = self.head(txn, &writes, false);
                let mut command = prepare(head, ops(&writes));
                command.reads = reads;
                command.conditions = conditions;
                command.min_commit_hint = ts(if hint { self.clock } else { 0 });
                Command::Prepare(command)
            }
            Step::OnePhase {
                txn,
                writes,
                reads,
                conditions,
                old_epoch,
                elsewhere,
            } => {
                let head = self.head(txn, &writes, true);
                let at = self.tick();
                // Every attempt writes the primary, as a repeated request does.
                let primary = (head.primary.clone(), Op::Put(b"primary".to_vec()));
                let mut command = one_phase(head.clone(), at, ops(&writes).into_iter().chain([primary]));
                command.head = head;
                command.epoch = TERM - u64::from(old_epoch);
                command.reads = reads;
                command.conditions = conditions;
                command
                    .prepared
                    .extend(elsewhere.then_some([1, 2]).into_iter().flatten());
                Command::CommitOnePhase(command)
            }
            Step::Check { txn, push, expired } => {
                let head = self.known_head(txn);
                let now_ms = if expired { DEADLINE_MS + 1 } else { 0 };
                let push = match push {
                    0 => Push::None,
                    1 => Push::AbortExpired,
                    2 => Push::Abort,
                    _ => Push::MinCommit(ts(self.clock)),
                };
                Command::CheckTxn(CheckTxn { head, now_ms, push })
            }
            Step::Resolve { txn, committed } => {
                let txn = self.known_head(txn).txn;
                let at = ts(self.tick());
                let decided = if committed {
                    Decided::Committed(at)
                } else {
                    Decided::Aborted
                };
                Command::ResolveIntents { txn, decided }
            }
            Step::Forget { txn, key } => {
                let resolved = |slots| Resolved {
                    txn: self.known_head(txn).txn,
                    slots,
                };
                let one_by_one = [[1].into(), [2, slot_of(KEYS[key].as_bytes())].into()];
                Command::Forget(one_by_one.map(resolved).into())
            }
            Step::Close => Command::CloseTs { closed: ts(self.clock) },
            Step::RecordFloor { back } => Command::RecordFloor {
                floor: ts(self.clock.saturating_sub(back)),
                max_records: NO_BOUND,
            },
            Step::VersionFloor { back } => Command::VersionFloor {
                floor: ts(self.clock.saturating_sub(back)),
                max_versions: NO_BOUND,
            },
        }
    }
}

fn ops(writes: &[(usize, bool)]) -> Vec<(Key, Op)> {
    let op = |(at, is_put): &(usize, bool)| match is_put {
        true => put(KEYS[*at]),
        false => delete(KEYS[*at]),
    };
    writes.iter().map(op).collect()
}

/// A log in which messages come late and twice.
fn log() -> impl Strategy<Value = Vec<Command>> {
    let timed = (step(), 0usize..6, prop::option::weighted(0.2, 0usize..12));
    prop::collection::vec(timed, 1..60).prop_map(|steps| {
        let mut script = Script {
            clock: 10,
            starts: BTreeMap::new(),
            next_txn: 1,
            ids: BTreeMap::new(),
        };
        let mut delivered = Vec::new();
        for (at, (step, delay, again)) in steps.into_iter().enumerate() {
            let command = script.command(step);
            if let Some(later) = again {
                delivered.push((at + later, command.clone()));
            }
            delivered.push((at + delay, command));
        }
        delivered.sort_by_key(|(at, _)| *at);
        delivered.into_iter().map(|(_, command)| command).collect()
    })
}

/// Compares everything a reader can see at a snapshot, whether or not the store has it in memory.
fn same_reads(partition: &Partition, model: &Model, snapshot: u64) {
    same_reads_of(&partition.store, model, snapshot);
    for pairs in [1, 4, usize::MAX] {
        let store = partition.store.clone();
        same_reads_of(&Keeps { store, pairs }, model, snapshot);
    }
}

fn same_reads_of(view: &dyn Read, model: &Model, snapshot: u64) {
    let limits = ScanLimits {
        pairs: 100,
        bytes: 1 << 20,
    };
    let known = Known::new();
    let page = scan_at(view, b"a", b"d", ts(snapshot), limits, false, &known).unwrap();
    assert_eq!(page.resume, None);
    same_in_pages(view, &page, snapshot);
    let mut newest = ts(0);
    for name in KEYS {
        let expected = model
            .read(name.as_bytes(), ts(snapshot))
            .map(|value| value.map(Bytes::from));
        let found = match read_at(view, name.as_bytes(), ts(snapshot), &known).unwrap() {
            ReadAt::Value { value, since } => {
                newest = newest.max(since);
                Ok(value)
            }
            ReadAt::Blocked(met) => Err(met.intent.head.txn),
        };
        assert_eq!(found, expected, "{name:?} at {snapshot}");
        let pair = page.pairs.iter().find(|(key, _)| key == name.as_bytes());
        let blocked = page.blocked.iter().find(|met| met.key == name.as_bytes());
        let scanned = match blocked {
            Some(met) => Err(met.intent.head.txn),
            None => Ok(pair.map(|(_, value)| value.clone())),
        };
        assert_eq!(scanned, expected, "{name:?} scanned at {snapshot}");
    }
    assert_eq!(page.since, newest, "at {snapshot}");
}

/// The same range, a pair at a time.
fn same_in_pages(view: &dyn Read, whole: &ScanPage, snapshot: u64) {
    let limits = ScanLimits {
        pairs: 1,
        bytes: 1 << 20,
    };
    let (mut pairs, mut blocked, mut since) = (Vec::new(), Vec::new(), ts(0));
    let mut next = Some(b"a".to_vec());
    while let Some(from) = next {
        let page = scan_at(view, &from, b"d", ts(snapshot), limits, false, &Known::new()).unwrap();
        assert!(page.pairs.len() <= 1);
        pairs.extend(page.pairs);
        blocked.extend(page.blocked);
        since = since.max(page.since);
        next = page.resume;
    }
    assert_eq!((&pairs, &blocked, since), (&whole.pairs, &whole.blocked, whole.since));
}

/// How much there is beside the partition's own values.
fn kept(partition: &Partition) -> usize {
    partition.store.0.keys().filter(|place| place[0] != 1).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn answers_and_reads_equal_those_of_the_naive_model(log in log()) {
        let mut partition = Partition::default();
        let mut model = Model::default();
        for command in log {
            let expected = model.apply(TERM, &command);
            // `Partition::apply` also compares the kept digest with a full scan.
            prop_assert_eq!(partition.apply(command.clone()), expected, "{:?}", command);
            for snapshot in [model.version_floor.0, model.version_floor.0 + 3, 1_000] {
                same_reads(&partition, &model, snapshot.max(model.record_floor.0));
            }
        }
        prop_assert_eq!(closed_ts(&partition.store).unwrap(), model.closed);
        prop_assert_eq!(record_floor(&partition.store).unwrap(), model.record_floor);
    }

    #[test]
    fn equal_logs_give_equal_stores_however_they_are_cut(log in log(), cut in any::<Index>()) {
        let mut whole = Partition::default();
        let answers: Vec<Answer> = log.iter().map(|command| whole.apply(command.clone())).collect();
        // A second replica: the first part, then a restart or snapshot (a copy of the store), then the rest.
        let cut = cut.index(log.len());
        let mut first = Partition::default();
        let mut again: Vec<Answer> = log[..cut].iter().map(|command| first.apply(command.clone())).collect();
        let mut second = Partition { store: first.store.clone(), index: first.index };
        again.extend(log[cut..].iter().map(|command| second.apply(command.clone())));
        prop_assert_eq!(answers, again);
        prop_assert_eq!(whole.store, second.store);
    }

    #[test]
    fn a_bounded_collection_comes_to_the_same_end(log in log(), budget in 1u32..6) {
        let mut at_once = Partition::default();
        let mut in_parts = Partition::default();
        for command in log {
            at_once.apply(command.clone());
            in_parts.apply(command);
        }
        let floor = 2_000;
        for partition in [&mut at_once, &mut in_parts] {
            for met in expired_intents(&partition.store, &[], u64::MAX, 100).unwrap().0 {
                let txn = met.intent.head.txn;
                partition.apply(Command::ResolveIntents { txn, decided: Decided::Aborted });
            }
            for left in unfinished(&partition.store, 100).unwrap() {
                let (Unfinished::Pending(head) | Unfinished::Unresolved { head, .. }) = left;
                partition.abort(&head);
                let slots = KEYS.iter().map(|name| slot_of(name.as_bytes())).chain([1, 2]).collect();
                partition.apply(Command::Forget(vec![Resolved { txn: head.txn, slots }]));
            }
            partition.record_floor(floor);
        }
        at_once.version_floor(floor, NO_BOUND);
        let mut commands = 0;
        while in_parts.version_floor(floor, budget) {
            commands += 1;
            prop_assert!(commands < 1_000, "no progress");
        }
        prop_assert_eq!(at_once.store, in_parts.store);
    }

    #[test]
    fn floors_drop_something_where_it_is_foretold_and_nowhere_else(log in log(), back in 0u64..30, further in 0u64..30) {
        let mut partition = Partition::default();
        for command in log {
            partition.apply(command);
            let newest = 10 + partition.index;
            let records = ts(newest.saturating_sub(back));
            let versions = ts(records.0.saturating_sub(further));
            let foretold = droppable(&partition.store, Floors { records, versions }, NO_BOUND).unwrap();
            let mut raised = partition.clone();
            let mut drops = |command| {
                let before = kept(&raised);
                raised.apply(command);
                kept(&raised) < before
            };
            let dropped = Droppable {
                records: drops(Command::RecordFloor { floor: records, max_records: NO_BOUND }),
                versions: drops(Command::VersionFloor { floor: versions, max_versions: NO_BOUND }),
            };
            prop_assert_eq!(foretold, dropped, "records to {:?}, versions to {:?}", records, versions);
        }
    }

    #[test]
    fn digests_differ_where_live_states_differ(left in writes(), right in writes()) {
        let digest_of = |writes: &[(usize, bool)]| {
            let mut partition = Partition::default();
            partition.wrote(1, 5, ops(writes));
            (partition.read_all(), digest(&partition.store).unwrap())
        };
        let ((left, left_digest), (right, right_digest)) = (digest_of(&left), digest_of(&right));
        prop_assert_eq!(left == right, left_digest == right_digest);
    }

    #[test]
    fn commands_survive_their_encoding(log in log()) {
        for command in log {
            prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }
}

impl Partition {
    fn read_all(&self) -> Vec<Option<String>> {
        KEYS.iter().map(|name| self.read(name, 1_000)).collect()
    }
}
