//! The checks behind Prepare and CommitOnePhase: rules (a) to (d''') of the protocol.
//!
//! Each was removed once, and the model found the anomaly; none is an optimisation.

use std::collections::BTreeMap;

use super::command::{Condition, ConditionKind, Key, Op, Refusal, TxnHead, TxnId};
use super::floors::version_floor;
use super::intents::{self, Intent};
use super::keys;
use super::scan::Versions;
use super::span::Span;
use super::versions::{Version, newest, version_at};
use crate::ids::Timestamp;
use crate::store::{Read, StoreError};

/// A refusal by a rule; none if all is well.
pub type Checked = Result<Option<Refusal>, StoreError>;

/// What stood before, of each key that is to be written; in the order of the keys.
pub(super) type Before = Vec<Option<Version>>;

/// What a transaction wants to do on a partition.
pub(super) struct Wanted<'a> {
    pub head: &'a TxnHead,
    pub writes: &'a BTreeMap<Key, Op>,
    pub reads: &'a [Span],
    pub conditions: &'a [Condition],
    /// The commit timestamp where it is known already (one-phase).
    pub commit_ts: Option<Timestamp>,
    /// The newest version of the primary key, where it was looked up already.
    pub primary: Option<Option<Version>>,
}

/// What applying a one-phase commit to this view would refuse it for, its commit timestamp being above everything.
///
/// A leader asks before it proposes: an intent in the way whose transaction is decided can be cleared first, while a
/// refusal by the state machine is final.
pub fn foresee(
    view: &dyn Read,
    head: &TxnHead,
    writes: &BTreeMap<Key, Op>,
    reads: &[Span],
    conditions: &[Condition],
) -> Checked {
    let wanted = Wanted {
        head,
        writes,
        reads,
        conditions,
        commit_ts: None,
        primary: None,
    };
    Ok(check(view, &wanted)?.err())
}

/// All rules in order; the first that refuses.
pub(super) fn check(store: &dyn Read, wanted: &Wanted) -> Result<Result<Before, Refusal>, StoreError> {
    let TxnHead { txn, start_ts, .. } = *wanted.head;
    if start_ts < version_floor(store)? {
        return Ok(Err(Refusal::TooOld));
    }
    let mut before = Before::with_capacity(wanted.writes.len());
    for key in wanted.writes.keys() {
        let version = match &wanted.primary {
            Some(version) if *key == wanted.head.primary => version.clone(),
            Some(_) | None => newest(store, key)?,
        };
        match check_write(store, txn, start_ts, key, version)? {
            Ok(version) => before.push(version),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    for span in wanted.reads {
        if let Some(refusal) = check_read(store, txn, start_ts, span)? {
            return Ok(Err(refusal));
        }
    }
    let written: Vec<&Key> = wanted.writes.keys().collect();
    for condition in wanted.conditions {
        let version = match written.binary_search(&&condition.key) {
            Ok(place) => before[place].clone(),
            Err(_) => newest(store, &condition.key)?,
        };
        if let Some(refusal) = check_condition(store, txn, condition, version.as_ref(), wanted.commit_ts)? {
            return Ok(Err(refusal));
        }
    }
    Ok(Ok(before))
}

/// (a) and (c); what the key holds now.
fn check_write(
    store: &dyn Read,
    txn: TxnId,
    start_ts: Timestamp,
    key: &[u8],
    before: Option<Version>,
) -> Result<Result<Option<Version>, Refusal>, StoreError> {
    if before.as_ref().is_some_and(|version| version.commit_ts > start_ts) {
        return Ok(Err(Refusal::WriteConflict { key: key.to_vec() }));
    }
    Ok(match intents::foreign(store, key, txn)? {
        Some(intent) => Err(in_the_way(key, intent)),
        None => Ok(before),
    })
}

/// (b), gaps included.
fn check_read(store: &dyn Read, txn: TxnId, start_ts: Timestamp, span: &Span) -> Checked {
    let until = Timestamp(u64::MAX);
    for (from, to) in span.ranges() {
        if let Some(key) = version_between(store, &from, &to, start_ts, until)? {
            return Ok(Some(Refusal::ReadConflict { key }));
        }
        if let Some(met) = intents::foreign_in(store, &from, &to, txn)? {
            return Ok(Some(in_the_way(&met.key, met.intent)));
        }
    }
    Ok(None)
}

/// (d), (d') and, with a limit, (d''').
///
/// Where the condition is false and an intent stands on the key, the intent is answered: its transaction may be
/// committed and acknowledged, and "condition failed" would deny what a client knows to be there.
fn check_condition(
    store: &dyn Read,
    txn: TxnId,
    condition: &Condition,
    version: Option<&Version>,
    limit: Option<Timestamp>,
) -> Checked {
    if let (Some(limit), Some(version)) = (limit, version)
        && version.commit_ts > limit
    {
        let key = condition.key.clone();
        return Ok(Some(Refusal::ConditionConflict { key }));
    }
    let foreign = intents::foreign(store, &condition.key, txn)?;
    let holds = holds(condition.kind, version.is_some_and(|version| version.exists()));
    Ok(match foreign {
        Some(intent) if !holds || could_falsify(condition.kind, &intent.op) => Some(in_the_way(&condition.key, intent)),
        Some(_) | None if holds => None,
        Some(_) | None => Some(failed(condition)),
    })
}

pub(super) fn failed(condition: &Condition) -> Refusal {
    Refusal::ConditionFailed {
        key: condition.key.clone(),
        kind: condition.kind,
    }
}

pub(super) fn holds(kind: ConditionKind, exists: bool) -> bool {
    match kind {
        ConditionKind::Exists => exists,
        ConditionKind::Absent => !exists,
    }
}

/// A Put on an existing key does not disturb 'exists', nor a Delete 'absent'.
pub(super) fn could_falsify(kind: ConditionKind, op: &Op) -> bool {
    match kind {
        ConditionKind::Exists => *op == Op::Delete,
        ConditionKind::Absent => *op != Op::Delete,
    }
}

/// Whether the condition is true at a timestamp.
pub(super) fn holds_at(store: &dyn Read, condition: &Condition, at: Timestamp) -> Result<bool, StoreError> {
    let version = version_at(store, &condition.key, at)?;
    let exists = version.is_some_and(|version| version.exists());
    Ok(holds(condition.kind, exists))
}

/// The first key of a range with a version above `start` and not above `until`.
pub(super) fn version_between(
    store: &dyn Read,
    from: &[u8],
    to: &[u8],
    start: Timestamp,
    until: Timestamp,
) -> Result<Option<Key>, StoreError> {
    // Where the newest up to there is not above the start, no older one is.
    let mut newest = Versions::open(store, keys::versions_in(from, to), until)?;
    while let Some((key, version)) = newest.next()? {
        if version.commit_ts > start {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

fn in_the_way(key: &[u8], intent: Intent) -> Refusal {
    Refusal::Intent {
        key: key.to_vec(),
        holder: intent.head,
    }
}
