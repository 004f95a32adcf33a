//! The timestamp oracle, on the leader of the meta group.
//!
//! A window of timestamps is in the meta group's log before any of it is issued, and a new leader starts at its end;
//! every answered batch is preceded by a leadership proof newer than the requests in it. Without either, a deposed
//! leader could issue a timestamp below one that its successor gave (reference: the protocol's holes 10 and 12).

use kotoba_state::ids::Timestamp;
use kotoba_state::meta::{Answer, Command};
use tokio::sync::{mpsc, oneshot};

use crate::raft::Group;

/// Timestamps logged at a time: at 100,000 a second, one log entry in ten seconds.
const WINDOW: u64 = 1_000_000;
/// Requests waiting for one proof; more are answered busy.
const MAX_WAITING: usize = 4_096;
/// The most one request may take.
pub const MAX_PER_REQUEST: u32 = 65_536;

/// Why no timestamp was given; nothing was issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OracleError {
    #[error("this member does not lead the meta group")]
    NotLeader,
    #[error("too many requests wait for timestamps")]
    Busy,
    #[error("a request takes 1 to {MAX_PER_REQUEST} timestamps, not {0}")]
    Count(u32),
}

/// What shows that no other member has issued timestamps meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A majority says so: for whatever is written.
    Majority,
    /// The lease of the meta group's leader: for readers, who trust the leases of partitions as well.
    Lease,
}

struct Waiting {
    count: u32,
    proof: Proof,
    answer: oneshot::Sender<Result<Timestamp, OracleError>>,
}

/// The door to the oracle; it answers only while this member leads the meta group.
#[derive(Clone)]
pub struct Oracle {
    requests: mpsc::Sender<Waiting>,
}

impl Oracle {
    /// Starts the oracle's task; it ends when the last door is dropped.
    pub fn start(meta: Group) -> Self {
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(Issuer { meta, window: None }.run(waiting));
        Oracle { requests }
    }

    /// Takes `count` consecutive timestamps and returns the first.
    pub async fn take(&self, count: u32, proof: Proof) -> Result<Timestamp, OracleError> {
        if count == 0 || count > MAX_PER_REQUEST {
            return Err(OracleError::Count(count));
        }
        let (answer, answered) = oneshot::channel();
        self.requests
            .try_send(Waiting { count, proof, answer })
            .map_err(|_| OracleError::Busy)?;
        answered.await.unwrap_or(Err(OracleError::NotLeader))
    }
}

/// What is left of the logged window, in the term in which it was logged.
struct Window {
    term: u64,
    next: u64,
    end: u64,
}

struct Issuer {
    meta: Group,
    window: Option<Window>,
}

impl Issuer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut batch: Vec<Waiting> = Vec::new();
        while waiting.recv_many(&mut batch, MAX_WAITING).await > 0 {
            // Readers do not wait for the others' proof.
            for proof in [Proof::Lease, Proof::Majority] {
                let (now, later) = batch.into_iter().partition(|request| request.proof == proof);
                batch = later;
                self.serve(now, proof).await;
            }
        }
    }

    async fn serve(&mut self, batch: Vec<Waiting>, proof: Proof) {
        let total: u64 = batch.iter().map(|request| u64::from(request.count)).sum();
        if total > 0 {
            let first = self.issue(total, proof).await;
            answer_all(batch, first);
        }
    }

    /// One proof and, where needed, one log entry for the whole batch.
    async fn issue(&mut self, total: u64, proof: Proof) -> Result<u64, OracleError> {
        let proven = match proof {
            Proof::Majority => self.meta.read_barrier().await,
            Proof::Lease => self.meta.lease_barrier().await,
        };
        proven.map_err(|_| OracleError::NotLeader)?;
        let leadership = self.meta.leadership();
        if !leadership.leading {
            self.window = None;
            return Err(OracleError::NotLeader);
        }
        let usable = self
            .window
            .as_ref()
            .is_some_and(|window| window.term == leadership.term && window.next + total <= window.end);
        if !usable {
            self.window = Some(self.extend(total).await?);
        }
        let window = self.window.as_mut().ok_or(OracleError::NotLeader)?;
        let first = window.next;
        window.next += total;
        assert!(window.next <= window.end, "a timestamp outside the logged window");
        Ok(first)
    }

    async fn extend(&self, total: u64) -> Result<Window, OracleError> {
        let command = Command::ExtendTimestamps { count: total + WINDOW };
        let proposed = self
            .meta
            .propose(command.encode())
            .await
            .map_err(|_| OracleError::NotLeader)?;
        match Answer::decode(&proposed.answer) {
            Ok(Answer::Timestamps { from, to }) => Ok(Window {
                term: proposed.term,
                next: from.0,
                end: to.0,
            }),
            Ok(_) | Err(_) => Err(OracleError::NotLeader),
        }
    }
}

fn answer_all(batch: Vec<Waiting>, first: Result<u64, OracleError>) {
    let mut next = first;
    for request in batch {
        let count = u64::from(request.count);
        // A receiver that went away leaves a gap, which harms nothing: timestamps only have to grow.
        let _ = request.answer.send(next.clone().map(Timestamp));
        next = next.map(|timestamp| timestamp + count);
    }
}
