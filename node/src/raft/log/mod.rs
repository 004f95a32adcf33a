//! The log of this member: one for all groups, one thread that writes it, an index of each replica in memory.
//!
//! Order of writes is the order of calls, votes included; a vote is durable before it is answered, an entry is readable
//! before it is durable; the first failed write ends all writing. A replica id that was retired is refused for ever.

mod committed;
#[cfg(test)]
pub mod crash;
mod disk;
mod index;
#[cfg(test)]
mod index_tests;
#[cfg(test)]
mod oracle;
mod replica;
#[cfg(test)]
mod replica_tests;
mod segments;
mod writer;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, oneshot};

pub use disk::{LogDisk, LogError};
pub use replica::ReplicaLogHandle;
#[cfg(test)]
pub use segments::CrashingFolder;

use self::committed::Committed;
use self::disk::{Found, Row as StoredRow};
use self::index::CacheBudget;
use self::replica::ReplicaLog;
use self::segments::SegmentLog;
use self::writer::{Change, Done, Message, Queued, Writer};
use super::counters::Counters;
use super::fatal::{Fatal, FatalHook};
use super::lock::lock;
use super::room::DiskRoom;
use super::types::{LogId, ReplicaKey};

/// The log's name in the data directory.
pub const LOG_DIRECTORY: &str = "log";
/// Bytes that may wait for the disk; beyond, appends wait. A slow disk slows its groups instead of filling memory.
const QUEUE_BYTES: usize = 64 << 20;
/// What a change without entries costs of it.
const CHANGE_COST: usize = 256;
/// What each replica keeps in memory of its newest entries, even when others took all that is meant for them.
const CACHE_FLOOR_BYTES: usize = 1 << 20;

/// What the writer thread, the handles and the store share.
pub struct Shared {
    disk: Arc<dyn LogDisk>,
    queue: mpsc::Sender<Message>,
    /// Changes that were put into the queue, or are just about to be.
    queued: AtomicU64,
    committed: Mutex<Committed>,
    /// Bytes the queue still takes. Closed when nothing can be written any more.
    budget: Semaphore,
    cache: Arc<CacheBudget>,
    next_sequence: AtomicU64,
    counters: Arc<Counters>,
    failed: OnceLock<String>,
    on_fatal: Mutex<Option<FatalHook>>,
}

impl Shared {
    /// Waits until the queue takes a change of this size; gives the cost to note in it.
    async fn reserve(&self, bytes: usize) -> Result<usize, LogError> {
        let cost = (bytes + CHANGE_COST).min(QUEUE_BYTES);
        let permits = u32::try_from(cost).expect("the queue's bytes fit 32 bits");
        match self.budget.acquire_many(permits).await {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(self.down()),
        }
        Ok(cost)
    }

    fn enqueue(&self, queued: Queued) -> Result<(), LogError> {
        if self.failed.get().is_some() {
            return Err(self.down());
        }
        self.queued.fetch_add(1, Ordering::SeqCst);
        self.queue.send(Message::Change(queued)).map_err(|_| self.down())
    }

    /// Notes how far a log is committed, behind the changes that were queued before.
    fn note_committed(&self, key: ReplicaKey, position: Option<LogId>) -> Result<(), LogError> {
        if self.failed.get().is_some() {
            return Err(self.down());
        }
        let behind = self.queued.load(Ordering::SeqCst);
        lock(&self.committed).note(key, position, behind);
        Ok(())
    }

    fn down(&self) -> LogError {
        match self.failed.get() {
            Some(reason) => LogError::Failed(reason.clone()),
            None => LogError::Closed,
        }
    }

    fn fatal(&self, reason: String) {
        self.budget.close();
        let hook = lock(&self.on_fatal).take();
        if let Some(hook) = hook {
            hook(Fatal(reason));
        }
    }
}

/// The log of this member.
pub struct LogStore {
    shared: Arc<Shared>,
    replicas: Mutex<BTreeMap<ReplicaKey, Arc<ReplicaLog>>>,
    retired: Mutex<BTreeSet<ReplicaKey>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl LogStore {
    /// Opens the log in a directory and rebuilds the index. Blocks.
    pub fn open(
        directory: &Path,
        cache_bytes: usize,
        may_create: bool,
        owner: &str,
        room: Arc<dyn DiskRoom>,
        counters: Arc<Counters>,
        on_fatal: FatalHook,
    ) -> Result<Self, LogError> {
        let disk = SegmentLog::open(&directory.join(LOG_DIRECTORY), may_create, owner, room)?;
        Self::start(Arc::new(disk), cache_bytes, counters, on_fatal)
    }

    /// The log of a test, which fails when its disk does.
    #[cfg(test)]
    pub fn of_a_test(directory: &Path, may_create: bool) -> Self {
        let on_fatal = Box::new(|fatal| panic!("{fatal}"));
        let room = Arc::new(());
        LogStore::open(directory, 1 << 20, may_create, "a test", room, Arc::default(), on_fatal)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts the log on a disk that is open. Blocks while it reads all of it.
    pub fn start(
        disk: Arc<dyn LogDisk>,
        cache_bytes: usize,
        counters: Arc<Counters>,
        on_fatal: FatalHook,
    ) -> Result<Self, LogError> {
        let cache = Arc::new(CacheBudget::new(cache_bytes, CACHE_FLOOR_BYTES));
        let loaded = load(&*disk, &cache)?;
        let (queue, changes) = mpsc::channel();
        let shared = Arc::new(Shared {
            disk,
            queue,
            queued: AtomicU64::new(0),
            committed: Mutex::default(),
            budget: Semaphore::new(QUEUE_BYTES),
            cache,
            next_sequence: AtomicU64::new(loaded.next_sequence),
            counters,
            failed: OnceLock::new(),
            on_fatal: Mutex::new(Some(on_fatal)),
        });
        let writer = Writer::new(shared.clone(), changes, loaded.rows, loaded.doomed);
        let writer = std::thread::Builder::new()
            .name("raft-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| LogError::File {
                path: LOG_DIRECTORY.into(),
                action: "given a writer thread",
                source,
            })?;
        Ok(LogStore {
            shared,
            replicas: Mutex::new(loaded.replicas),
            retired: Mutex::new(loaded.retired),
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Replicas that have a log here.
    pub fn replicas(&self) -> Vec<ReplicaKey> {
        lock(&self.replicas).keys().copied().collect()
    }

    pub fn is_retired(&self, key: ReplicaKey) -> bool {
        lock(&self.retired).contains(&key)
    }

    /// The log of a replica; `None` where it was never created, or is retired.
    pub fn replica(&self, key: ReplicaKey) -> Option<ReplicaLogHandle> {
        let log = lock(&self.replicas).get(&key).cloned()?;
        Some(ReplicaLogHandle::new(self.shared.clone(), log))
    }

    /// Creates the log of a new replica, durably: from now on a state without a log is known to have lost it.
    pub async fn create(&self, key: ReplicaKey) -> Result<ReplicaLogHandle, LogError> {
        if let Some(log) = self.replica(key) {
            return Ok(log);
        }
        self.write(key, Change::Create).await?;
        let log = Arc::new(ReplicaLog::new(key, StoredRow::default(), self.shared.cache.clone()));
        let log = lock(&self.replicas).entry(key).or_insert(log).clone();
        Ok(ReplicaLogHandle::new(self.shared.clone(), log))
    }

    /// Removes a replica's log and remembers, durably, that its id is gone.
    pub async fn retire(&self, key: ReplicaKey) -> Result<(), LogError> {
        let log = lock(&self.replicas).remove(&key);
        let sequences = log.map(|log| lock(&log.state).index.clear()).unwrap_or_default();
        self.write(key, Change::Retire { sequences }).await?;
        lock(&self.retired).insert(key);
        Ok(())
    }

    async fn write(&self, key: ReplicaKey, change: Change) -> Result<(), LogError> {
        let cost = self.shared.reserve(0).await?;
        let (done, result) = reply();
        self.shared.enqueue(Queued {
            key,
            change,
            cost,
            done: Some(done),
        })?;
        result.await.unwrap_or_else(|_| Err(self.shared.down()))
    }

    /// What it takes on the disk.
    pub fn file_bytes(&self) -> u64 {
        self.shared.disk.file_bytes()
    }

    /// Writes what is queued and closes the log. Blocks.
    pub fn close(&self) {
        self.shared.budget.close();
        let _ = self.shared.queue.send(Message::Close);
        let writer = lock(&self.writer).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the log's writer thread panicked");
        }
    }
}

impl Drop for LogStore {
    /// Ends the thread without waiting for it: [`LogStore::close`] is the orderly way.
    fn drop(&mut self) {
        let _ = self.shared.queue.send(Message::Close);
    }
}

fn reply() -> (Done, oneshot::Receiver<Result<(), LogError>>) {
    let (sender, receiver) = oneshot::channel();
    let done = move |result| drop(sender.send(result));
    (Box::new(done), receiver)
}

/// What a start finds on the disk.
struct Loaded {
    replicas: BTreeMap<ReplicaKey, Arc<ReplicaLog>>,
    rows: BTreeMap<ReplicaKey, StoredRow>,
    retired: BTreeSet<ReplicaKey>,
    doomed: VecDeque<u64>,
    next_sequence: u64,
}

fn load(disk: &dyn LogDisk, cache: &Arc<CacheBudget>) -> Result<Loaded, LogError> {
    let Found { rows, retired } = disk.rows()?;
    let new_log =
        |(key, row): (&ReplicaKey, &StoredRow)| (*key, Arc::new(ReplicaLog::new(*key, row.clone(), cache.clone())));
    let replicas: BTreeMap<_, _> = rows.iter().map(new_log).collect();
    let mut doomed = VecDeque::new();
    let mut next_sequence = 0;
    disk.entries(&mut |found| {
        next_sequence = found.sequence + 1;
        match replicas.get(&found.key) {
            Some(log) => log
                .restore(found, &mut doomed)
                .map_err(|gap| disk.damaged(format!("{}: {gap}", found.key))),
            None if retired.contains(&found.key) => {
                doomed.push_back(found.sequence);
                Ok(())
            }
            None => Err(disk.damaged(format!("{} has entries but no vote record", found.key))),
        }
    })?;
    Ok(Loaded {
        replicas,
        rows,
        retired,
        doomed,
        next_sequence,
    })
}
