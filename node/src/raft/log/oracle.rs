//! The log in a redb file in memory: what the segments are compared with in tests. A database's own idea of a transaction, and
//! nothing of ours.

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use super::disk::{Batch, Found, FoundEntry, LogDisk, LogError, PinnedLog, Record, Row};
use crate::raft::codec::{self, Coded};
use crate::raft::types::{LogId, ReplicaKey};
use kotoba_state::ids::{GroupId, ReplicaId};

/// Sequence → group, replica, entry.
const ENTRIES: TableDefinition<u64, (u64, u64, &[u8])> = TableDefinition::new("entries");
const ROWS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("rows");
const RETIRED: TableDefinition<(u64, u64), ()> = TableDefinition::new("retired");

pub struct Oracle(Database);

impl Oracle {
    pub fn new() -> Self {
        let database = Builder::new().create_with_backend(InMemoryBackend::new()).unwrap();
        let oracle = Oracle(database);
        oracle.commit(&Batch::default()).unwrap();
        oracle
    }
}

fn numbers(key: ReplicaKey) -> (u64, u64) {
    (key.group.number(), key.replica.0)
}

fn key_of((group, replica): (u64, u64)) -> ReplicaKey {
    ReplicaKey {
        group: GroupId::from_number(group).unwrap(),
        replica: ReplicaId(replica),
    }
}

impl LogDisk for Oracle {
    fn rows(&self) -> Result<Found, LogError> {
        let read = self.0.begin_read().unwrap();
        let rows = read.open_table(ROWS).unwrap();
        let retired = read.open_table(RETIRED).unwrap();
        Ok(Found {
            rows: rows
                .iter()
                .unwrap()
                .map(Result::unwrap)
                .map(|(key, row)| (key_of(key.value()), codec::from_bytes::<Row>(row.value()).unwrap()))
                .collect(),
            retired: retired
                .iter()
                .unwrap()
                .map(|item| key_of(item.unwrap().0.value()))
                .collect(),
        })
    }

    fn entries(&self, visit: &mut dyn FnMut(FoundEntry) -> Result<(), LogError>) -> Result<(), LogError> {
        let table = self.0.begin_read().unwrap().open_table(ENTRIES).unwrap();
        for item in table.iter().unwrap() {
            let (sequence, value) = item.unwrap();
            let (group, replica, entry) = value.value();
            let mut log_id = &entry[1..];
            visit(FoundEntry {
                sequence: sequence.value(),
                key: key_of((group, replica)),
                log_id: LogId::decode(&mut log_id).unwrap(),
                bytes: entry.len(),
            })?;
        }
        Ok(())
    }

    fn commit(&self, batch: &Batch) -> Result<(), LogError> {
        let write = self.0.begin_write().unwrap();
        {
            let mut entries = write.open_table(ENTRIES).unwrap();
            for Record { sequence, key, entry } in &batch.inserts {
                let (group, replica) = numbers(*key);
                entries.insert(sequence, (group, replica, entry.as_slice())).unwrap();
            }
            for sequence in batch.deletes.iter().chain(&batch.drops) {
                entries.remove(sequence).unwrap();
            }
            let mut rows = write.open_table(ROWS).unwrap();
            for (key, row) in &batch.rows {
                rows.insert(numbers(*key), codec::to_bytes(row).as_slice()).unwrap();
            }
            let mut retired = write.open_table(RETIRED).unwrap();
            for key in &batch.retired {
                rows.remove(numbers(*key)).unwrap();
                retired.insert(numbers(*key), ()).unwrap();
            }
        }
        write.commit().unwrap();
        Ok(())
    }

    fn pin(&self, _: &[u64]) -> Result<Box<dyn PinnedLog>, LogError> {
        Ok(Box::new(Pinned(
            self.0.begin_read().unwrap().open_table(ENTRIES).unwrap(),
        )))
    }

    fn is_untidy(&self) -> bool {
        false
    }

    fn file_bytes(&self) -> u64 {
        0
    }

    fn close(&self) {}

    fn damaged(&self, what: String) -> LogError {
        LogError::Damaged {
            path: "oracle".into(),
            what,
        }
    }
}

struct Pinned(ReadOnlyTable<u64, (u64, u64, &'static [u8])>);

impl PinnedLog for Pinned {
    fn read(&mut self, sequence: u64) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.0.get(sequence).unwrap().map(|value| value.value().2.to_vec()))
    }
}
