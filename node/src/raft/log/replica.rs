//! The log of one replica, as openraft drives it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use super::disk::{FoundEntry, LogError, Record, Row};
use super::index::{CacheBudget, Gap, LogIndex, Selection};
use super::writer::{Change, Done, Queued};
use super::{Shared, reply};
use crate::raft::codec;
use crate::raft::lock::lock;
use crate::raft::snapshot::Pace;
use crate::raft::types::{Entry, LogId, Payload, ReplicaKey, TypeConfig, Vote, Witness};

/// Bytes of entries in one replication request, or in one step of re-applying: big enough to use a link, small enough for
/// the message limit and for memory times groups.
const READ_BYTES: usize = 2 << 20;

/// What is in memory of one replica's log.
pub struct ReplicaLog {
    pub key: ReplicaKey,
    pub state: Mutex<Volatile>,
}

pub struct Volatile {
    pub index: LogIndex,
    /// The last vote that is on disk.
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
}

impl ReplicaLog {
    pub fn new(key: ReplicaKey, row: Row, cache: Arc<CacheBudget>) -> Self {
        let state = Volatile {
            index: LogIndex::new(row.purged, cache),
            vote: row.vote,
            committed: row.committed,
        };
        ReplicaLog {
            key,
            state: Mutex::new(state),
        }
    }

    /// Takes an entry found on disk; one that was purged is doomed instead.
    pub fn restore(&self, found: FoundEntry, doomed: &mut VecDeque<u64>) -> Result<(), Gap> {
        let mut state = lock(&self.state);
        match state.index.purged() {
            Some(purged) if found.log_id.index() <= purged.index() => {
                doomed.push_back(found.sequence);
                Ok(())
            }
            purged => {
                let first = purged.map_or(0, |purged| purged.index() + 1);
                state.index.restore(first, found)
            }
        }
    }
}

/// A handle on one replica's log; clones share it.
#[derive(Clone)]
pub struct ReplicaLogHandle {
    shared: Arc<Shared>,
    log: Arc<ReplicaLog>,
    /// State up to below this index is durable, so the log may forget it. `None` where no state watches over it.
    durable_state: Option<Arc<AtomicU64>>,
    /// What followers are fed from the disk takes its bytes from here. `None` where it may be as fast as it can.
    pace: Option<Arc<Pace>>,
}

impl ReplicaLogHandle {
    pub fn new(shared: Arc<Shared>, log: Arc<ReplicaLog>) -> Self {
        ReplicaLogHandle {
            shared,
            log,
            durable_state: None,
            pace: None,
        }
    }

    /// Refuses, from now on, to purge what the state has not made durable.
    pub fn guarded_by(mut self, durable_state: Arc<AtomicU64>) -> Self {
        self.durable_state = Some(durable_state);
        self
    }

    /// Bounds, from now on, how fast followers that are behind are fed from the disk.
    pub fn paced_by(mut self, pace: Arc<Pace>) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Whether the log was ever purged, so that a state from nothing cannot follow from it.
    pub fn is_purged(&self) -> bool {
        lock(&self.log.state).index.purged().is_some()
    }

    /// Whether a vote is on disk: this replica was there before.
    pub fn has_voted(&self) -> bool {
        self.vote().is_some()
    }

    /// The vote that is on disk.
    pub fn vote(&self) -> Option<Vote> {
        lock(&self.log.state).vote
    }

    /// Makes room for a state as of a committed entry: drops, durably, what contradicts that entry. False where the log was
    /// purged beyond it, so that such a state could not follow.
    pub async fn make_room_for(&mut self, committed: LogId) -> io::Result<bool> {
        let (purged, contradicts) = {
            let index = &lock(&self.log.state).index;
            (index.purged(), index.contradicts(committed))
        };
        if purged.is_some_and(|purged| purged.index() > committed.index()) {
            return Ok(false);
        }
        if contradicts {
            let before = committed.index().checked_sub(1);
            // Only its index matters to what is dropped.
            let before = before.map(|index| LogId::new(*committed.committed_leader_id(), index));
            self.truncate_after(before).await?;
        }
        let log = self.clone();
        tokio::task::spawn_blocking(move || log.wait_durable())
            .await
            .map_err(io::Error::other)??;
        Ok(true)
    }

    /// Of the last entry; of the last that went, where none is here.
    pub fn last_index(&self) -> Option<u64> {
        lock(&self.log.state).index.last().map(|log_id| log_id.index())
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> usize {
        lock(&self.log.state).index.bytes()
    }

    /// Bytes of the entries up to this one.
    pub fn bytes_up_to(&self, index: u64) -> usize {
        lock(&self.log.state).index.bytes_up_to(index)
    }

    /// The last of the entries that may go so that at most `kept_bytes` stay; none until half as many again are here.
    pub fn beyond(&self, kept_bytes: usize) -> Option<u64> {
        lock(&self.log.state).index.beyond(kept_bytes)
    }

    /// Bytes of entries this replica holds in memory.
    pub fn cached_bytes(&self) -> usize {
        lock(&self.log.state).index.cached_bytes()
    }

    /// Waits until everything appended before is durable. Blocks.
    pub fn wait_durable(&self) -> Result<(), LogError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.shared.enqueue(Queued {
            key: self.log.key,
            change: Change::Barrier,
            cost: 0,
            done: Some(Box::new(move |result| drop(sender.send(result)))),
        })?;
        receiver.recv().unwrap_or_else(|_| Err(self.shared.down()))
    }

    async fn enqueue_lazily(&self, change: impl FnOnce(&mut LogIndex) -> Change) -> io::Result<()> {
        let cost = self.shared.reserve(0).await?;
        let mut state = lock(&self.log.state);
        let change = change(&mut state.index);
        Ok(self.enqueue(change, cost, None)?)
    }

    /// Call it with the index locked, where the index changed: the file must see the changes in the same order.
    fn enqueue(&self, change: Change, cost: usize, done: Option<Done>) -> Result<(), LogError> {
        self.shared.enqueue(Queued {
            key: self.log.key,
            change,
            cost,
            done,
        })
    }

    async fn read(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<Entry>> {
        Ok(self.read_counted(range, limit).await?.0)
    }

    /// Entries, and the bytes of those that came from the disk.
    async fn read_counted(&self, range: Range<u64>, limit: usize) -> io::Result<(Vec<Entry>, usize)> {
        let selection = lock(&self.log.state).index.select(range.clone(), limit);
        if selection.cold.is_empty() {
            return Ok((selection.warm, 0));
        }
        let log = self.clone();
        tokio::task::spawn_blocking(move || log.read_cold(range, limit))
            .await
            .map_err(io::Error::other)?
    }

    /// The view is pinned while the index is locked, so that no entry of the selection can be deleted from it.
    fn read_cold(&self, range: Range<u64>, limit: usize) -> io::Result<(Vec<Entry>, usize)> {
        let (selection, mut pinned) = {
            let state = lock(&self.log.state);
            let selection = state.index.select(range, limit);
            let sequences: Vec<u64> = selection.cold.iter().map(|(_, sequence)| *sequence).collect();
            let pinned = self.shared.disk.pin(&sequences)?;
            (selection, pinned)
        };
        let Selection { cold, warm } = selection;
        let mut entries = Vec::with_capacity(cold.len() + warm.len());
        let mut cold_bytes = 0;
        for (log_id, sequence) in cold {
            let missing = || {
                self.shared
                    .disk
                    .damaged(format!("entry {log_id} of {} is missing", self.log.key))
            };
            let bytes = pinned.read(sequence)?.ok_or_else(missing)?;
            cold_bytes += bytes.len();
            let entry: Entry = codec::from_bytes(&bytes)?;
            if entry.log_id != log_id {
                return Err(missing().into());
            }
            entries.push(entry);
        }
        entries.extend(warm);
        Ok((entries, cold_bytes))
    }
}

impl RaftLogReader<TypeConfig> for ReplicaLogHandle {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.read(half_open(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(lock(&self.log.state).vote)
    }

    /// Nothing, where the range begins below the purge position: later entries would make a hole at the follower.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if lock(&self.log.state).index.is_purged(start) {
            return Ok(Vec::new());
        }
        let (entries, cold_bytes) = self.read_counted(start..end, READ_BYTES).await?;
        if let Some(pace) = &self.pace {
            pace.take(cold_bytes).await;
        }
        Ok(entries)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        let chunks = futures::stream::unfold(half_open(&range), move |left| {
            let log = log.clone();
            async move {
                if left.is_empty() {
                    return None;
                }
                match log.read(left.clone(), READ_BYTES).await {
                    Ok(entries) => {
                        let next = entries.last().map_or(left.end, |last| last.log_id.index() + 1);
                        let entries = entries.into_iter().map(Ok).collect::<Vec<_>>();
                        Some((entries, next..left.end))
                    }
                    Err(error) => Some((vec![Err(error)], left.end..left.end)),
                }
            }
        });
        Box::pin(futures::StreamExt::flat_map(chunks, futures::stream::iter))
    }

    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> io::Result<Vec<LogId>> {
        Ok(lock(&self.log.state).index.key_log_ids(&range))
    }
}

impl RaftLogStorage<TypeConfig> for ReplicaLogHandle {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = lock(&self.log.state);
        Ok(LogState {
            last_purged_log_id: state.index.purged(),
            last_log_id: state.index.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let cost = self.shared.reserve(0).await?;
        let (done, result) = reply();
        let change = Change::Vote {
            log: self.log.clone(),
            vote: *vote,
        };
        self.enqueue(change, cost, Some(done))?;
        Ok(result.await.unwrap_or_else(|_| Err(self.shared.down()))?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        lock(&self.log.state).committed = committed;
        Ok(self.shared.note_committed(self.log.key, committed)?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(lock(&self.log.state).committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let encode = |entry: Entry| {
            let bytes = codec::to_bytes(&entry);
            (entry, bytes)
        };
        let entries: Vec<_> = entries.into_iter().map(encode).collect();
        let witnesses: Vec<Witness> = entries.iter().filter_map(|(entry, _)| witness(entry)).collect();
        let cost = self
            .shared
            .reserve(entries.iter().map(|(_, bytes)| bytes.len()).sum())
            .await?;
        let mut state = lock(&self.log.state);
        let end = self
            .shared
            .next_sequence
            .fetch_add(entries.len() as u64, Ordering::Relaxed)
            + entries.len() as u64;
        let mut records = Vec::with_capacity(entries.len());
        for (sequence, (entry, bytes)) in (end - entries.len() as u64..).zip(entries) {
            state
                .index
                .push(entry, sequence, bytes.len())
                .map_err(io::Error::other)?;
            records.push(Record {
                sequence,
                key: self.log.key,
                entry: bytes,
            });
        }
        let log = self.log.clone();
        let done = move |result: Result<(), LogError>| {
            if result.is_ok() {
                witnesses.iter().for_each(Witness::tell);
            }
            callback.io_completed(result.map_err(io::Error::from));
        };
        Ok(self.enqueue(Change::Append { log, records, end }, cost, Some(Box::new(done)))?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let truncate = |index: &mut LogIndex| Change::Truncate {
            sequences: index.truncate_after(last_log_id),
        };
        self.enqueue_lazily(truncate).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        if let Some(durable_state) = &self.durable_state {
            let durable = durable_state.load(Ordering::Acquire);
            // openraft purges only what a snapshot covers, and a snapshot is durable: this is a bug, not a fault.
            assert!(
                upto.index() < durable,
                "{}: asked to purge the log up to {upto}, but state is durable only below {durable}",
                self.log.key
            );
        }
        let purge = |index: &mut LogIndex| Change::Purge {
            upto,
            sequences: index.purge(upto),
        };
        self.enqueue_lazily(purge).await
    }
}

/// Who wants to hear that an entry is on disk.
fn witness(entry: &Entry) -> Option<Witness> {
    match &entry.payload {
        Payload::Normal(command) => command.witness.clone(),
        Payload::Blank | Payload::Membership(_) => None,
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}
