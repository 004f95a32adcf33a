//! A pinned view of a replica's state.

use std::sync::Arc;

use kotoba_state::store::{Pairs, Read, StoreError};

use super::error::StateError;
use super::file::{Applied, PinnedKeys, StateFile};
use super::transaction::{get, scan};

/// The state as of one applied entry, for as long as it is held; clones share it. Reads may block on the disk.
///
/// It costs pages that cannot be reused while the replica goes on, so hold it for seconds, not for hours.
#[derive(Clone)]
pub struct StateView {
    // Before the file: a table of a closed database reads nothing.
    keys: Arc<PinnedKeys>,
    applied: Arc<Applied>,
    _file: Arc<StateFile>,
}

impl StateView {
    pub(in crate::raft) fn pin(file: Arc<StateFile>) -> Result<Self, StateError> {
        let (keys, applied) = file.pin()?;
        Ok(StateView {
            keys: Arc::new(keys),
            applied: Arc::new(applied),
            _file: file,
        })
    }

    /// Index of the last entry that this view contains; 0 where there is none.
    pub fn applied_index(&self) -> u64 {
        self.applied.end().saturating_sub(1)
    }

    pub(in crate::raft) fn applied(&self) -> &Applied {
        &self.applied
    }

    pub(in crate::raft) fn keys(&self) -> &PinnedKeys {
        &self.keys
    }
}

impl Read for StateView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&*self.keys, key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        scan(&*self.keys, from, to)
    }
}
