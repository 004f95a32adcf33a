//! What a replica's state keeps, and when.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kotoba_state::ids::{GroupId, ReplicaId};
use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::store::{Read, StoreError, Write};
use openraft::storage::{IOFlushed, RaftLogStorage};
use tempfile::TempDir;

use super::{CheckpointPolicy, FileSettings, ReplicaState, StateError};
use crate::raft::log::CrashingFolder;
use crate::raft::log::crash;
use crate::raft::log::{LogStore, ReplicaLogHandle};
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, ReplicaKey};

/// Puts the command under its index; scans and deletes what it wrote before, to use all of the store; may refuse.
#[derive(Default)]
struct Echo {
    refuses: AtomicBool,
}

impl StateMachine for Echo {
    fn apply(&self, store: &mut dyn Write, at: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(StoreError::new("refused"));
        }
        let before: Vec<_> = store.scan(&[0], &[255])?.collect::<Result<_, _>>()?;
        for (key, _) in &before {
            store.delete(key)?;
        }
        store.put(&[at.index as u8 + 1], command)?;
        assert_eq!(store.get(&[at.index as u8 + 1])?.as_deref(), Some(command));
        Ok(vec![before.len() as u8])
    }
}

struct Fixture {
    directory: TempDir,
    _store: LogStore,
    log: ReplicaLogHandle,
    machine: Arc<Echo>,
}

impl Fixture {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::of_a_test(directory.path(), true);
        Fixture {
            log: store.create(key()).await.unwrap(),
            directory,
            _store: store,
            machine: Arc::default(),
        }
    }

    fn open(&self) -> Result<ReplicaState, StateError> {
        self.open_as(key())
    }

    fn open_as(&self, key: ReplicaKey) -> Result<ReplicaState, StateError> {
        let path = self.directory.path().join("state");
        ReplicaState::open(
            &path,
            key,
            FileSettings::of_a_test(),
            self.machine.clone(),
            self.log.clone(),
            Arc::default(),
        )
    }
}

fn key() -> ReplicaKey {
    ReplicaKey {
        group: GroupId::Meta,
        replica: ReplicaId(4),
    }
}

fn entry(index: u64) -> Entry {
    let leader = LeaderId {
        term: 1,
        node_id: ReplicaId(4),
    };
    Entry {
        log_id: LogId::new(leader, index),
        payload: Payload::Normal(Command::from(Bytes::from(vec![index as u8]))),
    }
}

#[tokio::test]
async fn applied_entries_are_readable_at_once_and_durable_at_a_checkpoint() {
    let fixture = Fixture::new().await;
    let state = fixture.open().unwrap();
    let policy = CheckpointPolicy {
        dirty_bytes: usize::MAX,
        age: Duration::ZERO,
    };
    assert!(!state.is_due(policy));
    let answers = state.apply(&[entry(0), entry(1), entry(2)]).unwrap();
    assert_eq!(answers.iter().map(|answer| answer.0[0]).collect::<Vec<_>>(), [0, 1, 1]);
    let view = state.view().unwrap();
    assert_eq!(
        (view.applied_index(), view.get(&[3]).unwrap()),
        (2, Some(vec![2].into()))
    );
    assert_eq!(view.get(&[1]).unwrap(), None);
    assert!(
        view.scan(&[9], &[1]).unwrap().next().is_none(),
        "an empty range is empty"
    );
    assert_eq!((state.durable_index(), state.is_due(policy)), (0, true));
    state.checkpoint().unwrap();
    assert_eq!((state.durable_index(), state.is_due(policy)), (2, false));
}

#[tokio::test]
async fn a_state_is_never_durable_ahead_of_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let disk = CrashingFolder::default();
    let store = crash::open(&disk, Box::new(|_| {}));
    let mut log = store.create(key()).await.unwrap();
    let path = directory.path().join("state");
    let machine = Arc::new(Echo::default());
    let state = ReplicaState::open(
        &path,
        key(),
        FileSettings::of_a_test(),
        machine,
        log.clone(),
        Arc::default(),
    )
    .unwrap();
    disk.die_after(0);
    // A majority of others may have it: Raft applies it here whether or not it is on this disk.
    log.append([entry(0)], IOFlushed::noop()).await.unwrap();
    state.apply(&[entry(0)]).unwrap();
    assert!(matches!(state.checkpoint(), Err(StateError::Log(_))));
    assert_eq!(state.durable_index(), 0);
    assert_eq!(state.durable_end().load(Ordering::Relaxed), 0);
    store.close();
}

#[tokio::test]
async fn a_closed_state_is_opened_again_where_it_was() {
    let fixture = Fixture::new().await;
    let state = fixture.open().unwrap();
    state.apply(&[entry(0), entry(1)]).unwrap();
    state.close().unwrap();
    assert!(matches!(state.view(), Err(StateError::Failed { .. })));
    let reopened = fixture.open().unwrap();
    assert_eq!(reopened.applied().log_id, Some(entry(1).log_id));
    assert_eq!(reopened.view().unwrap().get(&[2]).unwrap(), Some(vec![1].into()));
}

#[tokio::test]
async fn a_refused_entry_leaves_no_trace_and_stops_the_replica() {
    let fixture = Fixture::new().await;
    let state = fixture.open().unwrap();
    state.apply(&[entry(0)]).unwrap();
    fixture.machine.refuses.store(true, Ordering::Relaxed);
    assert!(matches!(
        state.apply(&[entry(1)]),
        Err(StateError::Apply { index: 1, .. })
    ));
    fixture.machine.refuses.store(false, Ordering::Relaxed);
    assert!(matches!(state.apply(&[entry(1)]), Err(StateError::Failed { .. })));
    assert_eq!(state.view().unwrap().applied_index(), 0);
}

#[tokio::test]
async fn a_state_of_another_replica_is_refused() {
    let fixture = Fixture::new().await;
    drop(fixture.open().unwrap());
    let other = ReplicaKey {
        replica: ReplicaId(5),
        ..key()
    };
    assert!(matches!(fixture.open_as(other), Err(StateError::Owner { .. })));
}

#[tokio::test]
async fn a_file_of_an_earlier_format_is_refused_with_what_to_do() {
    let fixture = Fixture::new().await;
    let state = fixture.open().unwrap();
    state.apply(&[entry(0)]).unwrap();
    state.close().unwrap();
    let path = fixture.directory.path().join("state/1.redb");
    let table = redb::TableDefinition::<&str, &[u8]>::new("raft");
    let database = redb::Database::open(&path).unwrap();
    let write = database.begin_write().unwrap();
    write
        .open_table(table)
        .unwrap()
        .insert("format", [1].as_slice())
        .unwrap();
    write.commit().unwrap();
    drop(database);
    let refused = fixture.open().err().unwrap();
    assert!(matches!(refused, StateError::Format { found: 1, .. }), "{refused}");
    assert!(
        refused.to_string().contains("start the version that wrote it"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_damaged_state_file_is_refused_and_left_as_it_is() {
    let fixture = Fixture::new().await;
    let state = fixture.open().unwrap();
    state.apply(&[entry(0)]).unwrap();
    state.close().unwrap();
    let path = fixture.directory.path().join("state/1.redb");
    let length = std::fs::metadata(&path).unwrap().len() as usize;
    for content in [vec![], vec![0; length], vec![7; 100]] {
        std::fs::write(&path, &content).unwrap();
        assert!(fixture.open().is_err(), "{} bytes", content.len());
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    std::fs::remove_file(&path).unwrap();
    assert!(fixture.open().is_err(), "a missing file is not made anew");
}

#[tokio::test]
async fn a_pair_that_no_snapshot_could_carry_is_refused() {
    struct Huge;
    impl StateMachine for Huge {
        fn apply(&self, store: &mut dyn Write, _: EntryPosition, _: &[u8]) -> Result<Vec<u8>, StoreError> {
            store.put(&[1], &vec![0; 13 << 20])?;
            Ok(Vec::new())
        }
    }
    let fixture = Fixture::new().await;
    let path = fixture.directory.path().join("huge");
    let log = fixture.log.clone();
    let state = ReplicaState::open(
        &path,
        key(),
        FileSettings::of_a_test(),
        Arc::new(Huge),
        log,
        Arc::default(),
    )
    .unwrap();
    assert!(matches!(state.apply(&[entry(0)]), Err(StateError::Apply { .. })));
}
