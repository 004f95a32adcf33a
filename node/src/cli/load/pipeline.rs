//! One load: a thread that reads, a bounded queue, and as many transactions at once as asked for.
//!
//! At the first failure no further batch is sent, but those under way are waited for: what was created is then known. A batch
//! that is in doubt stops only what depends on it, so that all of them can be named together.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kotoba_proto::{ClusterError, RequestNumber};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::error::{LoadError, Rows};
use super::ids::{Ids, settle};
use super::journal::{Created, Journal, content_of};
use super::plan::Plan;
use super::progress::Progress;
use super::reader::{BadRows, Batch, Item, Open, Phase};
use super::sink::{Answer, Sink};
use super::summary::Summary;

pub(super) struct Pipeline<S> {
    pub sink: S,
    pub batch: usize,
    pub concurrency: usize,
    pub bad_rows: BadRows,
    pub progress: Progress,
    pub summary: Summary,
    /// Where what was created is noted; none for a load that cannot go on after it stopped.
    pub journal: Option<Arc<Journal>>,
    /// The number of the next batch, over both phases.
    pub next_batch: u64,
    /// Batches that were sent, and of which it is not known whether they were created.
    pub unsettled: BTreeSet<u64>,
    /// Sends nothing more once it is cancelled.
    pub stop: CancellationToken,
}

/// Which of the two counts of the summary a phase fills.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nodes,
    Edges,
}

/// What became of a batch that did not fail.
enum Outcome {
    Created(Sent),
    /// An earlier run sent it, and what came of that can no longer be told.
    InDoubt(Rows),
}

/// A batch that was applied.
struct Sent {
    batch: Batch,
    answer: Answer,
    /// By an earlier run.
    earlier: bool,
}

impl<S: Sink> Pipeline<S> {
    pub(super) async fn run(&mut self, plan: Plan) -> Result<(), LoadError> {
        let Err(error) = self.both_phases(plan).await else {
            return Ok(());
        };
        if let Some(journal) = &self.journal {
            let sent = std::mem::take(&mut self.unsettled);
            // Without the note more is in doubt than need be; why the load stopped matters more.
            let _ = journal.stopped(sent, self.next_batch).await;
        }
        Err(error)
    }

    async fn both_phases(&mut self, plan: Plan) -> Result<(), LoadError> {
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
        let journal = self.journal.as_ref();
        let mut under_way = FuturesUnordered::new();
        let mut failed = None;
        let mut in_doubt = Vec::new();
        let mut open = true;
        loop {
            tokio::select! {
                item = queue.recv(), if open && under_way.len() < self.concurrency => match item {
                    Some(Item::Batch(batch)) => {
                        let number = self.next_batch;
                        self.next_batch += 1;
                        self.unsettled.insert(number);
                        under_way.push(async move {
                            let sent = match journal {
                                Some(journal) => send_once(sink, journal, kind, number, batch).await,
                                None => send(sink, None, batch).await,
                            };
                            (number, sent)
                        });
                    }
                    Some(Item::Skipped(row)) => {
                        self.summary.skipped += 1;
                        self.progress.skipped(&row);
                    }
                    None => open = false,
                },
                Some((number, result)) = under_way.next() => {
                    if is_settled(journal, number, &result) {
                        self.unsettled.remove(&number);
                    }
                    match result {
                        Ok(Outcome::Created(sent)) => {
                            applied(kind, sent, entities, &mut self.summary, &mut self.progress);
                        }
                        Ok(Outcome::InDoubt(rows)) => in_doubt.push(rows),
                        Err(error) => {
                            failed.get_or_insert(error);
                            queue.close();
                            open = false;
                        }
                    }
                },
                () = self.stop.cancelled(), if open => {
                    failed.get_or_insert(LoadError::Interrupted);
                    queue.close();
                    open = false;
                }
                else => break,
            }
        }
        match (failed, journal) {
            (Some(error), _) => Err(error),
            (None, Some(journal)) if !in_doubt.is_empty() => Err(LoadError::InDoubt {
                count: in_doubt.iter().map(|rows| rows.places().count()).sum(),
                listed: journal.list(&in_doubt)?,
            }),
            (None, _) => Ok(()),
        }
    }
}

/// Whether it is known now if a batch was created.
fn is_settled(journal: Option<&Arc<Journal>>, number: u64, result: &Result<Outcome, LoadError>) -> bool {
    let was_in_doubt = || journal.is_some_and(|journal| journal.is_in_doubt(number));
    match result {
        Ok(Outcome::Created(_)) => true,
        Ok(Outcome::InDoubt(_)) => false,
        Err(LoadError::Send { source, .. }) => !matches!(source, ClusterError::UnknownOutcome(_)) && !was_in_doubt(),
        Err(_) => false,
    }
}

/// Sends a batch unless an earlier run has created it, and notes that it is created.
async fn send_once(
    sink: &impl Sink,
    journal: &Arc<Journal>,
    kind: Kind,
    number: u64,
    batch: Batch,
) -> Result<Outcome, LoadError> {
    let content = content_of(&batch.operations);
    if let Some(created) = journal.take_created(number) {
        return match created.content == content {
            true => Ok(Outcome::Created(Sent {
                batch,
                answer: Answer {
                    ids: created.ids,
                    bookmark: 0,
                },
                earlier: true,
            })),
            false => Err(LoadError::OtherRows { rows: batch.rows }),
        };
    }
    journal.may_send(number).await?;
    let sent = match send(sink, Some(journal.number(number)), batch).await? {
        Outcome::Created(sent) => sent,
        in_doubt @ Outcome::InDoubt(_) => return Ok(in_doubt),
    };
    let created = Created {
        content,
        ids: match kind {
            Kind::Nodes => sent.answer.ids.clone(),
            Kind::Edges => Vec::new(),
        },
    };
    journal.created(number, created, sent.answer.bookmark).await?;
    Ok(Outcome::Created(sent))
}

async fn send(sink: &impl Sink, number: Option<RequestNumber>, mut batch: Batch) -> Result<Outcome, LoadError> {
    let operations = std::mem::take(&mut batch.operations);
    let expected = operations.len();
    match sink.send(number, operations).await {
        Ok(answer) if answer.ids.len() == expected => Ok(Outcome::Created(Sent {
            batch,
            answer,
            earlier: false,
        })),
        Ok(answer) => Err(LoadError::Ids {
            rows: batch.rows,
            found: answer.ids.len(),
            expected,
        }),
        Err(ClusterError::ReceiptExpired(_)) => Ok(Outcome::InDoubt(batch.rows)),
        Err(source) => Err(LoadError::Send {
            rows: batch.rows,
            source,
        }),
    }
}

fn applied(kind: Kind, sent: Sent, entities: &mut Vec<u64>, summary: &mut Summary, progress: &mut Progress) {
    match kind {
        Kind::Nodes => {
            settle(entities, sent.batch.first, &sent.answer.ids);
            summary.add_nodes(&sent.batch.counts);
        }
        Kind::Edges => summary.add_edges(&sent.batch.counts),
    }
    if sent.earlier {
        summary.earlier += sent.batch.counts.values().sum::<u64>();
    }
    progress.advance(sent.batch.bytes_read, summary);
}
