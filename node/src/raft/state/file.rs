//! One state file: a redb database with the replica's keys, and how far the log is applied in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
    WriteTransaction,
};

use super::error::StateError;
use super::memtable::{Memtable, Step};
use crate::raft::codec;
use crate::raft::lock::lock;
use crate::raft::types::{LogId, ReplicaKey, StoredMembership};

/// The version of the tables below.
const FILE_FORMAT: u8 = 1;
/// All keys of the state machine; the first byte of a key is its space.
const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");
/// What Raft needs to know of them.
const RAFT: TableDefinition<&str, &[u8]> = TableDefinition::new("raft");
const FORMAT: &str = "format";
const OWNER: &str = "owner";
const APPLIED: &str = "applied";
const MEMBERSHIP: &str = "membership";

/// The table of keys inside a write transaction.
pub type KeyTable<'t> = Table<'t, &'static [u8], &'static [u8]>;
/// The table of keys inside a read transaction.
pub type PinnedKeys = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// How far the log is applied, and the membership as of then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub log_id: Option<LogId>,
    pub membership: StoredMembership,
}

impl Applied {
    /// One past the last applied index: 0 where nothing is applied.
    pub fn end(&self) -> u64 {
        self.log_id.map_or(0, |log_id| log_id.index() + 1)
    }
}

/// An open state file. Dropped while obsolete, it deletes itself: its readers are gone then.
pub struct StateFile {
    database: Database,
    path: Mutex<PathBuf>,
    obsolete: AtomicBool,
}

impl StateFile {
    /// Creates an empty file, durably but for its name.
    pub fn create(path: &Path, key: ReplicaKey, cache_bytes: usize) -> Result<Self, StateError> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StateError::file(path, "removed")(error)),
        }
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .create(path)
            .map_err(StateError::database(path, "created"))?;
        let file = Self::new(database, path);
        let create = || -> Result<(), redb::Error> {
            let write = file.begin_durable()?;
            {
                let mut raft = write.open_table(RAFT)?;
                raft.insert(FORMAT, [FILE_FORMAT].as_slice())?;
                raft.insert(OWNER, owner(key).as_slice())?;
            }
            write.open_table(KEYS)?;
            Ok(write.commit()?)
        };
        create().map_err(StateError::database(path, "created"))?;
        Ok(file)
    }

    /// Opens a file that was created whole; anything else is damage.
    pub fn open(path: &Path, key: ReplicaKey, cache_bytes: usize) -> Result<Self, StateError> {
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .open(path)
            .map_err(StateError::database(path, "opened"))?;
        let file = Self::new(database, path);
        file.check(key)?;
        Ok(file)
    }

    fn new(database: Database, path: &Path) -> Self {
        StateFile {
            database,
            path: Mutex::new(path.to_owned()),
            obsolete: AtomicBool::new(false),
        }
    }

    fn check(&self, key: ReplicaKey) -> Result<(), StateError> {
        let path = self.path();
        let read = || -> Result<(Vec<u8>, Vec<u8>), redb::Error> {
            let raft = self.database.begin_read()?.open_table(RAFT)?;
            let get = |name| Ok::<_, redb::Error>(raft.get(name)?.map(|value| value.value().to_vec()));
            Ok((get(FORMAT)?.unwrap_or_default(), get(OWNER)?.unwrap_or_default()))
        };
        let (format, found) = read().map_err(StateError::database(&path, "read"))?;
        match format.as_slice() {
            [FILE_FORMAT] => {}
            [found, ..] => {
                return Err(StateError::Format {
                    path,
                    found: *found,
                    known: FILE_FORMAT,
                });
            }
            [] => {
                return Err(StateError::Damaged {
                    path,
                    what: "it holds no format".to_owned(),
                });
            }
        }
        if found != owner(key) {
            return Err(StateError::Owner {
                path,
                owner: format!("{found:02x?}"),
                expected: key,
            });
        }
        Ok(())
    }

    pub fn path(&self) -> PathBuf {
        lock(&self.path).clone()
    }

    /// Notes that the file has another name now.
    pub fn renamed(&self, path: &Path) {
        path.clone_into(&mut lock(&self.path));
    }

    /// Deletes the file once nobody reads it any more.
    pub fn make_obsolete(&self) {
        self.obsolete.store(true, Ordering::Relaxed);
    }

    /// A transaction of a file that is being loaded: durable at the next durable one.
    pub fn begin_lazy(&self) -> Result<WriteTransaction, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        Ok(write)
    }

    /// A transaction that makes everything before it durable too. Opening the file after a crash then takes no repair.
    pub fn begin_durable(&self) -> Result<WriteTransaction, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        write.set_quick_repair(true);
        Ok(write)
    }

    /// The keys as of the last checkpoint.
    pub fn keys(&self) -> Result<PinnedKeys, StateError> {
        let open = || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(KEYS)?) };
        open().map_err(StateError::database(&self.path(), "read"))
    }

    /// How far they are.
    pub fn applied(&self) -> Result<Applied, StateError> {
        let path = self.path();
        let read = || -> Result<_, redb::Error> { read_applied(&self.database.begin_read()?.open_table(RAFT)?) };
        let applied = read().map_err(StateError::database(&path, "read"))?;
        applied.map_err(StateError::codec(&path))
    }

    /// Writes a memtable as of a step, and how far the log is applied in it, durably and all at once.
    pub fn checkpoint(&self, changes: &Memtable, step: Step, applied: &Applied) -> Result<(), redb::Error> {
        let write = self.begin_durable()?;
        {
            let mut keys = open_keys(&write)?;
            changes.each(step, |key, value| match value {
                Some(value) => keys.insert(key, value).map(drop),
                None => keys.remove(key).map(drop),
            })?;
        }
        write_applied(&write, applied)?;
        Ok(write.commit()?)
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        if !self.obsolete.load(Ordering::Relaxed) {
            return;
        }
        let path = self.path();
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "an obsolete state file stays until the next start");
        }
    }
}

/// The table of keys, to write to.
pub fn open_keys(write: &WriteTransaction) -> Result<KeyTable<'_>, redb::Error> {
    Ok(write.open_table(KEYS)?)
}

/// Notes in the same transaction how far its keys are.
pub fn write_applied(write: &WriteTransaction, applied: &Applied) -> Result<(), redb::Error> {
    let mut raft = write.open_table(RAFT)?;
    raft.insert(APPLIED, codec::to_bytes(&applied.log_id).as_slice())?;
    raft.insert(MEMBERSHIP, codec::to_bytes(&applied.membership).as_slice())?;
    Ok(())
}

fn read_applied(
    raft: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Result<Applied, codec::CodecError>, redb::Error> {
    let log_id = raft
        .get(APPLIED)?
        .map(|value| codec::from_bytes::<Option<LogId>>(value.value()));
    let membership = raft
        .get(MEMBERSHIP)?
        .map(|value| codec::from_bytes::<StoredMembership>(value.value()));
    let both = || -> Result<Applied, codec::CodecError> {
        Ok(Applied {
            log_id: log_id.transpose()?.flatten(),
            membership: membership.transpose()?.unwrap_or_default(),
        })
    };
    Ok(both())
}

fn owner(key: ReplicaKey) -> Vec<u8> {
    [key.group.number().to_be_bytes(), key.replica.0.to_be_bytes()].concat()
}
