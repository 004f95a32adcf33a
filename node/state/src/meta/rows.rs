//! The catalogue as rows of the store: one key per member, partition, move and diverged replica, and
//! four single ones.
//!
//! A change writes only the rows that differ, so that the log of changes stays small on disk.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::catalogue::Catalogue;
use super::command::{decode, encode};
use crate::store::{Read, StoreError, Write};

const SETTINGS: &[u8] = b"s";
const COUNTERS: &[u8] = b"c";
const REBALANCE: &[u8] = b"r";
/// All of them in one row: they change together, when a member is lost.
const LEADERS: &[u8] = b"l";
const MEMBERS: u8 = b'm';
const PARTITIONS: u8 = b'p';
const MOVES: u8 = b'v';
const DIVERGED: u8 = b'd';

pub(super) fn load(view: &dyn Read) -> Result<Catalogue, StoreError> {
    Ok(Catalogue {
        settings: single(view, SETTINGS)?,
        counters: single(view, COUNTERS)?.unwrap_or_default(),
        rebalance: single(view, REBALANCE)?,
        leaders: single(view, LEADERS)?.unwrap_or_default(),
        members: all(view, MEMBERS)?,
        partitions: all(view, PARTITIONS)?,
        moves: all(view, MOVES)?,
        diverged: all(view, DIVERGED)?,
    })
}

/// Writes what differs between two catalogues.
pub(super) fn save(store: &mut dyn Write, before: &Catalogue, after: &Catalogue) -> Result<(), StoreError> {
    save_single(store, SETTINGS, &before.settings, &after.settings)?;
    save_single(store, REBALANCE, &before.rebalance, &after.rebalance)?;
    if before.counters != after.counters {
        store.put(COUNTERS, &encode(&after.counters))?;
    }
    if before.leaders != after.leaders {
        store.put(LEADERS, &encode(&after.leaders))?;
    }
    save_all(store, MEMBERS, &before.members, &after.members, |id| id.0)?;
    save_all(store, PARTITIONS, &before.partitions, &after.partitions, |id| {
        u64::from(id.0)
    })?;
    save_all(store, MOVES, &before.moves, &after.moves, |id| *id)?;
    save_all(store, DIVERGED, &before.diverged, &after.diverged, |id| id.0)
}

fn single<T: DeserializeOwned>(view: &dyn Read, key: &[u8]) -> Result<Option<T>, StoreError> {
    view.get(key)?
        .map(|bytes| decode(&bytes).map_err(StoreError::new))
        .transpose()
}

fn all<K, V>(view: &dyn Read, space: u8) -> Result<std::collections::BTreeMap<K, V>, StoreError>
where
    K: DeserializeOwned + Ord,
    V: DeserializeOwned,
{
    view.scan(&[space], &[space + 1])?
        .map(|pair| decode::<(K, V)>(&pair?.1).map_err(StoreError::new))
        .collect()
}

fn save_single<T: Serialize + PartialEq>(
    store: &mut dyn Write,
    key: &[u8],
    before: &Option<T>,
    after: &Option<T>,
) -> Result<(), StoreError> {
    match after {
        Some(value) if before.as_ref() != Some(value) => store.put(key, &encode(value)),
        Some(_) => Ok(()),
        None if before.is_some() => store.delete(key),
        None => Ok(()),
    }
}

fn save_all<K, V>(
    store: &mut dyn Write,
    space: u8,
    before: &std::collections::BTreeMap<K, V>,
    after: &std::collections::BTreeMap<K, V>,
    number: impl Fn(&K) -> u64,
) -> Result<(), StoreError>
where
    K: Serialize + Ord,
    V: Serialize + PartialEq,
{
    let key = |id: &K| [&[space][..], &number(id).to_be_bytes()].concat();
    for id in before.keys().filter(|id| !after.contains_key(id)) {
        store.delete(&key(id))?;
    }
    for (id, row) in after.iter().filter(|(id, row)| before.get(id) != Some(*row)) {
        store.put(&key(id), &encode(&(id, row)))?;
    }
    Ok(())
}
