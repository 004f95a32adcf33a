//! The ordered key-value store that a state machine reads and writes: the only door to the disk from here.
//!
//! One keyspace per replica. The first byte of a key is its space; each state machine owns its spaces.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

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

/// One consistent view of a store.
pub trait Read {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Pairs with `from <= key < to`, ascending.
    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError>;
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
