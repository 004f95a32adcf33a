//! Feeding those who are behind: from memory at once, from the disk at a pace; and how far a log is committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use tokio::time::Instant;

use super::{LogStore, ReplicaLogHandle};
use crate::raft::snapshot::Pace;
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, ReplicaKey};

const ENTRIES: u64 = 10;
const ENTRY_BYTES: usize = 1_000;

fn key() -> ReplicaKey {
    ReplicaKey {
        group: GroupId::Partition(PartitionId(1)),
        replica: ReplicaId(4),
    }
}

fn entry(index: u64) -> Entry {
    let node_id = ReplicaId(4);
    Entry {
        log_id: LogId::new(LeaderId { term: 1, node_id }, index),
        payload: Payload::Normal(Command::from(Bytes::from(vec![0; ENTRY_BYTES]))),
    }
}

/// How long it takes to feed a follower, by the clock of the test, which stands still where nobody waits.
async fn feeding(log: &mut ReplicaLogHandle) -> Duration {
    let begun = Instant::now();
    let mut next = 0;
    while next < ENTRIES {
        next += log.limited_get_log_entries(next, next + 1).await.unwrap().len() as u64;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn entries_from_the_disk_are_paced_and_those_in_memory_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::of_a_test(directory.path(), true);
    let mut log = store.create(key()).await.unwrap().paced_by(Arc::new(Pace::new(1_000)));
    log.append((0..ENTRIES).map(entry), IOFlushed::noop()).await.unwrap();
    assert_eq!(feeding(&mut log).await, Duration::ZERO);
    drop(log);
    tokio::task::spawn_blocking(move || store.close()).await.unwrap();

    let store = LogStore::of_a_test(directory.path(), false);
    let mut log = store.replica(key()).unwrap().paced_by(Arc::new(Pace::new(1_000)));
    // The last one is let through before it is paid for.
    assert!(feeding(&mut log).await >= Duration::from_secs(ENTRIES - 1));
    // What a start re-applies is not for a follower.
    let begun = Instant::now();
    assert_eq!(log.try_get_log_entries(0..ENTRIES).await.unwrap().len() as u64, ENTRIES);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn how_far_a_log_is_committed_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = LogStore::of_a_test(directory.path(), true);
    let mut log = store.create(key()).await.unwrap();
    log.append((0..2).map(entry), IOFlushed::noop()).await.unwrap();
    for index in [0, 1] {
        log.save_committed(Some(entry(index).log_id)).await.unwrap();
        assert_eq!(log.read_committed().await.unwrap(), Some(entry(index).log_id));
    }
    drop(log);
    tokio::task::spawn_blocking(move || store.close()).await.unwrap();
    let store = LogStore::of_a_test(directory.path(), false);
    let committed = store.replica(key()).unwrap().read_committed().await.unwrap();
    assert_eq!(committed, Some(entry(1).log_id));
}
