//! Refresh: reads and unguarded conditions at the commit timestamp.

use std::cell::Cell;

use bytes::Bytes;

use super::*;
use crate::store::{Pairs, Read};
use ConditionKind::{Absent, Exists};

/// A store that counts the pairs of scans that were looked at.
struct Counting<'a> {
    store: &'a MemoryStore,
    seen: Cell<usize>,
}

impl Read for Counting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        let pairs = self.store.scan(from, to)?;
        Ok(Box::new(pairs.inspect(|_| self.seen.set(self.seen.get() + 1))))
    }
}

fn refreshed(partition: &Partition, commit: u64, reads: &[Span], conditions: &[Condition]) -> RefreshOutcome {
    refresh(&partition.store, &head(1, 4, "own"), ts(commit), reads, conditions).unwrap()
}

#[test]
fn a_change_between_start_and_commit_is_refused_and_one_above_is_not() {
    let mut partition = Partition::default();
    partition.wrote(8, 3, [put("r")]);
    partition.wrote(9, 7, [put("r")]);
    let reads = [range("q", "s")];
    assert_eq!(refreshed(&partition, 6, &reads, &[]), RefreshOutcome::Unchanged);
    let refusal = Refusal::ReadConflict { key: key("r") };
    assert_eq!(refreshed(&partition, 7, &reads, &[]), RefreshOutcome::Refused(refusal));
}

#[test]
fn a_foreign_intent_on_a_read_blocks_and_an_own_one_does_not() {
    let mut partition = Partition::default();
    partition.prepare(prepare(head(1, 4, "own"), [put("ra")]));
    assert_eq!(
        refreshed(&partition, 9, &[range("q", "s")], &[]),
        RefreshOutcome::Unchanged
    );
    partition.prepare(prepare(head(2, 5, ELSEWHERE), [put("rb")]));
    let RefreshOutcome::Blocked(met) = refreshed(&partition, 9, &[range("q", "s")], &[]) else {
        panic!("not blocked");
    };
    assert_eq!(met.iter().map(|met| met.key.clone()).collect::<Vec<_>>(), [key("rb")]);
}

#[test]
fn a_condition_must_be_true_at_the_commit_timestamp() {
    let mut partition = Partition::default();
    partition.wrote(8, 3, [put("n")]);
    partition.wrote(9, 7, [delete("n")]);
    let exists = [condition("n", Exists)];
    assert_eq!(refreshed(&partition, 6, &[], &exists), RefreshOutcome::Unchanged);
    let refusal = Refusal::ConditionFailed {
        key: key("n"),
        kind: Exists,
    };
    assert_eq!(refreshed(&partition, 7, &[], &exists), RefreshOutcome::Refused(refusal));
    assert_eq!(
        refreshed(&partition, 7, &[], &[condition("n", Absent)]),
        RefreshOutcome::Unchanged
    );
}

#[test]
fn an_intent_that_could_change_a_condition_blocks() {
    let mut partition = Partition::default();
    partition.wrote(8, 3, [put("n"), put("m")]);
    partition.prepare(prepare(head(2, 5, ELSEWHERE), [delete("n"), put("m"), put("fresh")]));
    let blocked = |outcome| matches!(outcome, RefreshOutcome::Blocked(met) if met.len() == 1);
    assert!(blocked(refreshed(&partition, 9, &[], &[condition("n", Exists)])));
    assert!(blocked(refreshed(&partition, 9, &[], &[condition("fresh", Absent)])));
    assert!(blocked(refreshed(&partition, 9, &[], &[condition("fresh", Exists)])));
    let updated = refreshed(&partition, 9, &[], &[condition("m", Exists)]);
    assert_eq!(updated, RefreshOutcome::Unchanged);
}

#[test]
fn a_refresh_below_the_version_floor_is_too_old() {
    let mut partition = Partition::default();
    partition.version_floor(5, 100);
    let refused = RefreshOutcome::Refused(Refusal::TooOld);
    assert_eq!(refreshed(&partition, 9, &[range("q", "s")], &[]), refused);
}

#[test]
fn what_was_read_costs_the_same_however_often_it_was_written_before() {
    let mut partition = Partition::default();
    partition.wrote(3, 3, [put("a"), put("z")]);
    for at in 4..500 {
        partition.wrote(at, at, [put("hot")]);
    }
    let store = Counting {
        store: &partition.store,
        seen: Cell::new(0),
    };
    let reads = [Span::Key(key("hot")), range("a", "zz")];
    let late = head(5_000, 3_000, "own");
    assert_eq!(foresee(&store, &late, &BTreeMap::new(), &reads, &[]).unwrap(), None);
    let refreshed = refresh(&store, &late, ts(4_000), &reads, &[]).unwrap();
    assert_eq!(refreshed, RefreshOutcome::Unchanged);
    assert!(store.seen.get() < 50, "{} versions were looked at", store.seen.get());
}
