//! A snapshot that every partition has closed, so that any replica may serve it: what Eventual and read-your-writes read at.
//!
//! Closing is one small log entry per partition. It is done on demand and shared by all who ask here: where nobody reads
//! this way nothing is closed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_state::ids::Timestamp;
use tokio::time::{Instant, timeout};

use super::boundary::{CallError, Partitions, Timestamps};
use super::message::Request;

/// An Eventual read is as stale as this at most while all partitions have leaders.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// A snapshot older than this is renewed behind the reader who is given it.
const RENEW_AFTER: Duration = Duration::from_millis(300);
/// Between two rounds of closing, however many ask.
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// How long a reader waits for a newer snapshot while an older one would do.
const WAIT_FOR_NEWER: Duration = Duration::from_millis(250);

/// A snapshot that every partition has closed.
#[derive(Clone, Copy, Debug)]
pub struct ClosedSnapshot {
    pub at: Timestamp,
    /// When it was the present: everything acknowledged before is in it.
    taken: Instant,
}

/// The newest closed snapshot of this member.
pub struct ClosedSnapshots {
    timestamps: Arc<dyn Timestamps>,
    partitions: Arc<dyn Partitions>,
    newest: Mutex<Option<ClosedSnapshot>>,
    /// Held by whoever closes: one round at a time.
    turn: tokio::sync::Mutex<()>,
}

impl ClosedSnapshot {
    /// At most how old it is.
    pub fn staleness(&self) -> Duration {
        self.taken.elapsed()
    }
}

impl ClosedSnapshots {
    pub fn new(timestamps: Arc<dyn Timestamps>, partitions: Arc<dyn Partitions>) -> Arc<Self> {
        Arc::new(ClosedSnapshots {
            timestamps,
            partitions,
            newest: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// A snapshot of the last second; where partitions have no leader, an older one up to the given bound.
    pub async fn take(self: &Arc<Self>, max_staleness: Duration) -> Result<ClosedSnapshot, CallError> {
        let old = self.newest();
        match old {
            Some(newest) if newest.staleness() <= FRESH_FOR.min(max_staleness) => {
                if newest.staleness() >= RENEW_AFTER {
                    self.renew_in_background();
                }
                Ok(newest)
            }
            Some(older) if older.staleness() + WAIT_FOR_NEWER <= max_staleness => {
                match timeout(WAIT_FOR_NEWER, self.renew(older.at)).await {
                    Ok(Ok(newer)) => Ok(newer),
                    Ok(Err(_)) | Err(_) => Ok(older),
                }
            }
            Some(_) | None => self.renew(old.map_or(Timestamp(0), |old| old.at)).await,
        }
    }

    /// The newest if it is of the last second; and a newer one is on its way where it does not reach `wanted`.
    pub fn reaching(self: &Arc<Self>, wanted: Timestamp) -> Option<ClosedSnapshot> {
        let newest = self.newest().filter(|newest| newest.staleness() <= FRESH_FOR);
        if newest.is_none_or(|newest| newest.at < wanted) {
            self.renew_in_background();
        }
        newest
    }

    fn renew_in_background(self: &Arc<Self>) {
        if self.turn.try_lock().is_ok() {
            let snapshots = self.clone();
            tokio::spawn(async move {
                let before = snapshots.newest().map_or(Timestamp(0), |newest| newest.at);
                // Whoever needs it hears of the failure when asking.
                let _ = snapshots.renew(before).await;
            });
        }
    }

    /// Closes everywhere, unless somebody else has meanwhile.
    async fn renew(&self, than: Timestamp) -> Result<ClosedSnapshot, CallError> {
        let _turn = self.turn.lock().await;
        if let Some(newest) = self.newest().filter(|newest| newest.at > than) {
            return Ok(newest);
        }
        if let Some(last) = self.newest() {
            tokio::time::sleep(ROUND_PAUSE.saturating_sub(last.staleness())).await;
        }
        let taken = Instant::now();
        let at = self.timestamps.take().await?;
        let close = |partition| (partition, Request::Close { at });
        let requests = self.partitions.all().into_iter().map(close).collect();
        for answer in self.partitions.call_all(requests).await {
            answer?;
        }
        let closed = ClosedSnapshot { at, taken };
        *self.newest_mut() = Some(closed);
        Ok(closed)
    }

    fn newest(&self) -> Option<ClosedSnapshot> {
        *self.newest_mut()
    }

    fn newest_mut(&self) -> MutexGuard<'_, Option<ClosedSnapshot>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
