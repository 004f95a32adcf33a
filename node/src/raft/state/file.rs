//! One state file: a redb database with the replica's keys, and how far the log is applied in them.

use std::fs::{self, File, OpenOptions};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table,
    TableDefinition, WriteTransaction,
};

use super::error::StateError;
use super::memtable::{Memtable, Step};
use super::sorted::{Content, write_sorted};
use crate::raft::codec;
use crate::raft::lock::lock;
use crate::raft::patient_file::{Patience, PatientFile};
use crate::raft::room::DiskRoom;
use crate::raft::types::{LogId, ReplicaKey, StoredMembership};

/// The version of the tables below and of what is in them. In 1 ids and timestamps had all their bytes; in 2 transactions
/// prepared their primary, too.
const FILE_FORMAT: u8 = 3;
/// All keys of the state machine; the first byte of a key is its space.
const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");
/// What Raft needs to know of them.
const RAFT: TableDefinition<&str, &[u8]> = TableDefinition::new("raft");
const FORMAT: &str = "format";
const OWNER: &str = "owner";
const APPLIED: &str = "applied";
const MEMBERSHIP: &str = "membership";
const CONTENT: &str = "content";

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

/// What state files are opened with.
#[derive(Clone)]
pub struct FileSettings {
    /// Of each file: pages, and the ranges in front of them.
    pub cache_bytes: usize,
    pub room: Arc<dyn DiskRoom>,
}

#[cfg(test)]
impl FileSettings {
    pub fn of_a_test() -> Self {
        FileSettings {
            cache_bytes: 1 << 20,
            room: Arc::new(()),
        }
    }
}

/// The part of a file's cache that is for ranges.
const PART_OF_RANGES: usize = 4;

/// An open state file. Dropped while obsolete, it deletes itself: its readers are gone then.
pub struct StateFile {
    database: Database,
    path: Mutex<PathBuf>,
    patience: Patience,
    obsolete: AtomicBool,
    /// As of the last transaction.
    content: AtomicU64,
    range_cache_bytes: usize,
}

impl StateFile {
    /// Creates an empty file, durably but for its name.
    pub fn create(path: &Path, key: ReplicaKey, settings: &FileSettings) -> Result<Self, StateError> {
        match fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StateError::file(path, "removed")(error)),
        }
        let opened = File::create_new(path).and_then(|_| open_file(path));
        let opened = opened.map_err(StateError::file(path, "created"))?;
        let file = Self::new(opened, path, settings).map_err(StateError::database(path, "created"))?;
        let create = || -> Result<(), redb::Error> {
            let write = file.begin_durable()?;
            {
                let mut raft = write.open_table(RAFT)?;
                raft.insert(FORMAT, [FILE_FORMAT].as_slice())?;
                raft.insert(OWNER, owner(key).as_slice())?;
                raft.insert(CONTENT, [0; 8].as_slice())?;
            }
            write.open_table(KEYS)?;
            Ok(write.commit()?)
        };
        create().map_err(StateError::database(path, "created"))?;
        Ok(file)
    }

    /// Opens a file that was created whole; anything else is damage.
    pub fn open(path: &Path, key: ReplicaKey, settings: &FileSettings) -> Result<Self, StateError> {
        let failed = StateError::file(path, "opened");
        let opened = open_file(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, opened) = opened.map_err(failed)?;
        // One without a byte would be taken for a new one.
        if length == 0 {
            return Err(StateError::Damaged {
                path: path.to_owned(),
                what: "it is empty".to_owned(),
            });
        }
        let file = Self::new(opened, path, settings).map_err(StateError::database(path, "opened"))?;
        file.check(key)?;
        file.put_into_use();
        Ok(file)
    }

    fn new(file: File, path: &Path, settings: &FileSettings) -> Result<Self, DatabaseError> {
        let range_cache_bytes = settings.cache_bytes / PART_OF_RANGES;
        let patience = Patience::default();
        let backend = PatientFile::new(file, settings.room.clone(), patience.clone())?;
        let database = Builder::new()
            .set_cache_size(settings.cache_bytes - range_cache_bytes)
            .create_with_backend(backend)?;
        Ok(StateFile {
            database,
            path: Mutex::new(path.to_owned()),
            patience,
            obsolete: AtomicBool::new(false),
            content: AtomicU64::new(0),
            range_cache_bytes,
        })
    }

    /// From now on its writes wait for room on a full disk: a replica lives on it. A snapshot that does not fit fails at once,
    /// and is sent again.
    pub fn put_into_use(&self) {
        self.patience.store(true, Ordering::Relaxed);
    }

    fn check(&self, key: ReplicaKey) -> Result<(), StateError> {
        let path = self.path();
        let read = || -> Result<_, redb::Error> {
            let raft = self.database.begin_read()?.open_table(RAFT)?;
            let get = |name| Ok::<_, redb::Error>(raft.get(name)?.map(|value| value.value().to_vec()));
            let content = get(CONTENT)?.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
            Ok((
                get(FORMAT)?.unwrap_or_default(),
                get(OWNER)?.unwrap_or_default(),
                content,
            ))
        };
        let (format, found, content) = read().map_err(StateError::database(&path, "read"))?;
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
        let Some(content) = content else {
            return Err(StateError::Damaged {
                path,
                what: "it does not say how much it holds".to_owned(),
            });
        };
        self.content.store(content, Ordering::Relaxed);
        Ok(())
    }

    /// What its pairs take; the rest is room around them.
    pub fn content_bytes(&self) -> u64 {
        self.content.load(Ordering::Relaxed)
    }

    /// For ranges of keys that were read lately.
    pub fn range_cache_bytes(&self) -> usize {
        self.range_cache_bytes
    }

    pub fn path(&self) -> PathBuf {
        lock(&self.path).clone()
    }

    /// What it takes on the disk: less than its length, for redb grows a file by doubling, with a hole. Blocks.
    pub fn bytes(&self) -> Result<u64, StateError> {
        /// Whatever the file system's are.
        const BLOCK_BYTES: u64 = 512;
        let path = self.path();
        let about = fs::metadata(&path).map_err(StateError::file(&path, "looked at"))?;
        Ok(about.blocks() * BLOCK_BYTES)
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
    fn begin_lazy(&self) -> Result<WriteTransaction, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_durability(Durability::None)?;
        Ok(write)
    }

    /// A transaction that makes everything before it durable too. Opening the file after a crash then takes no repair.
    fn begin_durable(&self) -> Result<WriteTransaction, redb::Error> {
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
        let mut content = Content(self.content_bytes());
        {
            let mut keys = open_keys(&write)?;
            changes.with_all(step, |changes| write_sorted(&mut keys, &mut content, changes))?;
        }
        write_applied(&write, applied)?;
        self.commit(write, content)
    }

    /// Adds pairs behind all that are there, lazily. A cursor at the end fills pages in order: half the file and half the time
    /// of plain inserts.
    pub fn append<B: AsRef<[u8]>>(&self, pairs: &[(B, B)]) -> Result<(), redb::Error> {
        let write = self.begin_lazy()?;
        let mut content = Content(self.content_bytes());
        {
            let mut keys = open_keys(&write)?;
            let mut end = keys.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
            for (key, value) in pairs {
                let (key, value) = (key.as_ref(), value.as_ref());
                end.insert_before(key, value)?;
                content.add(key, value);
            }
            end.close()?;
        }
        self.commit(write, content)
    }

    /// Makes what was appended durable, and says how far it is.
    pub fn finish(&self, applied: &Applied) -> Result<(), redb::Error> {
        let write = self.begin_durable()?;
        write_applied(&write, applied)?;
        Ok(write.commit()?)
    }

    fn commit(&self, write: WriteTransaction, content: Content) -> Result<(), redb::Error> {
        write
            .open_table(RAFT)?
            .insert(CONTENT, content.0.to_be_bytes().as_slice())?;
        write.commit()?;
        self.content.store(content.0, Ordering::Relaxed);
        Ok(())
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

fn open_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// The table of keys, to write to.
fn open_keys(write: &WriteTransaction) -> Result<KeyTable<'_>, redb::Error> {
    Ok(write.open_table(KEYS)?)
}

/// Notes in the same transaction how far its keys are.
fn write_applied(write: &WriteTransaction, applied: &Applied) -> Result<(), redb::Error> {
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
