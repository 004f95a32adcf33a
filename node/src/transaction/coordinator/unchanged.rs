//! Reading at a timestamp that was not taken for it: one that is known to have been issued, as long as nothing that is read has
//! changed since. It saves the way to the meta group's leader.
//!
//! Why it is as good as a timestamp taken when the query began. Let L be the known one, and M the largest that was issued before
//! the query began. A commit at or below M on what a part of the query reads had its timestamp before the part was read, so by
//! then it was applied, or held its latches, or had its intents there (and what a deposed leader had under way is applied
//! behind its successor's barrier or never will be). The leader waits for latches, lets no intent pass, and tells the newest commit
//! of all that it looks at, deletions and gaps included. If that is L or before, then nothing there was committed above L and up to
//! M: what was read is the state at L and at M as well. That holds for each part by itself, whenever it is read, so all of them
//! together are the state at M. And what was acknowledged before the query began is at or below M.
//!
//! A leader of this member may be opened once for a query (`here.rs`), where it holds no latch at all and its lease covers it:
//! each commit at or below M is in that view or has its intents there, whenever it is read.
//!
//! A replica that follows may be opened in the leader's place: its leader tells, at a time t after the query began, how far it has
//! applied the log, if it holds no latch at all. Then each commit at or below M is in the log up to there, or has its intents
//! there, and what the replica gives once it has come as far is as above, whichever of the two was first.
//!
//! What is not read in this way is at L only. So a part of which it does not hold spoils what was read before, none of which may
//! have been told; and nothing may go on later at L.

use std::time::Duration;

use kotoba_state::ids::Timestamp;
use tokio::time::Instant;

use super::{Coordinator, ReadError};

/// How long timestamps are taken after something had changed: where much is written nothing is to be read twice for long.
const AVOIDED_FOR: Duration = Duration::from_millis(100);

impl Coordinator {
    /// A timestamp at which a strong query may be read with [`ReadFrom::IfUnchanged`](super::ReadFrom::IfUnchanged),
    /// not below a bookmark; none where it is better to read at one taken for it.
    pub async fn snapshot_if_unchanged(&self, bookmark: Timestamp) -> Option<Timestamp> {
        if self.changed.at(Instant::now()) {
            return None;
        }
        let known = match self.timestamps.are_free() {
            false => self.timestamps.recent(),
            // To take one saves more, unless there are replicas that follow.
            true if self.partitions.follows() => self.timestamp_to_read().await.ok(),
            true => None,
        };
        known.filter(|known| *known >= bookmark)
    }

    /// Notes whether something had changed.
    pub(super) fn note_change<T>(&self, read: Result<T, ReadError>) -> Result<T, ReadError> {
        if matches!(read, Err(ReadError::Changed)) {
            self.changed.until(Instant::now() + AVOIDED_FOR);
        }
        read
    }
}
