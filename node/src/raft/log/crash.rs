//! Crashes of the log: the disk dies at any write, keeps what was synced and any part of what was not, and is read again.

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use proptest::prelude::*;
use redb::StorageBackend;

use super::{LogFile, LogStore, ReplicaLogHandle};
use crate::raft::counters::Counters;
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, ReplicaKey, TypeConfig, Vote};

/// Cache of the files of these tests: small, so that entries are read from the disk too.
const CACHE_BYTES: usize = 256 << 10;

#[derive(Clone, Debug)]
pub enum Unsynced {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

/// A disk in memory that knows what is synced, and can die.
#[derive(Debug, Default)]
pub struct Disk {
    synced: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// Calls that still succeed; `None`: all.
    calls_left: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub struct CrashingBackend(Arc<Mutex<Disk>>);

impl CrashingBackend {
    fn holding(content: Vec<u8>) -> Self {
        let disk = Disk {
            synced: content.clone(),
            now: content,
            ..Disk::default()
        };
        CrashingBackend(Arc::new(Mutex::new(disk)))
    }

    pub fn die_after(&self, calls: usize) {
        self.0.lock().unwrap().calls_left = Some(calls);
    }

    /// What is on the disk after a loss of power: of the unsynced writes, those that `kept` picks, perhaps torn.
    fn after_crash(&self, kept: &[u8]) -> Vec<u8> {
        let disk = self.0.lock().unwrap();
        let mut content = disk.synced.clone();
        for (number, change) in disk.unsynced.iter().enumerate() {
            match (change, kept[number % kept.len()] % 3) {
                (Unsynced::Length(length), _) => content.resize((*length).max(content.len()), 0),
                (Unsynced::Write { .. }, 0) => {}
                (Unsynced::Write { offset, data }, 1) => put(&mut content, *offset, data),
                (Unsynced::Write { offset, data }, _torn) => put(&mut content, *offset, &data[..data.len() / 2]),
            }
        }
        content
    }

    fn change(&self, change: impl FnOnce(&mut Disk)) -> Result<(), std::io::Error> {
        let mut disk = self.0.lock().unwrap();
        match &mut disk.calls_left {
            Some(0) => return Err(std::io::Error::other("the disk is dead")),
            Some(left) => *left -= 1,
            None => {}
        }
        change(&mut disk);
        Ok(())
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

impl StorageBackend for CrashingBackend {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let disk = self.0.lock().unwrap();
        let source = disk.now.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(source.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), std::io::Error> {
        self.change(|disk| {
            disk.now.resize(length as usize, 0);
            disk.unsynced.push(Unsynced::Length(length as usize));
        })
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.change(|disk| {
            disk.synced = disk.now.clone();
            disk.unsynced.clear();
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.change(|disk| {
            put(&mut disk.now, offset as usize, data);
            disk.unsynced.push(Unsynced::Write {
                offset: offset as usize,
                data: data.to_vec(),
            });
        })
    }
}

fn key() -> ReplicaKey {
    ReplicaKey {
        group: GroupId::Partition(PartitionId(1)),
        replica: ReplicaId(5),
    }
}

fn log_id(term: u64, index: u64) -> LogId {
    let node_id = ReplicaId(5);
    LogId::new(LeaderId { term, node_id }, index)
}

fn entry(term: u64, index: u64) -> Entry {
    Entry {
        log_id: log_id(term, index),
        payload: Payload::Normal(Command::from(Bytes::from(vec![
            term as u8;
            40 + (index as usize * 37) % 300
        ]))),
    }
}

/// What the log holds, as a reader sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    vote: Option<Vote>,
    purged: Option<LogId>,
    entries: Vec<Entry>,
}

impl Content {
    async fn of(log: &mut ReplicaLogHandle) -> Self {
        Content {
            vote: log.read_vote().await.unwrap(),
            purged: log.get_log_state().await.unwrap().last_purged_log_id,
            entries: log.try_get_log_entries(0..u64::MAX).await.unwrap(),
        }
    }

    fn next_index(&self) -> u64 {
        let last = self.entries.last().map(|entry| entry.log_id).or(self.purged);
        last.map_or(0, |last| last.index() + 1)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append(u64),
    Vote,
    /// Drops up to so many of the last entries.
    Truncate(u64),
    /// Drops up to so many of the first.
    Purge(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..8u64).prop_map(Step::Append),
        1 => Just(Step::Vote),
        1 => (1..5u64).prop_map(Step::Truncate),
        1 => (1..6u64).prop_map(Step::Purge),
    ]
}

/// Takes a step on the log and on the model; tells whether it is acknowledged as durable, or the disk's error.
async fn take(step: Step, term: u64, model: &mut Content, log: &mut ReplicaLogHandle) -> std::io::Result<bool> {
    match step {
        Step::Append(count) => {
            let first = model.next_index();
            let entries: Vec<_> = (first..first + count).map(|index| entry(term, index)).collect();
            model.entries.extend(entries.clone());
            let (sender, flushed) = TypeConfig::oneshot();
            log.append(entries, IOFlushed::signal(sender)).await?;
            flushed.await.map_err(std::io::Error::other)??;
            Ok(true)
        }
        Step::Vote => {
            let vote = Vote::new(term, ReplicaId(5));
            model.vote = Some(vote);
            log.save_vote(&vote).await?;
            Ok(true)
        }
        Step::Truncate(count) => {
            let keep = model.entries.len().saturating_sub(count as usize);
            model.entries.truncate(keep);
            let last = model.entries.last().map(|entry| entry.log_id).or(model.purged);
            log.truncate_after(last).await?;
            Ok(false)
        }
        Step::Purge(count) => {
            let Some(upto) = model.entries.get(count as usize - 1).map(|entry| entry.log_id) else {
                return Ok(false);
            };
            model.entries.drain(..count as usize);
            model.purged = Some(upto);
            log.purge(upto).await?;
            Ok(false)
        }
    }
}

/// A log on such a disk.
pub fn open(backend: CrashingBackend, on_fatal: super::FatalHook) -> LogStore {
    let file = LogFile::on_backend("log".as_ref(), backend, CACHE_BYTES).unwrap();
    LogStore::start(Arc::new(file), Arc::new(Counters::default()), on_fatal).unwrap()
}

async fn crash_and_recover(steps: Vec<Step>, calls: usize, kept: Vec<u8>) {
    let backend = CrashingBackend::default();
    let fatal = Arc::new(AtomicUsize::new(0));
    let seen = fatal.clone();
    let store = open(
        backend.clone(),
        Box::new(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
        }),
    );
    let mut log = store.create(key()).await.unwrap();
    backend.die_after(calls);

    let mut model = Content::default();
    let mut history = vec![model.clone()];
    let mut acknowledged = 0;
    let mut died = false;
    for (number, step) in steps.into_iter().enumerate() {
        let result = take(step, number as u64 + 1, &mut model, &mut log).await;
        history.push(model.clone());
        match result {
            Ok(true) => acknowledged = history.len() - 1,
            Ok(false) => {}
            Err(_) => {
                died = true;
                break;
            }
        }
    }
    if died {
        let again = log.save_vote(&Vote::new(99, ReplicaId(5))).await;
        assert!(again.is_err(), "a disk that failed is not written to again");
    }
    let image = backend.after_crash(&kept);
    drop(log);
    store.close();
    // Changes that nobody waits for may be what meets the dead disk, at the close.
    let calls = fatal.load(Ordering::SeqCst);
    assert!(
        calls == 1 || (calls == 0 && !died),
        "the fatal hook was called {calls} times"
    );

    let store = open(CrashingBackend::holding(image), Box::new(|_| {}));
    let mut log = store.replica(key()).expect("the replica was created durably");
    let recovered = Content::of(&mut log).await;
    let possible = &history[acknowledged..];
    assert!(
        possible.contains(&recovered),
        "recovered {recovered:?}, acknowledged {:?}",
        history[acknowledged]
    );
    store.close();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_was_acknowledged_is_there_after_a_crash_at_any_write(
        steps in prop::collection::vec(step(), 1..30),
        calls in 0..250usize,
        kept in prop::collection::vec(any::<u8>(), 1..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(crash_and_recover(steps, calls, kept));
    }
}

#[tokio::test]
async fn a_failed_write_fails_everything_that_waits_and_stops_the_member() {
    let backend = CrashingBackend::default();
    let (sender, fatal) = tokio::sync::oneshot::channel();
    let store = open(backend.clone(), Box::new(move |reason| drop(sender.send(reason))));
    let mut log = store.create(key()).await.unwrap();
    backend.die_after(0);
    let mut waiting = Vec::new();
    for index in 0..5 {
        let (sender, flushed) = TypeConfig::oneshot();
        // Once the log has failed, the append itself is refused.
        if log.append([entry(1, index)], IOFlushed::signal(sender)).await.is_ok() {
            waiting.push(flushed);
        }
    }
    assert!(!waiting.is_empty());
    for flushed in waiting {
        assert!(flushed.await.unwrap().is_err());
    }
    let reason = fatal.await.unwrap().to_string();
    assert!(reason.contains("the disk is dead"), "{reason}");
    assert!(log.wait_durable().is_err());
    assert!(
        store
            .create(ReplicaKey {
                replica: ReplicaId(6),
                ..key()
            })
            .await
            .is_err()
    );
    store.close();
}
