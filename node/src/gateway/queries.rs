//! Queries: one snapshot over all partitions, rows as soon as they are known, a bounded number on the way.
//!
//! What a query may take is bounded in time, rows and bytes. It stops when nobody listens any more, and goes on behind
//! an earlier answer's last row, at that answer's snapshot, where it is given its cursor.

mod short;
#[cfg(test)]
mod tests;

use std::time::Duration;

use kotoba_graph::key;
use kotoba_graph::query::{Cursor, Error as GraphError, OrderBy, Plan, Position, Query, Row, Terms, row_bytes};
use kotoba_graph::read::{Answer, Read};
use kotoba_proto::v1;
use kotoba_state::ids::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use self::short::Held;
use super::snapshot::{Reading, Snapshot, Snapshots};
use super::{Gateway, convert};
use crate::transaction::{Here, ReadError};

/// Parts of an answer that wait for a slow client; then the query waits. With rows of at most a megabyte each part stays
/// below two, so that all of them take at most 16 MB.
pub const PARTS_IN_FLIGHT: usize = 8;
/// Rows of one message of an answer.
const ROWS_PER_BATCH: usize = 256;
/// Bytes after which a message takes no further row; one row more stays far below the limit of a message.
const BYTES_PER_BATCH: usize = 1 << 20;

/// What one query may take; its time is that of any request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Most rows of one answer.
    pub max_rows: u64,
    /// Half of it is for rows that are held to be ordered, half for what was read or is on its way to the client.
    pub memory_bytes: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        QueryLimits {
            max_rows: 10_000_000,
            memory_bytes: 64 << 20,
        }
    }
}

/// A query as it was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub query: Query,
    pub order: Vec<OrderBy>,
    /// Of an earlier answer; empty for the first.
    pub cursor: Vec<u8>,
    pub reading: Reading,
    pub count_only: bool,
}

/// Why a query ended without its last row.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Refused(#[from] GraphError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the query took longer than a request may: narrow it, or give it a limit")]
    Timeout,
    #[error("timestamp {0} was never given by this cluster: use a bookmark that it gave")]
    Bookmark(u64),
    #[error("the versions of timestamp {0} are no longer kept: ask for a later one")]
    TooFarBack(u64),
    #[error("the cursor was never given by this cluster: ask again without one")]
    ForeignCursor,
    #[error("the versions that the cursor reads are no longer kept: ask again without it")]
    CursorTooOld,
    #[error("the answer has more than {0} rows: give the query a limit and follow its cursor, or only count")]
    TooManyRows(u64),
    /// Whoever asked is gone.
    #[error("the client does not listen any more")]
    Gone,
}

/// A part of an answer.
#[derive(Debug)]
pub struct RowBatch {
    pub rows: Vec<v1::Row>,
    pub snapshot: Snapshot,
    /// In the last part: how many rows there were in all.
    pub total: Option<u64>,
    /// In the last part: where to go on if the limit cut the answer; else empty.
    pub cursor: Vec<u8>,
}

/// Where the parts of an answer go.
pub type Parts = mpsc::Sender<Result<RowBatch, QueryError>>;

impl Gateway {
    /// Runs a query and sends its rows; waits while the receiver is full, and stops when it is gone.
    pub async fn query(&self, ask: Ask, parts: Parts) {
        answer(self.snapshots(), &self.query_limits, self.request_timeout, ask, parts).await;
    }
}

async fn answer(snapshots: Snapshots<'_>, limits: &QueryLimits, within: Duration, ask: Ask, parts: Parts) {
    let deadline = Instant::now() + within;
    let running = Running {
        snapshots,
        limits,
        parts: &parts,
    };
    let outcome = tokio::select! {
        biased;
        // Also in the middle of a read: nobody waits for what it would give.
        () = parts.closed() => Err(QueryError::Gone),
        outcome = timeout_at(deadline, running.run(ask)) => outcome.unwrap_or(Err(QueryError::Timeout)),
    };
    if let Err(error) = outcome {
        // Nobody to tell where the receiver is gone.
        let _ = parts.send(Err(error)).await;
    }
}

/// A query under way.
struct Running<'a> {
    snapshots: Snapshots<'a>,
    limits: &'a QueryLimits,
    parts: &'a Parts,
}

impl Running<'_> {
    async fn run(&self, ask: Ask) -> Result<(), QueryError> {
        let (asked, position) = match ask.cursor()? {
            Some(Cursor { snapshot, position, .. }) => (Some(Timestamp(snapshot)), Some(position)),
            None => (None, None),
        };
        if ask.is_of_one_node() && self.answer_of_one_node(&ask).await? == Ended::Answered {
            return Ok(());
        }
        if ask.is_short()
            && ask.is_now()
            && let Some(known) = self.snapshots.if_unchanged(ask.reading.bookmark).await
            && self.answer(&ask, Course::hasty(known)).await? == Ended::Answered
        {
            return Ok(());
        }
        let snapshot = self.snapshot(asked, ask.reading).await?;
        if ask.is_short() && self.answer(&ask, Course::hasty(snapshot)).await? == Ended::Answered {
            return Ok(());
        }
        let course = Course {
            after: position,
            ..Course::at(snapshot)
        };
        match self.answer(&ask, course).await? {
            Ended::Answered => Ok(()),
            // A snapshot that was taken stands, and it began with little: a leader has answered what it was not asked.
            Ended::Early => {
                Err(ReadError::Broken("an answer at a snapshot that was taken does not stand".to_owned()).into())
            }
        }
    }

    /// Answers at a snapshot, or ends before anything was sent.
    async fn answer(&self, ask: &Ask, course: Course) -> Result<Ended, QueryError> {
        let Course { snapshot, hasty, .. } = course;
        let mut plan = ask.plan(course.after, hasty, self.limits)?;
        let mut read = course.read;
        let mut step = plan.advance(Vec::new())?;
        let mut total = 0;
        let mut held = Held::of(snapshot);
        let mut here = Here::default();
        loop {
            total += step.count;
            if !ask.count_only {
                held.put(step.rows);
            }
            let Some(reads) = step.next else {
                // What is only counted comes in no order, so there is no place to go on from.
                let cut = step.cut.filter(|_| !ask.count_only);
                if cut.is_some() && !held.stands() {
                    return Ok(Ended::Early);
                }
                match self.snapshots.coordinator.settle(here).await {
                    Ok(()) => {}
                    Err(ReadError::Changed) => return Ok(Ended::Early),
                    Err(error) => return Err(error.into()),
                }
                let cursor = cut.map(|cut| Cursor::new(snapshot.at.0, &ask.query, &ask.order, cut).encode());
                let cursor = cursor.unwrap_or_default();
                let end = Some(End { total, cursor });
                self.send_rows(held.take(), snapshot, total, end).await?;
                return Ok(Ended::Answered);
            };
            if held.stands() {
                let rows = held.take();
                if !rows.is_empty() {
                    // The client may be slow.
                    here.let_go();
                    self.send_rows(rows, snapshot, total, None).await?;
                }
            } else if held.is_full() {
                return Ok(Ended::Early);
            }
            let answers = match read.take() {
                Some(answers) => Ok(answers),
                None => self.read(snapshot, reads, &mut here).await,
            };
            step = match answers {
                Ok(answers) => plan.advance(answers)?,
                Err(ReadError::Changed) => return Ok(Ended::Early),
                Err(ReadError::TooMuch { .. }) if hasty && (total == 0 || !held.stands()) => return Ok(Ended::Early),
                Err(error) => return Err(too_old(error, ask)),
            };
        }
    }

    /// Its newest version will do, whenever that was written.
    async fn answer_of_one_node(&self, ask: &Ask) -> Result<Ended, QueryError> {
        let Query::GetNodes { ids } = &ask.query else {
            return Ok(Ended::Early);
        };
        let key = key::node(ids[0]);
        let Some((snapshot, value)) = self.snapshots.newest(key, ask.reading.bookmark).await? else {
            return Ok(Ended::Early);
        };
        let course = Course {
            read: Some(vec![Answer::Value(value)]),
            ..Course::at(snapshot)
        };
        self.answer(ask, course).await
    }

    async fn read(&self, snapshot: Snapshot, reads: Vec<Read>, here: &mut Here) -> Result<Vec<Answer>, ReadError> {
        let max_bytes = self.limits.memory_bytes / 2;
        let coordinator = self.snapshots.coordinator;
        coordinator
            .read_step(snapshot.at, snapshot.from, reads, max_bytes, here)
            .await
    }

    /// A cursor goes on at the snapshot of the answer that gave it.
    async fn snapshot(&self, asked: Option<Timestamp>, reading: Reading) -> Result<Snapshot, QueryError> {
        let reading = Reading {
            as_of: asked.or(reading.as_of),
            ..reading
        };
        match (self.snapshots.of(reading).await, asked) {
            (Err(QueryError::Bookmark(_)), Some(_)) => Err(QueryError::ForeignCursor),
            (snapshot, _) => snapshot,
        }
    }

    /// Sends what was found, in as many parts as it takes; the end goes with the last of them.
    async fn send_rows(
        &self,
        found: Vec<Row>,
        snapshot: Snapshot,
        total: u64,
        mut end: Option<End>,
    ) -> Result<(), QueryError> {
        if !found.is_empty() && total > self.limits.max_rows {
            return Err(QueryError::TooManyRows(self.limits.max_rows));
        }
        let sized = |row: Row| (row_bytes(&row), convert::row(row));
        let mut found = found.into_iter().map(sized).peekable();
        loop {
            let rows = next_batch(&mut found);
            let end = match found.peek() {
                Some(_) => None,
                None => end.take(),
            };
            if rows.is_empty() && end.is_none() {
                return Ok(());
            }
            let (total, cursor) = end.map(|end| (end.total, end.cursor)).unzip();
            let part = RowBatch {
                rows,
                snapshot,
                total,
                cursor: cursor.unwrap_or_default(),
            };
            self.parts.send(Ok(part)).await.map_err(|_| QueryError::Gone)?;
        }
    }
}

/// How a query is answered.
struct Course {
    snapshot: Snapshot,
    /// Behind which place.
    after: Option<Position>,
    /// Begins with more than is known to fit.
    hasty: bool,
    /// The answers to the first reads, where they are known.
    read: Option<Vec<Answer>>,
}

impl Course {
    fn at(snapshot: Snapshot) -> Self {
        Course {
            snapshot,
            after: None,
            hasty: false,
            read: None,
        }
    }

    fn hasty(snapshot: Snapshot) -> Self {
        Course {
            hasty: true,
            ..Course::at(snapshot)
        }
    }
}

#[derive(PartialEq, Eq)]
enum Ended {
    Answered,
    /// Nothing was sent: begin anew, in a more careful way.
    Early,
}

/// What is told with the last part.
struct End {
    total: u64,
    cursor: Vec<u8>,
}

impl Ask {
    fn cursor(&self) -> Result<Option<Cursor>, QueryError> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        let cursor = Cursor::decode(&self.cursor, &self.query, &self.order);
        Ok(Some(cursor.map_err(GraphError::from)?))
    }

    fn plan(&self, after: Option<Position>, hasty: bool, limits: &QueryLimits) -> Result<Plan, QueryError> {
        let terms = Terms {
            order: self.order.clone(),
            after,
            count_only: self.count_only,
            max_bytes: limits.memory_bytes / 2,
            hasty,
        };
        Ok(Plan::with_terms(self.query.clone(), terms)?)
    }
}

/// Asking again helps where the snapshot was a fresh one, but not with the same cursor or timestamp.
fn too_old(error: ReadError, ask: &Ask) -> QueryError {
    match (error, ask.reading.as_of) {
        (ReadError::TooOld, _) if !ask.cursor.is_empty() => QueryError::CursorTooOld,
        (ReadError::TooOld, Some(at)) => QueryError::TooFarBack(at.0),
        (error, _) => QueryError::Read(error),
    }
}

/// Rows with what they took in memory, which is more than they take as they are sent.
fn next_batch(rows: &mut impl Iterator<Item = (usize, v1::Row)>) -> Vec<v1::Row> {
    let (mut batch, mut bytes) = (Vec::with_capacity(rows.size_hint().0.min(ROWS_PER_BATCH)), 0);
    while batch.len() < ROWS_PER_BATCH && bytes < BYTES_PER_BATCH {
        let Some((row_bytes, row)) = rows.next() else { break };
        bytes += row_bytes;
        batch.push(row);
    }
    batch
}
