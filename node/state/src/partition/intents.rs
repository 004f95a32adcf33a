//! Intents: writes of transactions that are not decided yet, at most one per key, found by key and by transaction.

use serde::{Deserialize, Serialize};

use super::command::{Decided, Key, Op, TxnHead, TxnId};
use super::keys;
use super::versions::write_versions;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

const FORMAT: u8 = 1;

/// A write that waits for its transaction's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub head: TxnHead,
    pub op: Op,
    /// If it commits, then at this or above.
    pub min_commit_ts: Timestamp,
}

/// An intent with the key it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetIntent {
    pub key: Key,
    pub intent: Intent,
}

/// The intent on a key.
pub fn intent_of(store: &dyn Read, key: &[u8]) -> Result<Option<Intent>, StoreError> {
    store.get(&keys::intent(key))?.map(|bytes| parse(&bytes)).transpose()
}

/// Up to `limit` intents whose deadline is past, looking at `limit` intents from `from` on, and where to go on;
/// `None` at the end.
pub fn expired_intents(
    store: &dyn Read,
    from: &[u8],
    now_ms: u64,
    limit: usize,
) -> Result<(Vec<MetIntent>, Option<Key>), StoreError> {
    let (start, end) = keys::intents_from(from);
    let mut expired = Vec::new();
    for (seen, pair) in store.scan(&start, &end)?.enumerate() {
        let (place, bytes) = pair?;
        let key = keys::parse_intent(&place);
        if seen == limit {
            return Ok((expired, Some(key)));
        }
        let intent = parse(&bytes)?;
        if intent.head.deadline_ms < now_ms {
            expired.push(MetIntent { key, intent });
        }
    }
    Ok((expired, None))
}

pub(super) fn parse(bytes: &[u8]) -> Result<Intent, StoreError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(StoreError::new),
        Some((other, _)) => Err(StoreError::new(format!(
            "an intent has format {other}, which this build does not know: start a newer build"
        ))),
        None => Err(keys::damaged("intent")),
    }
}

/// Another transaction's intent on a key.
pub(super) fn foreign(store: &dyn Read, key: &[u8], txn: TxnId) -> Result<Option<Intent>, StoreError> {
    Ok(intent_of(store, key)?.filter(|intent| intent.head.txn != txn))
}

/// Another transaction's first intent in a range.
pub(super) fn foreign_in(
    store: &dyn Read,
    from: &[u8],
    to: &[u8],
    txn: TxnId,
) -> Result<Option<MetIntent>, StoreError> {
    let (start, end) = keys::intents_in(from, to);
    for pair in store.scan(&start, &end)? {
        let (place, bytes) = pair?;
        let intent = parse(&bytes)?;
        if intent.head.txn != txn {
            let key = keys::parse_intent(&place);
            return Ok(Some(MetIntent { key, intent }));
        }
    }
    Ok(None)
}

pub(super) fn put(store: &mut dyn Write, key: &[u8], intent: &Intent) -> Result<(), StoreError> {
    let bytes = postcard::to_extend(intent, vec![FORMAT])
        .expect("writing to memory cannot fail, and every field has a postcard form");
    store.put(&keys::intent(key), &bytes)?;
    store.put(&keys::intent_of_txn(intent.head.txn, key), &[])
}

/// Keys on which a transaction has an intent here.
pub(super) fn keys_of(store: &dyn Read, txn: TxnId) -> Result<Vec<Key>, StoreError> {
    let (from, to) = keys::intents_of_txn(txn);
    store
        .scan(&from, &to)?
        .map(|pair| keys::parse_intent_of_txn(&pair?.0))
        .collect()
}

/// Turns a transaction's intents here into versions, or drops them; returns the keys. No intent, nothing to do.
pub(super) fn resolve(store: &mut dyn Write, txn: TxnId, decided: Decided) -> Result<Vec<Key>, StoreError> {
    let keys_of_txn = keys_of(store, txn)?;
    let mut writes = Vec::new();
    for key in &keys_of_txn {
        if let Some(intent) = intent_of(store, key)? {
            debug_assert_eq!(intent.head.txn, txn, "the index names another's intent");
            writes.push((key.clone(), intent.op));
        }
        store.delete(&keys::intent(key))?;
        store.delete(&keys::intent_of_txn(txn, key))?;
    }
    match decided {
        Decided::Committed(commit_ts) => write_versions(store, txn, commit_ts, writes)?,
        Decided::Aborted => {}
    }
    Ok(keys_of_txn)
}
