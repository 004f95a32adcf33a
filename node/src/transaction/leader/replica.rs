//! Reads at a closed timestamp, from this replica as it is, leading or not; and closing timestamps, which the leader does.
//!
//! A replica that has applied "closed at c" has applied, or holds an intent for, every commit up to c: no barrier and no
//! latch is needed. One that is not so far says so, and the reader goes to the leader.

use std::time::Duration;

use kotoba_graph::read::Read;
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{Command, Known, closed_ts};
use tokio::time::{Instant, sleep};

use super::evaluate::{self, Evaluated};
use super::settle::Ended;
use super::small::Size;
use super::{PartitionLeader, failure};
use crate::transaction::message::{Failure, Reply};

/// How long a replica waits to come as far as a snapshot: about a close and its way through the log.
const WAIT_FOR_CLOSED: Duration = Duration::from_millis(100);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(4);
/// Rounds of learning how transactions in the way ended; each learns of all that were met.
const SETTLE_ROUNDS: usize = 8;

impl PartitionLeader {
    /// Answers reads from this replica, or says that it is behind the snapshot.
    pub(super) async fn read_replica(
        &self,
        snapshot: Timestamp,
        reads: Vec<Read>,
        max_bytes: usize,
    ) -> Result<Reply, Failure> {
        if !self.wait_for_closed(snapshot).await? {
            return Ok(Reply::Behind);
        }
        let size = Size::of(&reads);
        let mut known = Known::new();
        for _ in 0..SETTLE_ROUNDS {
            let view = self.group.view().map_err(failure)?;
            let (asked, seen) = (reads.clone(), known.clone());
            let evaluate = move || evaluate::evaluate(view.as_ref(), snapshot, &asked, max_bytes, &seen);
            match self.look_at(size, evaluate).await? {
                Evaluated::Answers(answers) => return Ok(Reply::Read(answers)),
                Evaluated::TooOld => return Err(Failure::TooOld),
                Evaluated::Blocked(intents) => {
                    for (txn, ended) in self.ended(intents, snapshot).await? {
                        match ended {
                            Ended::Known(settled) => known.insert(txn, settled),
                            // The resolution may not have come here yet: only the leader can tell what it was.
                            Ended::Gone => return Ok(Reply::Behind),
                        };
                    }
                }
            }
        }
        Ok(Reply::Behind)
    }

    async fn wait_for_closed(&self, snapshot: Timestamp) -> Result<bool, Failure> {
        let deadline = Instant::now() + WAIT_FOR_CLOSED;
        loop {
            if self.closed().await? >= snapshot {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    async fn closed(&self) -> Result<Timestamp, Failure> {
        let view = self.group.view().map_err(failure)?;
        self.look_at(Size::Small, move || closed_ts(view.as_ref())).await
    }

    /// Closes an issued timestamp: no commit at or below it comes after this in the log.
    pub(super) async fn close(&self, at: Timestamp) -> Result<Reply, Failure> {
        self.leading_term()?;
        if self.closed().await? < at {
            self.propose(&Command::CloseTs { closed: at }).await?;
        }
        Ok(Reply::Closed)
    }
}
