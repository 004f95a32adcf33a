//! Reading one key at a snapshot, and what a reader has learnt about the transactions whose intents it met.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::command::{Op, TxnId};
use super::intents::{Intent, MetIntent, intent_of};
use super::versions::stored_at;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError};

/// What a reader knows of a transaction from asking its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Committed(Timestamp),
    /// Aborted; or gone from its primary, which on the leader's view after that answer means the same: had it
    /// committed, the intent would have been resolved before the record went.
    RolledBack,
    /// Undecided, and if it commits then above this snapshot.
    Above(Timestamp),
}

/// Transactions a reader has asked about.
pub type Known = BTreeMap<TxnId, Settled>;

/// What a key holds at a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadAt {
    Value {
        value: Option<Bytes>,
        /// When it was committed, also where it is a deletion; 0 where the key has no version.
        since: Timestamp,
    },
    /// Another transaction may have committed a value at or below the snapshot: ask its primary and read again.
    Blocked(MetIntent),
}

/// What an intent means to a reader at a snapshot.
pub(super) enum Seen {
    Ignore,
    /// Its write is committed at this timestamp, at or below the snapshot.
    Take(Timestamp),
    Ask,
}

pub(super) fn see(intent: &Intent, snapshot: Timestamp, known: &Known) -> Seen {
    if intent.head.start_ts >= snapshot || intent.min_commit_ts > snapshot {
        return Seen::Ignore;
    }
    match known.get(&intent.head.txn) {
        None => Seen::Ask,
        Some(Settled::Committed(commit_ts)) if *commit_ts <= snapshot => Seen::Take(*commit_ts),
        Some(Settled::Above(above)) if *above < snapshot => Seen::Ask,
        Some(Settled::Committed(_) | Settled::RolledBack | Settled::Above(_)) => Seen::Ignore,
    }
}

/// Reads a key at a snapshot. The caller has refused snapshots below the version floor.
pub fn read_at(view: &dyn Read, key: &[u8], snapshot: Timestamp, known: &Known) -> Result<ReadAt, StoreError> {
    if let Some(intent) = intent_of(view, key)? {
        match see(&intent, snapshot, known) {
            Seen::Ignore => {}
            Seen::Take(since) => {
                let value = value(intent.op);
                return Ok(ReadAt::Value { value, since });
            }
            Seen::Ask => {
                let key = key.to_vec();
                return Ok(ReadAt::Blocked(MetIntent { key, intent }));
            }
        }
    }
    let stored = stored_at(view, key, snapshot)?;
    Ok(ReadAt::Value {
        since: stored.as_ref().map_or(Timestamp(0), |stored| stored.commit_ts),
        value: stored.and_then(|stored| stored.value),
    })
}

pub(super) fn value(op: Op) -> Option<Bytes> {
    match op {
        Op::Put(value) | Op::PutTemporary(value) => Some(value.into()),
        Op::Delete => None,
    }
}
