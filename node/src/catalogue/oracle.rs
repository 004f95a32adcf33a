//! The timestamp oracle, on the leader of the meta group.
//!
//! A window of timestamps is in the meta group's log before any of it is issued, and a new leader starts at its end;
//! every answered batch is preceded by a leadership proof newer than the requests in it. Without either, a deposed
//! leader could issue a timestamp below one that its successor gave (reference: the protocol's holes 10 and 12).

use std::sync::{Arc, Mutex, PoisonError};

use kotoba_state::ids::Timestamp;
use kotoba_state::meta::{Answer, Command};
use tokio::sync::{mpsc, oneshot};

use crate::raft::{BarrierError, Group, SavedVote};

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
    /// A majority says so: for whatever is written. The vote of another member, looked at for this request, is half of one.
    Majority { vote: Option<SavedVote> },
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
    meta: Group,
    logged: Arc<Logged>,
    requests: mpsc::Sender<Waiting>,
}

impl Oracle {
    /// Starts the oracle's task; it ends when the last door is dropped.
    pub fn start(meta: Group) -> Self {
        let (requests, waiting) = mpsc::channel(MAX_WAITING);
        let logged = Arc::<Logged>::default();
        let issuer = Issuer {
            meta: meta.clone(),
            logged: logged.clone(),
        };
        tokio::spawn(issuer.run(waiting));
        Oracle { meta, logged, requests }
    }

    /// Takes `count` consecutive timestamps and returns the first.
    pub async fn take(&self, count: u32, proof: Proof) -> Result<Timestamp, OracleError> {
        if count == 0 || count > MAX_PER_REQUEST {
            return Err(OracleError::Count(count));
        }
        if let Some(first) = self.take_at_once(count, proof) {
            return Ok(first);
        }
        let (answer, answered) = oneshot::channel();
        self.requests
            .try_send(Waiting { count, proof, answer })
            .map_err(|_| OracleError::Busy)?;
        answered.await.unwrap_or(Err(OracleError::NotLeader))
    }

    /// Whether a lease covers what readers take.
    pub fn gives_at_once(&self) -> bool {
        self.meta.is_covered_by_lease()
    }

    /// What a lease covers needs nobody's answer; none where it does not.
    pub fn take_at_once(&self, count: u32, proof: Proof) -> Option<Timestamp> {
        let term = match proof {
            Proof::Lease => self.term_covered_by_lease(),
            Proof::Majority { vote } => vote.and_then(|vote| self.meta.term_proven_by(&vote)),
        };
        self.logged.take(count.into(), term?).map(Timestamp)
    }

    fn term_covered_by_lease(&self) -> Option<u64> {
        let is_covered = self.meta.is_covered_by_lease();
        // Looked at behind the proof.
        let leadership = is_covered.then(|| self.meta.leadership())?;
        leadership.leading.then_some(leadership.term)
    }
}

/// What is left of the logged window, in the term in which it was logged.
struct Window {
    term: u64,
    next: u64,
    end: u64,
}

/// The window that timestamps are issued from.
#[derive(Default)]
struct Logged(Mutex<Option<Window>>);

impl Logged {
    /// Takes consecutive timestamps that were logged in a term; none where there are not so many.
    fn take(&self, total: u64, term: u64) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = window.as_mut().filter(|window| window.term == term)?;
        let first = window.next;
        let next = first.checked_add(total).filter(|next| *next <= window.end)?;
        window.next = next;
        Some(first)
    }

    fn replace(&self, window: Option<Window>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = window;
    }
}

struct Issuer {
    meta: Group,
    logged: Arc<Logged>,
}

impl Issuer {
    async fn run(self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut batch: Vec<Waiting> = Vec::new();
        while waiting.recv_many(&mut batch, MAX_WAITING).await > 0 {
            // Readers do not wait for the others' proof.
            let (to_read, to_write): (Vec<_>, _) = batch.drain(..).partition(|request| request.proof == Proof::Lease);
            self.serve(to_read, self.meta.lease_barrier()).await;
            self.serve(to_write, self.meta.read_barrier()).await;
        }
    }

    async fn serve(&self, batch: Vec<Waiting>, proof: impl Future<Output = Result<(), BarrierError>>) {
        let total: u64 = batch.iter().map(|request| u64::from(request.count)).sum();
        if total > 0 {
            let first = self.issue(total, proof).await;
            answer_all(batch, first);
        }
    }

    /// One proof and, where needed, one log entry for the whole batch.
    async fn issue(
        &self,
        total: u64,
        proof: impl Future<Output = Result<(), BarrierError>>,
    ) -> Result<u64, OracleError> {
        proof.await.map_err(|_| OracleError::NotLeader)?;
        let leadership = self.meta.leadership();
        if !leadership.leading {
            self.logged.replace(None);
            return Err(OracleError::NotLeader);
        }
        if let Some(first) = self.logged.take(total, leadership.term) {
            return Ok(first);
        }
        let window = self.extend(total).await?;
        let term = window.term;
        self.logged.replace(Some(window));
        // Others take from it, too, but never so many as it is larger than this batch.
        self.logged.take(total, term).ok_or(OracleError::Busy)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_logged_in_the_term_is_issued_and_nothing_twice() {
        let logged = Logged::default();
        assert_eq!(logged.take(1, 3), None);
        logged.replace(Some(Window {
            term: 3,
            next: 10,
            end: 15,
        }));
        assert_eq!(logged.take(2, 4), None, "it was logged in another term");
        assert_eq!((logged.take(2, 3), logged.take(1, 3)), (Some(10), Some(12)));
        assert_eq!(logged.take(3, 3), None, "two are left");
        assert_eq!((logged.take(2, 3), logged.take(1, 3)), (Some(13), None));
    }
}
