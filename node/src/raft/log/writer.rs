//! The one thread that writes the log: drains the queue, commits once, completes the callbacks in order.
//!
//! The commit before is the batching window. Where it held many entries, the next waits a moment for as many; else nothing waits on
//! a timer except changes that need not be durable soon.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Shared;
use super::disk::{Batch, LogError, Record, Row};
use super::replica::ReplicaLog;
use crate::raft::lock::lock;
use crate::raft::types::{LogId, ReplicaKey, Vote};

/// Changes of one commit: enough to fill a disk's queue, few enough that the first of them does not wait long.
const MAX_CHANGES: usize = 4_096;
/// Bytes of one commit, for the same reason.
const MAX_COMMIT_BYTES: usize = 16 << 20;
/// Purged entries dropped per commit: a purge drops ten thousand at once, and appends must not wait behind it.
const MAX_DROPS: usize = 4_096;
/// How long a change that is not urgent may wait for company. What it loses in a crash is found again by Raft.
const LAZY_DELAY: Duration = Duration::from_millis(500);

/// Entries of a commit after which as many are expected at once.
const MANY_ENTRIES: usize = 4;
/// A commit waits for those this many times as long as the one before took: so a fast disk makes nobody wait for long, and a slow
/// one is not asked for more than it can do.
const WAITS_OF_A_COMMIT: u32 = 4;
/// The longest that a commit waits for company.
const COMPANY_WITHIN: Duration = Duration::from_millis(1);

/// One change of one replica's log.
pub enum Change {
    Create,
    Append {
        log: Arc<ReplicaLog>,
        records: Vec<Record>,
        /// One past the last record's sequence.
        end: u64,
    },
    Vote {
        log: Arc<ReplicaLog>,
        vote: Vote,
    },
    Truncate {
        sequences: Vec<u64>,
    },
    Purge {
        upto: LogId,
        sequences: Vec<u64>,
    },
    Retire {
        sequences: Vec<u64>,
    },
    /// Changes nothing; done when all before it are durable.
    Barrier,
}

impl Change {
    /// Whether someone waits for it to be durable.
    fn is_urgent(&self) -> bool {
        match self {
            Change::Create | Change::Append { .. } | Change::Vote { .. } | Change::Retire { .. } | Change::Barrier => {
                true
            }
            Change::Truncate { .. } | Change::Purge { .. } => false,
        }
    }
}

/// Called once with what became of a change.
pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// A change in the queue.
pub struct Queued {
    pub key: ReplicaKey,
    pub change: Change,
    /// Bytes of the queue's budget, given back when it is written.
    pub cost: usize,
    pub done: Option<Done>,
}

pub enum Message {
    Change(Queued),
    /// Writes what is left and ends the thread.
    Close,
}

/// The state of the writer thread.
pub struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Message>,
    /// Changes that came.
    received: u64,
    rows: BTreeMap<ReplicaKey, Row>,
    /// Sequences that nothing refers to any more.
    doomed: VecDeque<u64>,
    /// How long the next commit waits for company.
    company_within: Duration,
    closing: bool,
}

impl Writer {
    pub fn new(
        shared: Arc<Shared>,
        queue: Receiver<Message>,
        rows: BTreeMap<ReplicaKey, Row>,
        doomed: VecDeque<u64>,
    ) -> Self {
        Writer {
            shared,
            queue,
            received: 0,
            rows,
            doomed,
            company_within: Duration::ZERO,
            closing: false,
        }
    }

    pub fn run(mut self) {
        while !self.closing {
            let changes = self.gather();
            self.flush(changes);
        }
        self.shared.disk.close();
    }

    /// Waits for work: an urgent change, or enough of the others, or the end of their patience, and of what wakes nobody.
    fn gather(&mut self) -> Vec<Queued> {
        let mut changes = Vec::new();
        let mut bytes = 0;
        let deadline = Instant::now() + LAZY_DELAY;
        let mut urgent = false;
        while changes.len() < MAX_CHANGES && bytes < MAX_COMMIT_BYTES {
            match self.next(urgent, deadline) {
                Next::Change(queued) => {
                    if queued.change.is_urgent() && !urgent {
                        urgent = true;
                        self.wait_for_company();
                    }
                    bytes += queued.cost;
                    self.received += 1;
                    changes.push(queued);
                }
                Next::NothingMore => break,
                Next::Close => {
                    self.closing = true;
                    break;
                }
            }
        }
        changes
    }

    /// Asleep it costs those who come nothing to queue; waiting for each of them would wake this thread as often.
    fn wait_for_company(&self) {
        if !self.company_within.is_zero() {
            std::thread::sleep(self.company_within);
        }
    }

    fn next(&self, urgent: bool, deadline: Instant) -> Next {
        let wait = match urgent {
            true => Duration::ZERO,
            false => deadline.saturating_duration_since(Instant::now()),
        };
        match self.queue.recv_timeout(wait) {
            Ok(message) => Next::from(message),
            Err(RecvTimeoutError::Timeout) => Next::NothingMore,
            Err(RecvTimeoutError::Disconnected) => Next::Close,
        }
    }

    fn flush(&mut self, mut changes: Vec<Queued>) {
        if let Some(reason) = self.shared.failed.get() {
            return fail(changes, reason);
        }
        let batch = self.batch(&mut changes);
        let is_busy = batch.inserts.len() >= MANY_ENTRIES;
        self.company_within = Duration::ZERO;
        if batch == Batch::default() && !self.shared.disk.is_untidy() {
            return self.complete(changes);
        }
        let begun = Instant::now();
        match self.shared.disk.commit(&batch) {
            Ok(()) => {
                if is_busy {
                    self.company_within = (begun.elapsed() * WAITS_OF_A_COMMIT).min(COMPANY_WITHIN);
                }
                if batch.says_something() {
                    self.shared.counters.log_fsync.observe(begun.elapsed());
                    self.count(&batch);
                }
                self.complete(changes);
            }
            Err(error) => self.poison(changes, &error),
        }
    }

    fn batch(&mut self, changes: &mut [Queued]) -> Batch {
        let mut batch = Batch::default();
        let doomed = self.doomed.len().min(MAX_DROPS);
        batch.drops.extend(self.doomed.drain(..doomed));
        for Queued { key, change, .. } in changes {
            self.add(*key, change, &mut batch);
        }
        let committed = lock(&self.shared.committed).take(self.received);
        for (key, position) in committed {
            self.edit(key, &mut batch, |row| row.committed = position);
        }
        batch
    }

    fn add(&mut self, key: ReplicaKey, change: &mut Change, batch: &mut Batch) {
        match change {
            Change::Create => {
                batch.rows.insert(key, self.rows.entry(key).or_default().clone());
            }
            Change::Append { records, .. } if self.rows.contains_key(&key) => batch.inserts.append(records),
            // Its replica is gone.
            Change::Append { .. } => {}
            Change::Vote { vote, .. } => self.edit(key, batch, |row| row.vote = Some(*vote)),
            // At once: an entry of the same index may follow in this very batch.
            Change::Truncate { sequences } => batch.deletes.append(sequences),
            // The position is written now, so it is durable no later than the first deletion.
            Change::Purge { upto, sequences } => {
                self.edit(key, batch, |row| row.purged = row.purged.max(Some(*upto)));
                self.doomed.extend(sequences.drain(..));
            }
            Change::Retire { sequences } => {
                self.rows.remove(&key);
                batch.rows.remove(&key);
                batch.retired.insert(key);
                self.doomed.extend(sequences.drain(..));
            }
            Change::Barrier => {}
        }
    }

    /// A replica that was retired has no row, and late changes of it do not matter.
    fn edit(&mut self, key: ReplicaKey, batch: &mut Batch, edit: impl FnOnce(&mut Row)) {
        if let Some(row) = self.rows.get_mut(&key) {
            edit(row);
            batch.rows.insert(key, row.clone());
        }
    }

    fn count(&self, batch: &Batch) {
        let bytes: usize = batch.inserts.iter().map(|record| record.entry.len()).sum();
        let counters = &self.shared.counters;
        counters.log_commits.fetch_add(1, Ordering::Relaxed);
        counters.log_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// In queue order: what is reported done implies all that was queued before it.
    fn complete(&self, changes: Vec<Queued>) {
        for queued in changes {
            match queued.change {
                Change::Append { log, end, .. } => lock(&log.state).index.durable_before(end),
                Change::Vote { log, vote } => lock(&log.state).vote = Some(vote),
                Change::Create
                | Change::Truncate { .. }
                | Change::Purge { .. }
                | Change::Retire { .. }
                | Change::Barrier => {}
            }
            self.shared.budget.add_permits(queued.cost);
            if let Some(done) = queued.done {
                done(Ok(()));
            }
        }
    }

    /// An fsync that failed must not be tried again: the kernel may have dropped the pages it could not write.
    fn poison(&self, changes: Vec<Queued>, error: &LogError) {
        let reason = chain(error);
        tracing::error!(error = reason, "the raft log cannot be written; this member stops");
        let _ = self.shared.failed.set(reason.clone());
        fail(changes, &reason);
        self.shared.fatal(reason);
    }
}

enum Next {
    Change(Queued),
    NothingMore,
    Close,
}

impl From<Message> for Next {
    fn from(message: Message) -> Self {
        match message {
            Message::Change(queued) => Next::Change(queued),
            Message::Close => Next::Close,
        }
    }
}

/// Budget is not given back: whoever waits for it is told by the closed semaphore.
fn fail(changes: Vec<Queued>, reason: &str) {
    for done in changes.into_iter().filter_map(|queued| queued.done) {
        done(Err(LogError::Failed(reason.to_owned())));
    }
}

/// An error with its causes, for one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
