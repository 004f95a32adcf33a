//! One load: a thread that reads, a bounded queue, and as many transactions at once as asked for.
//!
//! At the first failure no further batch is sent, but those under way are waited for: what was created is then known.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::LoadError;
use super::ids::{Ids, settle};
use super::plan::Plan;
use super::progress::Progress;
use super::reader::{BadRows, Batch, Item, Open, Phase};
use super::sink::Sink;
use super::summary::Summary;

pub(super) struct Pipeline<S> {
    pub sink: S,
    pub batch: usize,
    pub concurrency: usize,
    pub bad_rows: BadRows,
    pub progress: Progress,
    pub summary: Summary,
}

/// Which of the two counts of the summary a phase fills.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nodes,
    Edges,
}

/// A batch that was applied.
struct Sent {
    batch: Batch,
    ids: Vec<u64>,
}

impl<S: Sink> Pipeline<S> {
    pub(super) async fn run(&mut self, plan: Plan) -> Result<(), LoadError> {
        let ids = Arc::new(self.nodes(&plan).await?);
        let partitions = self.sink.partitions().await.map_err(LoadError::Cluster)?;
        let (mut phase, queue) = self.phase(plan.node_bytes());
        let reader = tokio::task::spawn_blocking(move || {
            phase.edges(&plan.edges, &ids, partitions)?;
            Ok(((), phase.bad_rows))
        });
        self.send_all(Kind::Edges, queue, reader).await.map(|_| ())
    }

    async fn nodes(&mut self, plan: &Plan) -> Result<Ids, LoadError> {
        let (mut phase, queue) = self.phase(0);
        let sources = plan.nodes.clone();
        let reader = tokio::task::spawn_blocking(move || {
            let index = phase.nodes(&sources)?;
            Ok((index, phase.bad_rows))
        });
        let (index, entities) = self.send_all(Kind::Nodes, queue, reader).await?;
        Ok(Ids { index, entities })
    }

    /// A reader and the queue it fills: as many batches wait as are under way.
    fn phase(&self, bytes_read: u64) -> (Phase, mpsc::Receiver<Item>) {
        let (sender, receiver) = mpsc::channel(self.concurrency);
        let phase = Phase {
            queue: sender,
            batch_rows: self.batch,
            bad_rows: self.bad_rows.clone(),
            bytes_read,
            open: Open::default(),
        };
        (phase, receiver)
    }

    /// Sends what `reader` reads; gives back what it found and the new ids by ordinal.
    async fn send_all<T>(
        &mut self,
        kind: Kind,
        queue: mpsc::Receiver<Item>,
        reader: JoinHandle<Result<(T, BadRows), LoadError>>,
    ) -> Result<(T, Vec<u64>), LoadError> {
        let mut entities = Vec::new();
        let sent = self.drain(kind, queue, &mut entities).await;
        let read = reader
            .await
            .map_err(|error| LoadError::ReaderStopped(error.to_string()))?;
        sent?;
        let (found, bad_rows) = read?;
        self.bad_rows = bad_rows;
        Ok((found, entities))
    }

    async fn drain(
        &mut self,
        kind: Kind,
        mut queue: mpsc::Receiver<Item>,
        entities: &mut Vec<u64>,
    ) -> Result<(), LoadError> {
        let sink = &self.sink;
        let mut under_way = FuturesUnordered::new();
        let mut failed = None;
        let mut open = true;
        loop {
            tokio::select! {
                item = queue.recv(), if open && under_way.len() < self.concurrency => match item {
                    Some(Item::Batch(batch)) => under_way.push(send(sink, batch)),
                    Some(Item::Skipped(row)) => {
                        self.summary.skipped += 1;
                        self.progress.skipped(&row);
                    }
                    None => open = false,
                },
                Some(result) = under_way.next() => match result {
                    Ok(sent) => applied(kind, sent, entities, &mut self.summary, &mut self.progress),
                    Err(error) => {
                        failed.get_or_insert(error);
                        queue.close();
                        open = false;
                    }
                },
                else => break,
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

async fn send(sink: &impl Sink, mut batch: Batch) -> Result<Sent, LoadError> {
    let operations = std::mem::take(&mut batch.operations);
    let expected = operations.len();
    match sink.send(operations).await {
        Ok(ids) if ids.len() == expected => Ok(Sent { batch, ids }),
        Ok(ids) => Err(LoadError::Ids {
            rows: batch.rows,
            found: ids.len(),
            expected,
        }),
        Err(source) => Err(LoadError::Send {
            rows: batch.rows,
            source,
        }),
    }
}

fn applied(kind: Kind, sent: Sent, entities: &mut Vec<u64>, summary: &mut Summary, progress: &mut Progress) {
    match kind {
        Kind::Nodes => {
            settle(entities, sent.batch.first, &sent.ids);
            summary.add_nodes(&sent.batch.counts);
        }
        Kind::Edges => summary.add_edges(&sent.batch.counts),
    }
    progress.advance(sent.batch.bytes_read, summary);
}
