//! Loads blocks into a state file that is not in use yet. Dropped before it is installed, the file deletes itself.

use super::block::{Block, BlockError, each_block};
use crate::raft::state::{Applied, StateError, StateFile, StateView};
use crate::raft::types::{ReplicaKey, SnapshotMeta};

/// A snapshot being loaded. Blocks.
pub struct Loader {
    key: ReplicaKey,
    loaded: LoadedFile,
    last_key: Option<Vec<u8>>,
    pairs: u64,
    total: Option<u64>,
}

/// A file with a whole snapshot in it, durable but not in use.
pub struct LoadedFile {
    pub meta: SnapshotMeta,
    generation: u64,
    file: Option<StateFile>,
}

impl LoadedFile {
    /// Takes the file out, to be put into use.
    pub fn into_file(mut self) -> (u64, StateFile) {
        let file = self.file.take().expect("the file is taken once, by the value itself");
        (self.generation, file)
    }

    fn file(&self) -> &StateFile {
        self.file
            .as_ref()
            .expect("only into_file takes it, and that ends the value")
    }
}

impl Drop for LoadedFile {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            file.make_obsolete();
        }
    }
}

impl Loader {
    pub fn new(key: ReplicaKey, generation: u64, file: StateFile, meta: SnapshotMeta) -> Self {
        Loader {
            key,
            loaded: LoadedFile {
                meta,
                generation,
                file: Some(file),
            },
            last_key: None,
            pairs: 0,
            total: None,
        }
    }

    /// Adds the next block, if it is whole and follows the one before.
    pub fn add(&mut self, block: &Block) -> Result<(), StateError> {
        if self.total.is_some() {
            return Err(self.refused(&"a block follows the last one"));
        }
        let pairs = block.verified().and_then(|pairs| pairs.collect::<Result<Vec<_>, _>>());
        let pairs = pairs.map_err(|error| self.refused(&error))?;
        self.check_order(&pairs).map_err(|error| self.refused(&error))?;
        if !pairs.is_empty() {
            let path = self.loaded.file().path();
            self.loaded
                .file()
                .append(&pairs)
                .map_err(StateError::database(&path, "loaded"))?;
        }
        self.pairs += pairs.len() as u64;
        self.total = block.total_pairs;
        Ok(())
    }

    fn check_order(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), BlockError> {
        let mut last = self.last_key.as_deref();
        for (key, _) in pairs {
            if last.is_some_and(|last| last >= *key) {
                return Err(BlockError::Order);
            }
            last = Some(key);
        }
        self.last_key = last.map(<[u8]>::to_vec);
        Ok(())
    }

    /// Whether the last block was added.
    pub fn is_complete(&self) -> bool {
        self.total.is_some()
    }

    /// Checks that nothing is missing and makes the file durable.
    pub fn finish(self) -> Result<LoadedFile, StateError> {
        match self.total {
            Some(sent) if sent == self.pairs => {}
            Some(sent) => {
                let received = self.pairs;
                return Err(self.refused(&BlockError::Count { received, sent }));
            }
            None => return Err(self.refused(&"the last block is missing")),
        }
        let file = self.loaded.file();
        let applied = Applied {
            log_id: self.loaded.meta.last_log_id,
            membership: self.loaded.meta.last_membership.clone(),
        };
        file.finish(&applied)
            .map_err(StateError::database(&file.path(), "loaded"))?;
        Ok(self.loaded)
    }

    /// Copies a view of this member's own.
    pub fn load_view(mut self, view: &StateView) -> Result<LoadedFile, StateError> {
        let mut result = Ok(());
        let copied = each_block(view, |block| {
            result = self.add(&block);
            result.is_ok()
        });
        copied.map_err(|error| self.refused(&error))?;
        result?;
        self.finish()
    }

    fn refused(&self, what: &dyn std::fmt::Display) -> StateError {
        StateError::Snapshot {
            key: self.key,
            what: what.to_string(),
        }
    }
}
