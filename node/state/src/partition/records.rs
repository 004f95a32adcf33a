//! Outcomes of transactions, kept at their primary, and found by id and in the order of their starts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::command::{Resolved, TxnHead, TxnId};
use super::keys;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

const FORMAT: u8 = 2;

/// What is known of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// The mark of a reader that met an intent before the transaction came to its primary.
    Pending { min_commit_ts: Timestamp, pushes: u32 },
    Committed {
        commit_ts: Timestamp,
        /// Slots whose intents may still be there.
        unresolved: BTreeSet<u16>,
    },
    /// The tombstone.
    Aborted,
}

/// The record of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub head: TxnHead,
    pub state: State,
}

impl Record {
    /// Whether the transaction's intents may still be anywhere, so that its record may not go.
    pub fn is_unfinished(&self) -> bool {
        match &self.state {
            State::Pending { .. } => true,
            State::Committed { unresolved, .. } => !unresolved.is_empty(),
            State::Aborted => false,
        }
    }
}

/// A transaction whose record keeps the record floor down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfinished {
    Pending(TxnHead),
    /// Committed, but intents may be left in these slots.
    Unresolved {
        head: TxnHead,
        commit_ts: Timestamp,
        slots: BTreeSet<u16>,
    },
}

/// The oldest unfinished transactions of which this partition holds the record, at most `limit`.
pub fn unfinished(store: &dyn Read, limit: usize) -> Result<Vec<Unfinished>, StoreError> {
    let (from, to) = keys::all_unfinished();
    let mut found = Vec::new();
    for pair in store.scan(&from, &to)?.take(limit) {
        let txn = keys::parse_by_start(&pair?.0)?;
        let record = load(store, txn)?.ok_or_else(|| keys::damaged("record index"))?;
        found.push(match record.state {
            State::Pending { .. } | State::Aborted => Unfinished::Pending(record.head),
            State::Committed { commit_ts, unresolved } => Unfinished::Unresolved {
                head: record.head,
                commit_ts,
                slots: unresolved,
            },
        });
    }
    Ok(found)
}

/// The unfinished transaction with the smallest start.
pub(super) fn oldest_unfinished(store: &dyn Read) -> Result<Option<TxnHead>, StoreError> {
    let (from, to) = keys::all_unfinished();
    let Some(pair) = store.scan(&from, &to)?.next() else {
        return Ok(None);
    };
    let txn = keys::parse_by_start(&pair?.0)?;
    let record = load(store, txn)?.ok_or_else(|| keys::damaged("record index"))?;
    Ok(Some(record.head))
}

pub(super) fn load(store: &dyn Read, txn: TxnId) -> Result<Option<Record>, StoreError> {
    store.get(&keys::record(txn))?.map(|bytes| parse(&bytes)).transpose()
}

fn parse(bytes: &[u8]) -> Result<Record, StoreError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(StoreError::new),
        Some((other, _)) => Err(StoreError::new(format!(
            "a transaction record has format {other}, which this build does not know: start a newer build"
        ))),
        None => Err(keys::damaged("record")),
    }
}

pub(super) fn save(store: &mut dyn Write, record: &Record) -> Result<(), StoreError> {
    let bytes = postcard::to_extend(record, vec![FORMAT])
        .expect("writing to memory cannot fail, and every field has a postcard form");
    let TxnHead { txn, start_ts, .. } = record.head;
    let unfinished = keys::unfinished_by_start(start_ts, txn);
    if record.is_unfinished() {
        store.put(&unfinished, &[])?;
    } else {
        store.delete(&unfinished)?;
    }
    store.put(&keys::record_by_start(start_ts, txn), &[])?;
    store.put(&keys::record(txn), &bytes)
}

pub(super) fn drop_record(store: &mut dyn Write, head: &TxnHead) -> Result<(), StoreError> {
    store.delete(&keys::unfinished_by_start(head.start_ts, head.txn))?;
    store.delete(&keys::record_by_start(head.start_ts, head.txn))?;
    store.delete(&keys::record(head.txn))
}

/// Takes slots off the list of unresolved ones. The record itself stays until the record floor passes it, so that
/// a late asker hears the truth.
pub(super) fn forget(store: &mut dyn Write, resolved: &Resolved) -> Result<(), StoreError> {
    let Some(mut record) = load(store, resolved.txn)? else {
        return Ok(());
    };
    if let State::Committed { unresolved, .. } = &mut record.state {
        unresolved.retain(|slot| !resolved.slots.contains(slot));
        save(store, &record)?;
    }
    Ok(())
}

/// Writes the tombstone.
pub(super) fn save_aborted(store: &mut dyn Write, head: &TxnHead) -> Result<(), StoreError> {
    save(
        store,
        &Record {
            head: head.clone(),
            state: State::Aborted,
        },
    )
}
