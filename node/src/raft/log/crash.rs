//! Crashes of the log: the disk dies at any write, keeps what was synced and any part of what was not, and is read again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use proptest::prelude::*;

use super::oracle::Oracle;
use super::segments::{CrashingFolder, SegmentLog};
use super::{LogDisk, LogStore, ReplicaLogHandle};
use crate::raft::counters::Counters;
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, ReplicaKey, TypeConfig, Vote};

/// Newest entries in memory: none, so that entries are read from the disk.
const CACHE_BYTES: usize = 0;
/// So small that a few commits fill one.
const SEGMENT_BYTES: u64 = 4 << 10;

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

/// A log in such a folder.
pub fn open(folder: &CrashingFolder, on_fatal: super::FatalHook) -> LogStore {
    start(Arc::new(SegmentLog::crashing(folder, SEGMENT_BYTES).unwrap()), on_fatal)
}

fn start(disk: Arc<dyn LogDisk>, on_fatal: super::FatalHook) -> LogStore {
    LogStore::start(disk, CACHE_BYTES, Arc::new(Counters::default()), on_fatal).unwrap()
}

async fn crash_and_recover(steps: Vec<Step>, calls: usize, kept: Vec<u8>) {
    let folder = CrashingFolder::default();
    let fatal = Arc::new(AtomicUsize::new(0));
    let seen = fatal.clone();
    let store = open(
        &folder,
        Box::new(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
        }),
    );
    let mut log = store.create(key()).await.unwrap();
    folder.die_after(calls);

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
    let image = folder.after_crash(&kept);
    drop(log);
    store.close();
    // Changes that nobody waits for may be what meets the dead disk, at the close.
    let calls = fatal.load(Ordering::SeqCst);
    assert!(
        calls == 1 || (calls == 0 && !died),
        "the fatal hook was called {calls} times"
    );

    let store = open(&CrashingFolder::holding(image), Box::new(|_| {}));
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
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn whatever_was_acknowledged_is_there_after_a_crash_at_any_write(
        steps in prop::collection::vec(step(), 1..60),
        calls in 0..120usize,
        kept in prop::collection::vec(any::<u8>(), 1..16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(crash_and_recover(steps, calls, kept));
    }
}

#[tokio::test]
async fn a_failed_write_fails_everything_that_waits_and_stops_the_member() {
    let folder = CrashingFolder::default();
    let (sender, fatal) = tokio::sync::oneshot::channel();
    let store = open(&folder, Box::new(move |reason| drop(sender.send(reason))));
    let mut log = store.create(key()).await.unwrap();
    folder.die_after(0);
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

#[tokio::test]
async fn a_log_whose_oldest_segment_is_gone_is_refused() {
    let folder = CrashingFolder::default();
    let store = open(&folder, Box::new(|_| {}));
    let mut log = store.create(key()).await.unwrap();
    for index in 0..20 {
        let (sender, flushed) = TypeConfig::oneshot();
        log.append([entry(1, index)], IOFlushed::signal(sender)).await.unwrap();
        flushed.await.unwrap().unwrap();
    }
    drop(log);
    store.close();
    let mut left = folder.now();
    left.pop_first();
    let disk = SegmentLog::crashing(&CrashingFolder::holding(left), SEGMENT_BYTES).unwrap();
    let started = LogStore::start(Arc::new(disk), CACHE_BYTES, Arc::default(), Box::new(|_| {}));
    let refused = started.err().unwrap().to_string();
    assert!(refused.contains("would have a hole"), "{refused}");
}

/// A group's log on the segments and the same one on the database they are compared with.
async fn compare(groups: Vec<(u8, Option<Step>)>) {
    let folder = CrashingFolder::default();
    let oracle = Arc::new(Oracle::new());
    let fatal = || -> super::FatalHook { Box::new(|fatal| panic!("{fatal}")) };
    let mut stores = [open(&folder, fatal()), start(oracle.clone(), fatal())];
    let mut models = BTreeMap::<u8, Content>::new();
    for (number, (group, step)) in groups.into_iter().enumerate() {
        let key = ReplicaKey {
            group: GroupId::Partition(PartitionId(u32::from(group) + 1)),
            ..key()
        };
        let Some(step) = step else {
            // A start on the same disks.
            stores.iter().for_each(LogStore::close);
            stores = [open(&folder, fatal()), start(oracle.clone(), fatal())];
            continue;
        };
        let mut contents = Vec::new();
        let before = models.entry(group).or_default().clone();
        for store in &stores {
            let mut log = store.create(key).await.unwrap();
            let mut model = before.clone();
            take(step, number as u64 + 1, &mut model, &mut log).await.unwrap();
            contents.push(Content::of(&mut log).await);
            assert_eq!(contents[0], model);
            models.insert(group, model);
        }
        assert_eq!(contents[0], contents[1]);
    }
    stores.iter().for_each(LogStore::close);
    let stores = [open(&folder, fatal()), start(oracle, fatal())];
    for (group, model) in models {
        let key = ReplicaKey {
            group: GroupId::Partition(PartitionId(u32::from(group) + 1)),
            ..key()
        };
        for store in &stores {
            assert_eq!(Content::of(&mut store.replica(key).unwrap()).await, model);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn segments_hold_what_a_database_holds(
        steps in prop::collection::vec((0..3u8, prop_oneof![12 => step().prop_map(Some), 1 => Just(None)]), 1..150),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(steps));
    }
}
