//! The rows of a query, which come as a stream.
//!
//! It says when it is complete; a stream that ends without saying so was cut off and is an error, never a short answer.

use std::time::Duration;
use std::vec;

use tonic::{Status, Streaming};

use super::addresses::Client;
use super::search::Cursor;
use crate::ClusterError;
use crate::v1::{ExecuteQueryRequest, ExecuteQueryResponse, Row};

/// The timestamp a query read at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot(pub u64);

/// The rows of one query, in the order the cluster found them.
pub struct Rows {
    stream: Streaming<ExecuteQueryResponse>,
    batch: vec::IntoIter<Row>,
    snapshot: Snapshot,
    staleness: Duration,
    /// Known once the last message is here.
    row_count: Option<u64>,
    cursor: Option<Cursor>,
    idle: Duration,
}

impl Rows {
    /// Sends the query and waits for its first message, so that an error before any row can be retried.
    pub(super) async fn start(
        mut client: Client,
        request: ExecuteQueryRequest,
        idle: Duration,
    ) -> Result<Self, Status> {
        let stream = client.execute_query(request).await?.into_inner();
        let mut rows = Rows {
            stream,
            batch: Vec::new().into_iter(),
            snapshot: Snapshot(0),
            staleness: Duration::ZERO,
            row_count: None,
            cursor: None,
            idle,
        };
        rows.fetch().await?;
        Ok(rows)
    }

    /// The next row; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Row>, ClusterError> {
        self.next_row()
            .await
            .map_err(|status| ClusterError::from_status(&status, "the member that was answering"))
    }

    /// All rows that are still to come.
    pub async fn collect(mut self) -> Result<Vec<Row>, ClusterError> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// The one timestamp that all rows were read at.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot
    }

    /// What was acknowledged longer ago than this is in the answer; zero for Strong reads and for a past that was asked for.
    pub fn staleness(&self) -> Duration {
        self.staleness
    }

    /// Where to go on, if the limit cut the answer; known after the last row. What is left may turn out to be no row.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    pub(super) async fn drain(mut self) -> Result<Vec<Row>, Status> {
        let mut rows = Vec::new();
        while let Some(row) = self.next_row().await? {
            rows.push(row);
        }
        Ok(rows)
    }

    pub(super) async fn count(mut self) -> Result<u64, Status> {
        while self.next_row().await?.is_some() {}
        Ok(self.row_count.unwrap_or_default())
    }

    async fn next_row(&mut self) -> Result<Option<Row>, Status> {
        loop {
            if let Some(row) = self.batch.next() {
                return Ok(Some(row));
            }
            if self.row_count.is_some() {
                return Ok(None);
            }
            self.fetch().await?;
        }
    }

    async fn fetch(&mut self) -> Result<(), Status> {
        let message = tokio::time::timeout(self.idle, self.stream.message())
            .await
            .map_err(|_elapsed| Status::unavailable("the answer stopped coming"))??
            .ok_or_else(|| Status::unavailable("the answer was cut off before its end"))?;
        self.snapshot = Snapshot(message.snapshot);
        self.staleness = Duration::from_millis(message.staleness_ms.into());
        self.batch = message.rows.into_iter();
        if message.done {
            self.row_count = Some(message.row_count);
            self.cursor = Cursor::of_answer(message.cursor);
        }
        Ok(())
    }
}
