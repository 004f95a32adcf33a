//! The data directory: locked by one process, holding the identity record and the stores.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("create the data directory {path}: may this user write there?")]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("lock the data directory {path}")]
    Lock {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the data directory {path} is in use by another process; stop that one, or give this one a directory of its own"
    )]
    InUse { path: PathBuf },
}

/// A data directory that this process alone uses, until it is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates the directory where it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let create = |source| DirectoryError::Create {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(create)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(create)?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(DirectoryError::Lock {
                path: path.to_owned(),
                source,
            }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Replaces a file so that after a power failure either the old or the new content is there, whole.
///
/// Order on disk: new content synced under a temporary name, rename, directory synced.
pub fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_used_by_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path()).unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(DirectoryError::InUse { .. })));
        drop(first);
        Directory::open(dir.path()).unwrap();
    }
}
