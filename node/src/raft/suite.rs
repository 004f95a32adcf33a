//! openraft's own suite of storage tests, against the log and the state together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};
use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::store::{StoreError, Write};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::counters::Counters;
use super::log::{LogStore, ReplicaLogHandle};
use super::state::{FileSettings, ReplicaState, ReplicaStore};
use super::types::{ReplicaKey, TypeConfig};

/// Answers with the command, and keeps it under its index.
struct Recorder;

impl StateMachine for Recorder {
    fn apply(&self, store: &mut dyn Write, at: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        store.put(&at.index.to_be_bytes(), command)?;
        Ok(command.to_vec())
    }
}

/// All stores of the suite share one log, as the groups of a member do.
struct Builder {
    directory: TempDir,
    log: LogStore,
    next: AtomicU64,
}

impl StoreBuilder<TypeConfig, ReplicaLogHandle, ReplicaStore, ()> for Builder {
    async fn build(&self) -> Result<((), ReplicaLogHandle, ReplicaStore), StorageError<TypeConfig>> {
        let key = ReplicaKey {
            group: GroupId::Partition(PartitionId(7)),
            replica: ReplicaId(self.next.fetch_add(1, Ordering::Relaxed)),
        };
        let log = self.log.create(key).await.unwrap();
        let path = self.directory.path().join(key.replica.to_string());
        let counters = Arc::new(Counters::default());
        let state = ReplicaState::open(
            &path,
            key,
            FileSettings::of_a_test(),
            Arc::new(Recorder),
            log.clone(),
            counters,
        )
        .unwrap();
        Ok(((), log, ReplicaStore::new(Arc::new(state))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_state_pass_the_storage_suite_of_openraft() {
    let directory = tempfile::tempdir().unwrap();
    let log = LogStore::of_a_test(directory.path(), true);
    let builder = Builder {
        directory,
        log,
        next: AtomicU64::new(1),
    };
    Suite::test_all(builder).await.unwrap();
}
