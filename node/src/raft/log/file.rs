//! The log file `log.redb`: one redb file for all groups of this member.
//!
//! Entries are keyed by one sequence for all groups, so that every commit writes at the end of the tree: keys by group and
//! index cost several times the bytes, for each group's tail is a page of its own.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kotoba_state::ids::{GroupId, ReplicaId};
use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction,
};

use super::disk::{Batch, Found, FoundEntry, LogDisk, LogError, PinnedLog, Row};
use crate::raft::codec::{self, Coded};
use crate::raft::lock::{lock, sync_directory};
use crate::raft::patient_file::{Patience, PatientFile};
use crate::raft::room::DiskRoom;
use crate::raft::types::{LogId, ReplicaKey};

/// The version of the tables below.
const FILE_FORMAT: u8 = 1;
const FORMAT: TableDefinition<&str, u8> = TableDefinition::new("format");
const FORMAT_KEY: &str = "log";
/// Sequence → group, replica, entry.
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// Group and replica → `Row`.
const ROWS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("rows");
/// Group and replica that were here once and must never be again.
const RETIRED: TableDefinition<(u64, u64), ()> = TableDefinition::new("retired");
/// Whose log this is: replica ids are given by each cluster anew, so a log of another one would fit by its keys.
const OWNER: TableDefinition<&str, &str> = TableDefinition::new("owner");
const OWNER_KEY: &str = "member";
/// Group and replica in front of an entry.
const KEY_BYTES: usize = 16;

/// The log in a redb file.
pub struct LogFile {
    path: PathBuf,
    database: Mutex<Option<Arc<Database>>>,
    room: Arc<dyn DiskRoom>,
}

impl LogFile {
    /// Opens the file, or creates it where `may_create` says that this directory never had one.
    /// Writes wait for room on a full disk, and have it made before.
    pub fn open(path: &Path, cache_bytes: usize, may_create: bool, room: Arc<dyn DiskRoom>) -> Result<Self, LogError> {
        let exists = path
            .try_exists()
            .map_err(|error| file_error(path, "looked for", error))?;
        if !exists && !may_create {
            return Err(LogError::Damaged {
                path: path.to_owned(),
                what: "the file is missing, though this directory holds replicas".to_owned(),
            });
        }
        if !exists {
            create(path, cache_bytes)?;
        }
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let opened = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, opened) = opened.map_err(|error| file_error(path, "opened", error))?;
        // One without a byte would be taken for a new one.
        if length == 0 {
            return Err(LogError::Damaged {
                path: path.to_owned(),
                what: "it is empty".to_owned(),
            });
        }
        let patience = Patience::new(true.into());
        let database = PatientFile::new(opened, room.clone(), patience)
            .and_then(|backend| Builder::new().set_cache_size(cache_bytes).create_with_backend(backend))
            .map_err(|error| unreadable(path, error.into()))?;
        let file = LogFile {
            room,
            ..Self::with_database(path, database)
        };
        file.check_format()?;
        Ok(file)
    }

    #[cfg(test)]
    /// A log on another kind of disk, for crash tests. Creates the tables where the disk is empty.
    pub fn on_backend(name: &Path, backend: impl redb::StorageBackend, cache_bytes: usize) -> Result<Self, LogError> {
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(|error| unreadable(name, error.into()))?;
        let file = Self::with_database(name, database);
        file.create_tables()?;
        Ok(file)
    }

    fn with_database(path: &Path, database: Database) -> Self {
        LogFile {
            path: path.to_owned(),
            database: Mutex::new(Some(Arc::new(database))),
            room: Arc::new(()),
        }
    }

    /// Notes whose log this is, where nobody has; refused where it is another's.
    pub fn claim(&self, owner: &str) -> Result<(), LogError> {
        let claim = || -> Result<Option<String>, redb::Error> {
            let write = begin_durable(&*self.database().map_err(closed)?)?;
            let known = {
                let mut table = write.open_table(OWNER)?;
                let known = table.get(OWNER_KEY)?.map(|known| known.value().to_owned());
                if known.is_none() {
                    table.insert(OWNER_KEY, owner)?;
                }
                known
            };
            match known {
                Some(known) => {
                    write.abort()?;
                    Ok(Some(known))
                }
                None => {
                    write.commit()?;
                    Ok(None)
                }
            }
        };
        match claim().map_err(|error| unreadable(&self.path, error))? {
            Some(known) if known != owner => Err(LogError::Owner {
                path: self.path.clone(),
                owner: known,
                expected: owner.to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn database(&self) -> Result<Arc<Database>, LogError> {
        lock(&self.database).clone().ok_or(LogError::Closed)
    }

    fn create_tables(&self) -> Result<(), LogError> {
        let create = || -> Result<(), redb::Error> {
            let write = begin_durable(&*self.database().map_err(closed)?)?;
            write.open_table(FORMAT)?.insert(FORMAT_KEY, FILE_FORMAT)?;
            write.open_table(ENTRIES)?;
            write.open_table(ROWS)?;
            write.open_table(RETIRED)?;
            Ok(write.commit()?)
        };
        create().map_err(|error| self.error("created", error))
    }

    fn check_format(&self) -> Result<(), LogError> {
        let read = || -> Result<Option<u8>, redb::Error> {
            let table = self.database().map_err(closed)?.begin_read()?.open_table(FORMAT)?;
            Ok(table.get(FORMAT_KEY)?.map(|format| format.value()))
        };
        match read() {
            Ok(Some(FILE_FORMAT)) => Ok(()),
            Ok(Some(found)) => Err(LogError::Format {
                path: self.path.clone(),
                found,
                known: FILE_FORMAT,
            }),
            Ok(None) | Err(redb::Error::TableDoesNotExist(_)) => Err(self.damaged("it holds no format".to_owned())),
            Err(error) => Err(unreadable(&self.path, error)),
        }
    }

    fn write(&self, batch: &Batch) -> Result<(), redb::Error> {
        let write = begin_durable(&*self.database().map_err(closed)?)?;
        write_entries(&write, batch)?;
        write_rows(&write, batch)?;
        Ok(write.commit()?)
    }

    fn error(&self, action: &'static str, source: redb::Error) -> LogError {
        LogError::Database {
            path: self.path.clone(),
            action,
            source: Box::new(source),
        }
    }

    fn found_entry(&self, sequence: u64, value: &[u8]) -> Result<FoundEntry, LogError> {
        let parse = || -> Option<(ReplicaKey, &[u8])> {
            let (key, entry) = value.split_at_checked(KEY_BYTES)?;
            let (group, replica) = key.split_first_chunk::<8>()?;
            let key = replica_key(u64::from_be_bytes(*group), u64::from_be_bytes(replica.try_into().ok()?))?;
            Some((key, entry))
        };
        let (key, entry) = parse().ok_or_else(|| self.damaged(format!("entry {sequence} has no owner")))?;
        let log_id = log_id_of(entry).map_err(|error| self.damaged(format!("entry {sequence}: {error}")))?;
        Ok(FoundEntry {
            sequence,
            key,
            log_id,
            bytes: entry.len(),
        })
    }

    fn found_rows(&self) -> Result<Result<Found, LogError>, redb::Error> {
        let read = self.database().map_err(closed)?.begin_read()?;
        let mut found = Found::default();
        for item in read.open_table(ROWS)?.iter()? {
            let (key, row) = item?;
            let (group, replica) = key.value();
            let row = codec::from_bytes::<Row>(row.value());
            match (replica_key(group, replica), row) {
                (Some(key), Ok(row)) => drop(found.rows.insert(key, row)),
                (None, _) => return Ok(Err(self.damaged(format!("no group has the number {group}")))),
                (_, Err(error)) => return Ok(Err(self.damaged(format!("row of replica {replica}: {error}")))),
            }
        }
        for item in read.open_table(RETIRED)?.iter()? {
            let (group, replica) = item?.0.value();
            found.retired.extend(replica_key(group, replica));
        }
        Ok(Ok(found))
    }
}

impl LogDisk for LogFile {
    fn rows(&self) -> Result<Found, LogError> {
        self.found_rows().map_err(|error| unreadable(&self.path, error))?
    }

    fn entries(&self, visit: &mut dyn FnMut(FoundEntry) -> Result<(), LogError>) -> Result<(), LogError> {
        let unreadable = |error: redb::Error| unreadable(&self.path, error);
        let read = self
            .database()?
            .begin_read()
            .map_err(|error| unreadable(error.into()))?;
        let table = read.open_table(ENTRIES).map_err(|error| unreadable(error.into()))?;
        for item in table.iter().map_err(|error| unreadable(error.into()))? {
            let (sequence, value) = item.map_err(|error| unreadable(error.into()))?;
            visit(self.found_entry(sequence.value(), value.value())?)?;
        }
        Ok(())
    }

    fn commit(&self, batch: &Batch) -> Result<(), LogError> {
        self.room.before_write(batch.bytes());
        self.write(batch).map_err(|error| self.error("written", error))
    }

    fn pin(&self) -> Result<Box<dyn PinnedLog>, LogError> {
        let database = self.database()?;
        let open = || -> Result<_, redb::Error> { Ok(database.begin_read()?.open_table(ENTRIES)?) };
        let table = open().map_err(|error| self.error("read", error))?;
        Ok(Box::new(PinnedFile {
            table,
            path: self.path.clone(),
            _database: database,
        }))
    }

    fn close(&self) {
        let database = lock(&self.database).take();
        drop(database);
    }

    fn damaged(&self, what: String) -> LogError {
        LogError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

struct PinnedFile {
    table: ReadOnlyTable<u64, &'static [u8]>,
    path: PathBuf,
    /// A view of a closed database reads nothing.
    _database: Arc<Database>,
}

impl PinnedLog for PinnedFile {
    fn read(&self, sequence: u64) -> Result<Option<Vec<u8>>, LogError> {
        let value = self
            .table
            .get(sequence)
            .map_err(|error| unreadable(&self.path, error.into()))?;
        Ok(value.and_then(|value| value.value().get(KEY_BYTES..).map(<[u8]>::to_vec)))
    }
}

/// Creates the file under another name first: a file called `log.redb` is always whole, so an empty one is damage.
fn create(path: &Path, cache_bytes: usize) -> Result<(), LogError> {
    let temporary = path.with_extension("new");
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(file_error(&temporary, "removed", error)),
    }
    let database = Builder::new()
        .set_cache_size(cache_bytes)
        .create(&temporary)
        .map_err(|error| LogError::Database {
            path: temporary.clone(),
            action: "created",
            source: Box::new(error.into()),
        })?;
    let file = LogFile::with_database(&temporary, database);
    file.create_tables()?;
    file.close();
    fs::rename(&temporary, path).map_err(|error| file_error(path, "renamed", error))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    sync_directory(directory).map_err(|error| file_error(path, "synced", error))
}

/// One fsync, and an allocator state that makes opening after a crash a matter of milliseconds is not worth a second one:
/// the log file is small.
fn begin_durable(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut write = database.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    Ok(write)
}

fn write_entries(write: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut table = write.open_table(ENTRIES)?;
    for record in &batch.inserts {
        let length = KEY_BYTES + record.entry.len();
        let mut value = table.insert_reserve(record.sequence, length)?;
        let (key, entry) = value.as_mut().split_at_mut(KEY_BYTES);
        let (group, replica) = key.split_at_mut(KEY_BYTES / 2);
        group.copy_from_slice(&record.key.group.number().to_be_bytes());
        replica.copy_from_slice(&record.key.replica.0.to_be_bytes());
        entry.copy_from_slice(&record.entry);
    }
    for sequence in &batch.deletes {
        table.remove(sequence)?;
    }
    Ok(())
}

fn write_rows(write: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let numbers = |key: &ReplicaKey| (key.group.number(), key.replica.0);
    let mut rows = write.open_table(ROWS)?;
    for (key, row) in &batch.rows {
        rows.insert(numbers(key), codec::to_bytes(row).as_slice())?;
    }
    let mut retired = write.open_table(RETIRED)?;
    for key in &batch.retired {
        rows.remove(numbers(key))?;
        retired.insert(numbers(key), ())?;
    }
    Ok(())
}

fn log_id_of(mut entry: &[u8]) -> Result<LogId, codec::CodecError> {
    let input = &mut entry;
    match u8::decode(input)? {
        codec::FORMAT => LogId::decode(input),
        other => Err(codec::CodecError::Format(other)),
    }
}

fn replica_key(group: u64, replica: u64) -> Option<ReplicaKey> {
    Some(ReplicaKey {
        group: GroupId::from_number(group)?,
        replica: ReplicaId(replica),
    })
}

fn file_error(path: &Path, action: &'static str, source: std::io::Error) -> LogError {
    LogError::File {
        path: path.to_owned(),
        action,
        source,
    }
}

/// What redb finds wrong with the content is damage; anything else is the system's word.
fn unreadable(path: &Path, error: redb::Error) -> LogError {
    match error {
        redb::Error::Corrupted(what) => LogError::Damaged {
            path: path.to_owned(),
            what,
        },
        redb::Error::Io(source) if is_content_error(&source) => LogError::Damaged {
            path: path.to_owned(),
            what: source.to_string(),
        },
        other => LogError::Database {
            path: path.to_owned(),
            action: "read",
            source: Box::new(other),
        },
    }
}

fn is_content_error(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
    )
}

fn closed(_: LogError) -> redb::Error {
    redb::Error::DatabaseClosed
}
