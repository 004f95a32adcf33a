//! At which snapshot a query reads, and who may answer it: the consistency levels.
//!
//! | level | snapshot | answered by |
//! |---|---|---|
//! | Strong | taken now; or known before, where what is read has not changed since; of one node its newest version's, or later | leaders, behind a read barrier; or, where nothing has changed, replicas of this member that their leaders say are far enough |
//! | Read-your-writes | the client's bookmark or newer | the nearest replica that has reached it, else the leader |
//! | Eventual | the newest that all partitions have closed | the nearest replica, else the leader |

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kotoba_state::ids::Timestamp;

use super::QueryError;
use crate::transaction::{ClosedSnapshot, ClosedSnapshots, Coordinator, ReadError, ReadFrom};

/// The staleness that an Eventual read bears where it names none: longer than it takes to find a new leader.
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(10);

/// What a query must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub level: Level,
    /// The snapshot is not older. Of no meaning to Eventual.
    pub bookmark: Timestamp,
    /// The past, as it was at this timestamp.
    pub as_of: Option<Timestamp>,
    pub max_staleness: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Strong,
    ReadYourWrites,
    Eventual,
}

/// The snapshot of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub at: Timestamp,
    pub from: ReadFrom,
    /// Everything acknowledged longer ago than this is in it. Zero for a snapshot that was asked for by its timestamp.
    pub staleness: Duration,
}

/// Where snapshots come from.
#[derive(Clone, Copy)]
pub struct Snapshots<'a> {
    pub coordinator: &'a Coordinator,
    pub closed: &'a Arc<ClosedSnapshots>,
}

impl Snapshots<'_> {
    pub async fn of(&self, reading: Reading) -> Result<Snapshot, QueryError> {
        let from = match reading.level {
            Level::Strong => ReadFrom::Leaders,
            Level::ReadYourWrites | Level::Eventual => ReadFrom::Replicas,
        };
        if let Some(at) = reading.as_of {
            self.check_issued(at).await?;
            return Ok(exactly(at, from));
        }
        match reading.level {
            Level::Strong => {
                let now = self.coordinator.snapshot_to_read().await?;
                match reading.bookmark > now {
                    true => Err(QueryError::Bookmark(reading.bookmark.0)),
                    false => Ok(exactly(now, from)),
                }
            }
            Level::ReadYourWrites => match self.closed.reaching(reading.bookmark) {
                Some(closed) if closed.at >= reading.bookmark => Ok(of_closed(closed)),
                // It is being closed; meanwhile a replica waits for that, or its leader answers.
                Some(_) | None => self.at_bookmark(reading.bookmark).await,
            },
            Level::Eventual => {
                let bound = reading.max_staleness.unwrap_or(DEFAULT_MAX_STALENESS);
                let closed = self.closed.take(bound).await.map_err(ReadError::from)?;
                Ok(of_closed(closed))
            }
        }
    }

    /// The present value of one key, and a snapshot that shows it; none where a timestamp has to be taken to read it. A bookmark
    /// that this member does not know is left to that, too.
    pub async fn newest(
        &self,
        key: Vec<u8>,
        bookmark: Timestamp,
    ) -> Result<Option<(Snapshot, Option<Bytes>)>, QueryError> {
        let issued = self.coordinator.known_issued();
        if bookmark > issued {
            return Ok(None);
        }
        let newest = self.coordinator.read_newest(key, issued).await?;
        Ok(newest.map(|(at, value)| (exactly(at, ReadFrom::Leaders), value)))
    }

    /// A snapshot that is as good as one taken now, as long as nothing that is read has changed since.
    pub async fn if_unchanged(&self, bookmark: Timestamp) -> Option<Snapshot> {
        let at = self.coordinator.snapshot_if_unchanged(bookmark).await?;
        Some(exactly(at, ReadFrom::IfUnchanged))
    }

    /// A client that has no bookmark yet has written nothing that it must see.
    async fn at_bookmark(&self, bookmark: Timestamp) -> Result<Snapshot, QueryError> {
        if bookmark == Timestamp(0) {
            let closed = self.closed.take(DEFAULT_MAX_STALENESS).await.map_err(ReadError::from)?;
            return Ok(of_closed(closed));
        }
        self.check_issued(bookmark).await?;
        Ok(exactly(bookmark, ReadFrom::Replicas))
    }

    /// A commit could still come below a timestamp that was not issued.
    async fn check_issued(&self, at: Timestamp) -> Result<(), QueryError> {
        if self.coordinator.known_issued() >= at || self.coordinator.take_snapshot().await? >= at {
            return Ok(());
        }
        Err(QueryError::Bookmark(at.0))
    }
}

fn exactly(at: Timestamp, from: ReadFrom) -> Snapshot {
    Snapshot {
        at,
        from,
        staleness: Duration::ZERO,
    }
}

fn of_closed(closed: ClosedSnapshot) -> Snapshot {
    Snapshot {
        at: closed.at,
        from: ReadFrom::Replicas,
        staleness: closed.staleness(),
    }
}
