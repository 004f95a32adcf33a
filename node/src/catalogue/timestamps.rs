//! Where this member's transactions get their timestamps: from the oracle, one round trip for all that wait.
//!
//! A batch serves only requests that were waiting when it was asked for. Timestamps kept for later requests would be
//! older than commits those requests must see (reference: the protocol's hole 12), so nothing is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kotoba_proto::v1::TakeTimestampsRequest;
use kotoba_state::ids::{MemberId, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::client::MetaClient;
use super::oracle::{MAX_PER_REQUEST, Oracle, Proof};
use super::votes::{self, Votes};
use crate::peer::clients::PeerClients;
use crate::transaction::{CallError, Timestamps};

/// Requests that may wait at once; beyond that the member is overloaded and says so.
const MAX_WAITING: usize = 16_384;
/// A batch that nobody answers fails after this; the transactions behind it may be tried again.
const GIVE_UP_AFTER: Duration = Duration::from_secs(8);
/// A timestamp this old still starts a transaction that only writes; far below what the floors keep.
const RECENT: Duration = Duration::from_secs(10);

/// No timestamp could be had; nothing was issued to the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    #[error("no leader of the meta group gave a timestamp within {GIVE_UP_AFTER:?}")]
    NoLeader,
    #[error("too many transactions wait for timestamps on this member")]
    Busy,
}

type Answer = oneshot::Sender<Result<Timestamp, TimestampError>>;

/// This member's source of timestamps.
#[derive(Clone)]
pub struct TimestampSource {
    oracle: Oracle,
    to_write: mpsc::Sender<Answer>,
    to_read: mpsc::Sender<Answer>,
    latest: Arc<Latest>,
}

/// The newest timestamp had, and when.
struct Latest {
    timestamp: AtomicU64,
    /// Milliseconds from `started` to when it was had.
    at_ms: AtomicU64,
    started: Instant,
}

impl TimestampSource {
    /// Starts the batching tasks; they end when the last handle is dropped.
    pub fn start(oracle: Oracle, meta: MetaClient, peers: Arc<PeerClients>) -> Self {
        let latest = Arc::new(Latest {
            timestamp: AtomicU64::new(0),
            at_ms: AtomicU64::new(0),
            started: Instant::now(),
        });
        let votes = Votes::new(meta.clone(), peers.clone());
        let start = |to_read| {
            let (requests, waiting) = mpsc::channel(MAX_WAITING);
            let taker = Taker {
                oracle: oracle.clone(),
                to_read,
                meta: meta.clone(),
                votes: votes.clone(),
                peers: peers.clone(),
                latest: latest.clone(),
            };
            tokio::spawn(taker.run(waiting));
            requests
        };
        TimestampSource {
            to_write: start(false),
            to_read: start(true),
            oracle,
            latest,
        }
    }
}

async fn take_from(requests: &mpsc::Sender<Answer>) -> Result<Timestamp, CallError> {
    let (answer, answered) = oneshot::channel();
    let taken = match requests.try_send(answer) {
        Ok(()) => answered.await.unwrap_or(Err(TimestampError::NoLeader)),
        Err(_) => Err(TimestampError::Busy),
    };
    taken.map_err(|error| CallError::Unavailable(error.to_string()))
}

impl Latest {
    fn note(&self, last: Timestamp) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now, Ordering::Release);
        self.timestamp.fetch_max(last.0, Ordering::AcqRel);
    }

    /// The newest timestamp, if it was had within [`RECENT`].
    fn recent(&self) -> Option<Timestamp> {
        let timestamp = Timestamp(self.timestamp.load(Ordering::Acquire));
        let had = Duration::from_millis(self.at_ms.load(Ordering::Acquire));
        let fresh = self.started.elapsed().saturating_sub(had) < RECENT;
        (timestamp.0 > 0 && fresh).then_some(timestamp)
    }
}

#[async_trait]
impl Timestamps for TimestampSource {
    async fn take(&self) -> Result<Timestamp, CallError> {
        take_from(&self.to_write).await
    }

    async fn take_to_read(&self) -> Result<Timestamp, CallError> {
        match self.oracle.take_at_once(1, Proof::Lease) {
            Some(timestamp) => {
                self.latest.note(timestamp);
                Ok(timestamp)
            }
            None => take_from(&self.to_read).await,
        }
    }

    fn recent(&self) -> Option<Timestamp> {
        self.latest.recent()
    }

    fn are_free(&self) -> bool {
        self.oracle.gives_at_once()
    }
}

struct Taker {
    oracle: Oracle,
    to_read: bool,
    meta: MetaClient,
    votes: Votes,
    peers: Arc<PeerClients>,
    latest: Arc<Latest>,
}

impl Taker {
    async fn run(self, mut waiting: mpsc::Receiver<Answer>) {
        let mut batch: Vec<Answer> = Vec::new();
        while waiting.recv_many(&mut batch, MAX_PER_REQUEST as usize).await > 0 {
            let count = u32::try_from(batch.len()).expect("a batch is at most MAX_PER_REQUEST long");
            let first = self.take(count).await;
            for (answer, offset) in batch.drain(..).zip(0..) {
                // The caller may be gone: its timestamp stays unused.
                let _ = answer.send(first.clone().map(|first| Timestamp(first.0 + offset)));
            }
        }
    }

    async fn take(&self, count: u32) -> Result<Timestamp, TimestampError> {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        let mut search = None;
        while Instant::now() < deadline {
            for member in self.meta.candidates() {
                if let Some(first) = self.take_from(member, count).await {
                    self.latest.note(Timestamp(first.0 + u64::from(count) - 1));
                    return Ok(first);
                }
            }
            search.get_or_insert_with(|| self.meta.search()).pause().await;
        }
        Err(TimestampError::NoLeader)
    }

    async fn take_from(&self, member: MemberId, count: u32) -> Option<Timestamp> {
        let vote = match self.to_read {
            true => None,
            // Looked at when the requests that it is for are here.
            false => self.votes.beside(member).await,
        };
        if member == self.peers.me() {
            let proof = match self.to_read {
                true => Proof::Lease,
                false => Proof::Majority { vote },
            };
            return self.oracle.take(count, proof).await.ok();
        }
        let request = TakeTimestampsRequest {
            envelope: self.peers.envelope(member),
            count,
            to_read: self.to_read,
            vote: vote.map(votes::sent),
        };
        let answer = self.peers.client(member).ok()?.take_timestamps(request).await.ok()?;
        Some(Timestamp(answer.into_inner().first))
    }
}
