//! The gateway's side of a transaction: snapshot, reads, and the commit by one phase or two.
//!
//! The order of the steps is the protocol's: prepare everywhere but at the primary, then send it the commit, whose timestamp it
//! takes after that; it refreshes what was only read and commits in one phase; only then is the client told. What is told is true: "aborted" only where the
//! commit was never sent or the primary's log says so, else the outcome is called unknown.

mod commit;
mod here;
mod lanes;
mod read;
mod resolve;
mod shared;
mod unchanged;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kotoba_state::ids::{MemberId, PartitionId, Timestamp};
use kotoba_state::partition::{Condition, Key, Op, Resolved, Span, TxnHead, TxnId};
use tokio::sync::{Semaphore, mpsc};

use here::Behind;
pub use here::Here;
pub use read::{MAX_TRANSACTION_BYTES, ReadFrom, span_of};
use resolve::MAX_FORGOTTEN;
pub use resolve::by_partition;
use shared::SharedCommits;

use super::avoided::Avoided;
use super::boundary::{CallError, Partitions, Timestamps};
use super::outcomes::Outcomes;
use super::under_way::UnderWay;
use crate::clock::WallClock;

/// From when on anyone may roll back a transaction, whatever its coordinator says. Only liveness hangs on it.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Transactions whose secondaries are resolved in the background at once; beyond that, readers do it as they meet them.
const MAX_RESOLVING: usize = 1_024;

/// Coordinates the transactions of one member.
pub struct Coordinator {
    member: MemberId,
    incarnation: u64,
    counter: AtomicU64,
    timestamps: Arc<dyn Timestamps>,
    partitions: Arc<dyn Partitions>,
    clock: Arc<dyn WallClock>,
    resolving: Arc<Semaphore>,
    forgetting: mpsc::Sender<(PartitionId, Resolved)>,
    outcomes: Outcomes,
    under_way: Arc<UnderWay>,
    shared: SharedCommits,
    /// Reads at timestamps that were not taken for them, after one had met a change.
    changed: Avoided,
    behind: Behind,
    /// Reads in place, after one had to wait for the disk.
    slow_here: Avoided,
}

/// A read did not get its answer; nothing is changed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("a partition did not answer: {0}")]
    Unavailable(String),
    #[error("the snapshot is older than the versions that are kept: begin again")]
    TooOld,
    /// Or may have, and that could not be known without waiting.
    #[error("what is read has changed since the snapshot: take another")]
    Changed,
    #[error("one step of reading takes more than {limit} bytes: narrow it down")]
    TooMuch { limit: usize },
    #[error("a partition failed: {0}")]
    Broken(String),
}

/// A transaction did not commit, or nobody can say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was applied: run the whole transaction again.
    #[error("conflict with another transaction: {0}")]
    Conflict(String),
    /// Nothing was applied.
    #[error("a condition does not hold")]
    ConditionFailed(Key),
    /// Nothing was applied.
    #[error("a partition did not answer: {0}")]
    Unavailable(String),
    /// Nothing was applied.
    #[error("{0}")]
    TooLarge(String),
    /// Nothing was applied.
    #[error("{0}")]
    DiskFull(String),
    #[error("the commit was sent and its outcome could not be learnt: {0}")]
    UnknownOutcome(String),
    #[error("a partition failed: {0}")]
    Broken(String),
}

impl CommitError {
    /// It may be tried again without a doubt.
    pub fn applied_nothing(&self) -> bool {
        match self {
            CommitError::Conflict(_)
            | CommitError::ConditionFailed(_)
            | CommitError::Unavailable(_)
            | CommitError::TooLarge(_)
            | CommitError::DiskFull(_) => true,
            CommitError::UnknownOutcome(_) | CommitError::Broken(_) => false,
        }
    }
}

/// The writes of a transaction, and what must hold when it commits besides its reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    pub writes: BTreeMap<Key, Op>,
    pub conditions: Vec<Condition>,
}

impl Writes {
    /// Of all keys and values.
    pub fn size_bytes(&self) -> usize {
        let required = self.conditions.iter().map(|condition| condition.key.len());
        let written = self.writes.iter().map(|(key, op)| key.len() + op.size_bytes());
        required.chain(written).sum()
    }
}

/// When a commit is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Acknowledgement {
    /// A majority has it on disk.
    ByMajority,
    /// Where one partition alone takes part, and nothing is in the way: its leader has it on disk. The commit is lost where
    /// that leader is before a majority has it.
    ByLeader,
}

/// A transaction under way.
pub struct Transaction<'a> {
    coordinator: &'a Coordinator,
    acknowledgement: Acknowledgement,
    id: TxnId,
    start: Option<Timestamp>,
    spans: Vec<Span>,
}

impl Coordinator {
    /// `incarnation` is of this start of the process, so that no transaction id is used twice. Must be called inside a runtime.
    pub fn new(
        member: MemberId,
        incarnation: u64,
        timestamps: Arc<dyn Timestamps>,
        partitions: Arc<dyn Partitions>,
        under_way: Arc<UnderWay>,
        clock: Arc<dyn WallClock>,
    ) -> Self {
        let (forgetting, resolved) = mpsc::channel(MAX_FORGOTTEN);
        tokio::spawn(resolve::forget(partitions.clone(), resolved));
        Coordinator {
            member,
            incarnation,
            counter: AtomicU64::new(0),
            timestamps,
            partitions,
            clock,
            resolving: Arc::new(Semaphore::new(MAX_RESOLVING)),
            forgetting,
            outcomes: Outcomes::default(),
            under_way,
            shared: SharedCommits::default(),
            changed: Avoided::default(),
            behind: Behind::default(),
            slow_here: Avoided::default(),
        }
    }

    /// Begins a transaction; its snapshot is taken when it first reads.
    pub fn begin(&self) -> Transaction<'_> {
        self.begin_to_be_told(Acknowledgement::ByMajority)
    }

    /// As [`Coordinator::begin`], for a client that may be told of the commit early.
    pub fn begin_to_be_told(&self, acknowledgement: Acknowledgement) -> Transaction<'_> {
        Transaction {
            coordinator: self,
            acknowledgement,
            id: TxnId {
                member: self.member,
                incarnation: self.incarnation,
                counter: self.counter.fetch_add(1, Ordering::Relaxed),
            },
            start: None,
            spans: Vec::new(),
        }
    }

    /// A timestamp that was issued, the largest that is known here; zero where none was of late.
    pub fn known_issued(&self) -> Timestamp {
        self.timestamps.recent().unwrap_or_default()
    }

    /// How its transactions ended.
    pub fn outcomes(&self) -> &Outcomes {
        &self.outcomes
    }

    pub fn partition_of(&self, slot: u16) -> PartitionId {
        self.partitions.partition_of(slot)
    }

    async fn timestamp(&self) -> Result<Timestamp, String> {
        self.timestamps.take().await.map_err(|error| error.to_string())
    }

    async fn timestamp_to_read(&self) -> Result<Timestamp, String> {
        self.timestamps.take_to_read().await.map_err(|error| error.to_string())
    }
}

impl Transaction<'_> {
    /// The timestamp that the transaction reads at; taken now if none was yet.
    pub async fn snapshot(&mut self) -> Result<Timestamp, ReadError> {
        match self.start {
            Some(start) => Ok(start),
            None => {
                // What is read there is asked for again at the commit's timestamp.
                let start = self
                    .coordinator
                    .timestamp_to_read()
                    .await
                    .map_err(ReadError::Unavailable)?;
                Ok(*self.start.insert(start))
            }
        }
    }

    /// Where a transaction has read nothing, any issued timestamp that is not too old will do as its start: the only
    /// price of an older one is a false conflict on keys that were written since, and fresh keys have none.
    async fn start_for_writing(&mut self) -> Result<Timestamp, CommitError> {
        if self.start.is_none() {
            self.start = self.coordinator.timestamps.recent();
        }
        self.snapshot()
            .await
            .map_err(|error| CommitError::Unavailable(error.to_string()))
    }

    fn head(&self, start_ts: Timestamp, primary: Key) -> TxnHead {
        let deadline_ms = self.coordinator.clock.now_ms() + u64::try_from(DEADLINE.as_millis()).unwrap_or(u64::MAX);
        TxnHead {
            txn: self.id,
            start_ts,
            primary,
            deadline_ms,
        }
    }
}

impl From<CallError> for ReadError {
    fn from(error: CallError) -> Self {
        use super::message::Failure;
        match error {
            CallError::Failed(Failure::TooOld) => ReadError::TooOld,
            CallError::Failed(Failure::Broken(cause)) => ReadError::Broken(cause),
            CallError::Failed(failure) => ReadError::Unavailable(failure.to_string()),
            // A read that may have been done is a read that may be done again.
            CallError::Unavailable(cause) | CallError::Unknown(cause) => ReadError::Unavailable(cause),
        }
    }
}
