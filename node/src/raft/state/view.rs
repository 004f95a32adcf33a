//! A pinned view of a replica's state.

use std::sync::Arc;

use bytes::Bytes;
use kotoba_state::store::{Kept, Pairs, Read, StoreError};

use super::file::Applied;
use super::layers::Layers;
use super::pins::Pin;

/// The state as of one applied entry, for as long as it is held; clones share it. Reads may block on the disk.
///
/// It costs pages of the file that cannot be reused and memtables that cannot be freed while the replica goes on, so hold it
/// for seconds, not for hours.
#[derive(Clone)]
pub struct StateView {
    layers: Layers,
    applied: Arc<Applied>,
    _pin: Arc<Pin>,
}

impl StateView {
    /// Of the newest step, before another one may be published.
    pub(super) fn new(layers: Layers, applied: Arc<Applied>) -> Self {
        StateView {
            _pin: Arc::new(layers.pin()),
            layers,
            applied,
        }
    }

    /// Index of the last entry that this view contains; 0 where there is none.
    pub fn applied_index(&self) -> u64 {
        self.applied.end().saturating_sub(1)
    }

    pub(in crate::raft) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// All pairs, in key order.
    pub(in crate::raft) fn all(&self) -> Result<Pairs<'_>, StoreError> {
        self.layers.all()
    }
}

impl Read for StateView {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.layers.get(key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        self.layers.scan(from, to)
    }

    fn kept(&self, from: &[u8], to: &[u8]) -> Option<Arc<Kept>> {
        self.layers.kept(from, to)
    }

    fn is_empty(&self, from: &[u8], to: &[u8]) -> Result<bool, StoreError> {
        self.layers.is_empty(from, to)
    }
}
