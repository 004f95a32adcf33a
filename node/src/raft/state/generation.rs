//! The directory of one replica: numbered state files, and `CURRENT`, which names the one in use.
//!
//! A snapshot is loaded into a file of the next number; the switch is one rename of `CURRENT`. A crash before it leaves the
//! old file in use, a crash after it the new one; the other is deleted at the next start.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::StateError;
use super::file::{FileSettings, StateFile};
use crate::raft::lock::sync_directory;
use crate::raft::types::ReplicaKey;

const CURRENT: &str = "CURRENT";
const STATE_EXTENSION: &str = "redb";
const LOADING_EXTENSION: &str = "loading";

/// A replica's directory.
pub struct ReplicaDirectory {
    path: PathBuf,
    key: ReplicaKey,
    settings: FileSettings,
    next: AtomicU64,
}

impl ReplicaDirectory {
    /// Opens the current state file, or creates the first one.
    ///
    /// Where no file is in use and none may be begun, nothing is touched: what is there may be all that is left.
    pub fn open(
        path: &Path,
        key: ReplicaKey,
        settings: FileSettings,
        may_begin: bool,
    ) -> Result<(Self, StateFile), StateError> {
        fs::create_dir_all(path).map_err(StateError::file(path, "created"))?;
        let directory = ReplicaDirectory {
            path: path.to_owned(),
            key,
            settings,
            next: AtomicU64::new(1),
        };
        let current = directory.current()?;
        if current.is_none() && !may_begin {
            return Err(StateError::Damaged {
                path: path.join(CURRENT),
                what: "it is missing, and the log no longer holds all that was in the state that it named".to_owned(),
            });
        }
        directory.clean(current)?;
        match current {
            Some(generation) => {
                directory.next.store(generation + 1, Ordering::Relaxed);
                let file = StateFile::open(&directory.file(generation), key, &directory.settings)?;
                Ok((directory, file))
            }
            None => {
                let (generation, file) = directory.create()?;
                directory.switch_to(generation, &file)?;
                Ok((directory, file))
            }
        }
    }

    /// Opens the directory alone: whatever is in it is to be replaced, and may be damaged.
    pub fn open_to_replace(path: &Path, key: ReplicaKey, settings: FileSettings) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(StateError::file(path, "created"))?;
        let listed = StateError::file(path, "listed");
        let newest = || -> io::Result<u64> {
            let mut newest = 0;
            for entry in fs::read_dir(path)? {
                let name = entry?.path();
                let generation = name.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                newest = newest.max(generation.unwrap_or(0));
            }
            Ok(newest)
        };
        Ok(ReplicaDirectory {
            path: path.to_owned(),
            key,
            settings,
            next: AtomicU64::new(newest().map_err(listed)? + 1),
        })
    }

    /// Creates an empty file of the next generation, not in use yet.
    pub fn create(&self) -> Result<(u64, StateFile), StateError> {
        let generation = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(format!("{generation}.{LOADING_EXTENSION}"));
        let file = StateFile::create(&path, self.key, &self.settings)?;
        Ok((generation, file))
    }

    /// Puts a file that is whole and durable into use.
    pub fn switch_to(&self, generation: u64, file: &StateFile) -> Result<(), StateError> {
        let path = self.file(generation);
        let failed = StateError::file(&path, "put into use");
        let switch = || -> io::Result<()> {
            fs::rename(file.path(), &path)?;
            file.renamed(&path);
            let temporary = self.path.join("CURRENT.new");
            let mut current = File::create(&temporary)?;
            writeln!(current, "{generation}")?;
            current.sync_all()?;
            // The state file's name must be durable no later than the one that refers to it.
            sync_directory(&self.path)?;
            fs::rename(&temporary, self.path.join(CURRENT))?;
            sync_directory(&self.path)
        };
        switch().map_err(failed)?;
        file.put_into_use();
        Ok(())
    }

    fn file(&self, generation: u64) -> PathBuf {
        self.path.join(format!("{generation}.{STATE_EXTENSION}"))
    }

    fn current(&self) -> Result<Option<u64>, StateError> {
        let path = self.path.join(CURRENT);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::file(&path, "read")(error)),
        };
        match text.trim().parse() {
            Ok(generation) => Ok(Some(generation)),
            Err(_) => Err(StateError::Damaged {
                path,
                what: format!("{text:?} is no generation"),
            }),
        }
    }

    /// Deletes what a crash left of other generations.
    fn clean(&self, current: Option<u64>) -> Result<(), StateError> {
        let keep = current.map(|generation| self.file(generation));
        for entry in fs::read_dir(&self.path).map_err(StateError::file(&self.path, "listed"))? {
            let path = entry.map_err(StateError::file(&self.path, "listed"))?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let stale = matches!(extension, Some(STATE_EXTENSION | LOADING_EXTENSION));
            if stale && Some(&path) != keep.as_ref() {
                fs::remove_file(&path).map_err(StateError::file(&path, "removed"))?;
            }
        }
        Ok(())
    }
}
