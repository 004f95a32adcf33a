//! The store as a state machine sees it while it applies: what it writes is read back at once, and by nobody else until the
//! step is over.

use bytes::Bytes;
use kotoba_state::store::{Pairs, Read, StoreError, Write};

use super::layers::Layers;
use super::memtable::Step;

/// A key and its value together: what fits a snapshot block, with room, within the largest message between members.
const MAX_PAIR_BYTES: usize = 12 << 20;

/// One step of a replica. It ends when it is published; a step that fails is the replica's last.
pub struct Transaction {
    layers: Layers,
}

impl Transaction {
    /// The step after the one that is published.
    pub fn after(layers: &Layers) -> Self {
        Transaction {
            layers: layers.at(layers.step() + 1),
        }
    }

    pub fn step(&self) -> Step {
        self.layers.step()
    }
}

impl Read for Transaction {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.layers.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        self.layers.scan(from, to)
    }
}

impl Write for Transaction {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let bytes = key.len() + value.len();
        if bytes > MAX_PAIR_BYTES {
            return Err(StoreError::new(format!(
                "a pair of {bytes} bytes is above the limit of {MAX_PAIR_BYTES}: no snapshot could carry it"
            )));
        }
        self.layers.put(key, Some(Bytes::copy_from_slice(value)));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.layers.put(key, None);
        Ok(())
    }
}
