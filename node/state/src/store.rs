//! The ordered key-value store that a state machine reads and writes: the only door to the disk from here.
//!
//! One keyspace per replica. The first byte of a key is its space; each state machine owns its spaces.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::partition::NewestVersions;

/// The disk failed or holds something unreadable. The replica stops; nothing is retried.
#[derive(Debug, thiserror::Error)]
#[error("state store failed")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps a cause of any type, or a plain message.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        StoreError(cause.into())
    }
}

/// A key with its value. Who gives it may keep it as well.
pub type Pair = (Bytes, Bytes);

/// Pairs in key order, read lazily.
pub type Pairs<'a> = Box<dyn Iterator<Item = Result<Pair, StoreError>> + 'a>;

/// The pairs of a range that a store has in memory.
#[derive(Debug)]
pub struct Kept {
    /// The first of them, at least.
    pub pairs: Box<[Pair]>,
    pub is_whole: bool,
    /// What follows from them where they are versions, once somebody has asked.
    pub newest: OnceLock<Option<NewestVersions>>,
}

impl Kept {
    pub fn new(pairs: impl IntoIterator<Item = Pair>, is_whole: bool) -> Arc<Self> {
        Arc::new(Kept {
            pairs: pairs.into_iter().collect(),
            is_whole,
            newest: OnceLock::new(),
        })
    }
}

/// One consistent view of a store.
pub trait Read {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Pairs with `from <= key < to`, ascending.
    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError>;

    /// What a scan would give, or the first of it, where that is in memory as one piece; the range must not be reversed.
    fn kept(&self, _from: &[u8], _to: &[u8]) -> Option<Arc<Kept>> {
        None
    }

    /// Whether a scan would give nothing.
    fn is_empty(&self, from: &[u8], to: &[u8]) -> Result<bool, StoreError> {
        Ok(self.scan(from, to)?.next().transpose()?.is_none())
    }
}

/// A view that can be changed; what was written is read back at once.
pub trait Write: Read {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;
    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError>;
}

/// A store in memory, for tests and models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStore(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Read for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(key).cloned().map(Bytes::from))
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        if from >= to {
            return Ok(Box::new(std::iter::empty()));
        }
        let range = (Bound::Included(from.to_vec()), Bound::Excluded(to.to_vec()));
        let pair = |(key, value): (&Vec<u8>, &Vec<u8>)| Ok((key.clone().into(), value.clone().into()));
        Ok(Box::new(self.0.range(range).map(pair)))
    }
}

/// A store that keeps so many pairs of each range in memory in which there is something, for tests.
#[derive(Clone, Debug)]
pub struct Keeps<S> {
    pub store: S,
    pub pairs: usize,
}

impl<S: Read> Read for Keeps<S> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        self.store.scan(from, to)
    }

    fn kept(&self, from: &[u8], to: &[u8]) -> Option<Arc<Kept>> {
        let pairs: Result<Vec<Pair>, StoreError> = self.store.scan(from, to).ok()?.collect();
        let mut pairs = pairs.ok().filter(|pairs| !pairs.is_empty())?;
        let is_whole = pairs.len() <= self.pairs;
        pairs.truncate(self.pairs);
        Some(Kept::new(pairs, is_whole))
    }
}

impl Write for MemoryStore {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.0.remove(key);
        Ok(())
    }
}
