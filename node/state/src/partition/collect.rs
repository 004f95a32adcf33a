//! Version collection: drops versions that no allowed snapshot can see, a bounded number per command.
//!
//! Every write over an older version, every deletion and every temporary version leaves an entry in the garbage queue, in
//! the order of commit timestamps. The queue is the cursor: a command takes from its front and the next one goes on there, so
//! collecting costs what there is to drop, not what the partition holds.

use bytes::Bytes;

use super::command::Key;
use super::intents::intent_of;
use super::keys;
use super::versions::drop_temporary;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

/// Drops what is hidden at `limit`: looks at up to `budget` queue entries, and drops up to `budget` versions; tells
/// whether another command like this one would go on with more.
pub(super) fn collect(store: &mut dyn Write, limit: Timestamp, budget: u32) -> Result<bool, StoreError> {
    let mut budget = budget.max(1) as usize;
    let (queue, more) = front(store, limit, budget)?;
    let mut anything_done = false;
    for (commit_ts, key) in queue {
        // An intent's checks were made against these versions: they go once the intent is gone.
        if intent_of(store, &key)?.is_some() {
            continue;
        }
        anything_done = true;
        let hidden = older_versions(store, &key, commit_ts, budget + 1)?;
        for place in hidden.iter().take(budget) {
            store.delete(place)?;
        }
        if hidden.len() > budget {
            return Ok(true);
        }
        budget -= hidden.len();
        // Last, so that what it hides never comes back.
        drop_temporary(store, &key, commit_ts)?;
        store.delete(&keys::garbage(commit_ts, &key))?;
    }
    // Where intents hold all of the front, the next command would find the same.
    Ok(more && anything_done)
}

/// Whether [`collect`] would do anything.
pub(super) fn has_something_to_collect(store: &dyn Read, limit: Timestamp, budget: u32) -> Result<bool, StoreError> {
    let (from, to) = keys::garbage_up_to(limit);
    for pair in store.scan(&from, &to)?.take(budget.max(1) as usize) {
        let (_, key) = keys::parse_garbage(&pair?.0)?;
        if intent_of(store, &key)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The oldest entries of the queue, and whether there are more.
fn front(store: &dyn Read, limit: Timestamp, count: usize) -> Result<(Vec<(Timestamp, Key)>, bool), StoreError> {
    let (from, to) = keys::garbage_up_to(limit);
    let mut entries = Vec::new();
    for pair in store.scan(&from, &to)? {
        if entries.len() == count {
            return Ok((entries, true));
        }
        entries.push(keys::parse_garbage(&pair?.0)?);
    }
    Ok((entries, false))
}

/// Places of versions below a version, newest first: at a snapshot at or above it they cannot be seen.
fn older_versions(store: &dyn Read, key: &[u8], than: Timestamp, count: usize) -> Result<Vec<Bytes>, StoreError> {
    let (from, to) = keys::versions_at(key, Timestamp(than.0.saturating_sub(1)));
    store.scan(&from, &to)?.take(count).map(|pair| Ok(pair?.0)).collect()
}
