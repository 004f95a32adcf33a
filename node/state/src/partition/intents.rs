//! Intents: writes of transactions that are not decided yet, at most one per key, found by key and by transaction.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::command::{Decided, Key, Op, TxnHead, TxnId};
use super::keys;
use super::versions::{newest, write_versions};
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

const FORMAT: u8 = 2;

/// A write that waits for its transaction's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub head: TxnHead,
    pub op: Op,
    /// If it commits, then at this or above.
    pub min_commit_ts: Timestamp,
    /// The key had no version. Nor has it any when this is resolved: the intent keeps all others from writing it.
    pub is_first: bool,
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

/// Whether any transaction has an intent here.
pub fn has_intents(store: &dyn Read) -> Result<bool, StoreError> {
    let (from, to) = keys::intents_from(&[]);
    store
        .scan(&from, &to)?
        .next()
        .map_or(Ok(false), |first| first.map(|_| true))
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
    decode(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(StoreError::new),
        Some((other, _)) => Err(StoreError::new(format!(
            "intents have format {other}, this build knows {FORMAT}: start the build that wrote it"
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

/// Puts a transaction's intents, and notes on which keys it has them.
pub(super) fn put(store: &mut dyn Write, txn: TxnId, intents: Vec<(Key, Intent)>) -> Result<(), StoreError> {
    let mut keys: BTreeSet<Key> = keys_of(store, txn)?.into_iter().collect();
    for (key, intent) in intents {
        store.put(&keys::intent(&key), &encode(&intent))?;
        keys.insert(key);
    }
    store.put(&keys::intents_of_txn(txn), &encode(&keys))
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![FORMAT])
        .expect("writing to memory cannot fail, and every field has a postcard form")
}

/// Keys on which a transaction has an intent here, in their order.
fn keys_of(store: &dyn Read, txn: TxnId) -> Result<Vec<Key>, StoreError> {
    let keys = store.get(&keys::intents_of_txn(txn))?;
    keys.map_or(Ok(Vec::new()), |bytes| decode(&bytes))
}

/// Turns a transaction's intents here into versions, or drops them; returns the keys. No intent, nothing to do.
pub(super) fn resolve(store: &mut dyn Write, txn: TxnId, decided: Decided) -> Result<Vec<Key>, StoreError> {
    let keys_of_txn = keys_of(store, txn)?;
    let mut writes = Vec::new();
    for key in &keys_of_txn {
        if let Some(intent) = intent_of(store, key)? {
            debug_assert_eq!(intent.head.txn, txn, "the index names another's intent");
            let before = if intent.is_first { None } else { newest(store, key)? };
            writes.push(((key.clone(), intent.op), before));
        }
        store.delete(&keys::intent(key))?;
    }
    if !keys_of_txn.is_empty() {
        store.delete(&keys::intents_of_txn(txn))?;
    }
    match decided {
        Decided::Committed(commit_ts) => write_versions(store, txn, commit_ts, writes)?,
        Decided::Aborted => {}
    }
    Ok(keys_of_txn)
}
