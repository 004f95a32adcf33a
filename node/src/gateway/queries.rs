//! Queries: one snapshot over all partitions, rows as soon as they are known, a bounded number on the way.

use kotoba_graph::query::{Error as GraphError, Plan, Query, Row};
use kotoba_proto::v1;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::snapshot::{Reading, Snapshot};
use super::{Gateway, convert};
use crate::transaction::ReadError;

/// Rows of one message of an answer.
const ROWS_PER_BATCH: usize = 256;
/// Bytes after which a message takes no further row; one row more stays far below the limit of a message.
const BYTES_PER_BATCH: usize = 1 << 20;

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
}

impl Gateway {
    /// Runs a query and sends its rows; waits while the receiver is full.
    pub async fn query(
        &self,
        query: Query,
        reading: Reading,
        count_only: bool,
        rows: mpsc::Sender<Result<RowBatch, QueryError>>,
    ) {
        let deadline = Instant::now() + self.request_timeout;
        let run = self.run_query(query, reading, count_only, &rows);
        let outcome = timeout_at(deadline, run).await.unwrap_or(Err(QueryError::Timeout));
        if let Err(error) = outcome {
            // Nobody to tell where the receiver is gone.
            let _ = rows.send(Err(error)).await;
        }
    }

    async fn run_query(
        &self,
        query: Query,
        reading: Reading,
        count_only: bool,
        rows: &mpsc::Sender<Result<RowBatch, QueryError>>,
    ) -> Result<(), QueryError> {
        let mut plan = Plan::new(query)?;
        let snapshot = self.snapshot_for(reading).await?;
        let mut total = 0;
        let mut answers = Vec::new();
        loop {
            let step = plan.advance(answers)?;
            total += step.rows.len() as u64;
            if !count_only {
                send_rows(step.rows, snapshot, rows).await?;
            }
            match step.next {
                Some(reads) => {
                    let read = self.coordinator.read_at(snapshot.at, snapshot.from, reads).await;
                    answers = read.map_err(|error| explain(error, reading))?;
                }
                None => break,
            }
        }
        let last = RowBatch {
            rows: Vec::new(),
            snapshot,
            total: Some(total),
        };
        rows.send(Ok(last)).await.map_err(|_| QueryError::Gone)
    }
}

/// A past that was asked for is not found by asking again.
fn explain(error: ReadError, reading: Reading) -> QueryError {
    match (error, reading.as_of) {
        (ReadError::TooOld, Some(at)) => QueryError::TooFarBack(at.0),
        (error, _) => QueryError::Read(error),
    }
}

async fn send_rows(
    found: Vec<Row>,
    snapshot: Snapshot,
    rows: &mpsc::Sender<Result<RowBatch, QueryError>>,
) -> Result<(), QueryError> {
    let mut found = found.into_iter().map(convert::row).peekable();
    while found.peek().is_some() {
        let batch = RowBatch {
            rows: next_batch(&mut found),
            snapshot,
            total: None,
        };
        rows.send(Ok(batch)).await.map_err(|_| QueryError::Gone)?;
    }
    Ok(())
}

fn next_batch(rows: &mut impl Iterator<Item = v1::Row>) -> Vec<v1::Row> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < ROWS_PER_BATCH && bytes < BYTES_PER_BATCH {
        let Some(row) = rows.next() else { break };
        bytes += row.encoded_len();
        batch.push(row);
    }
    batch
}
