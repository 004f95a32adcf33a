//! A client that writes all the time and notes what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use kotoba_proto::cluster::OperationOutcome;
use kotoba_proto::v1::{Operation, Value};
use kotoba_proto::{ClusterError, KotobaCluster};
use tokio::task::JoinHandle;

use crate::graph::{create_edge, create_node, delete_node, update_edge, update_node};
use crate::ledger::{KnownEdge, Ledger};
use crate::wait::{ensure, until};

/// A writer in the background.
pub struct Writer {
    acknowledged: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Ledger>,
}

impl Writer {
    /// Starts writing; `name` is of this writer alone.
    pub fn start(client: KotobaCluster, name: &str) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let failed = Arc::new(AtomicUsize::new(0));
        let writing = Writing {
            client,
            ledger: Ledger::new(name),
            acknowledged: acknowledged.clone(),
            failed: failed.clone(),
        };
        let task = tokio::spawn(writing.run(stop.clone()));
        Writer {
            acknowledged,
            failed,
            stop,
            task,
        }
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Writes that were given up after all retries, or whose outcome nobody knows.
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    /// Waits until this many more writes are acknowledged.
    pub async fn progress(&self, more: usize) {
        let goal = self.acknowledged() + more;
        until("acknowledged writes", || async {
            assert!(!self.task.is_finished(), "the writer has failed");
            ensure(self.acknowledged() >= goal, || {
                format!("{} of {goal}", self.acknowledged())
            })
        })
        .await;
    }

    /// Ends after the write under way.
    pub async fn finish(self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

struct Writing {
    client: KotobaCluster,
    ledger: Ledger,
    acknowledged: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
}

impl Writing {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Ledger {
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            self.turn(turn).await;
            turn += 1;
        }
        self.ledger
    }

    /// Nodes and edges between the newest of them, now and then a change or a deletion of an older one.
    async fn turn(&mut self, turn: usize) {
        let number = Value::from(i64::try_from(turn).unwrap());
        let newest: Vec<u64> = self.ledger.nodes.keys().rev().take(2).copied().collect();
        match (turn % 8, newest.as_slice()) {
            (1 | 3 | 5, [target, source]) => self.connect(*source, *target).await,
            (4, [id, ..]) => self.update_node(*id, number).await,
            (6, _) => self.update_edge(number).await,
            (7, _) if turn % 16 == 7 => self.delete_free_node().await,
            _ => self.create_node(number).await,
        }
    }

    async fn create_node(&mut self, number: Value) {
        let operation = create_node(&self.ledger.label, [("number", number)]);
        match self.send(operation).await {
            Told::Applied(made) => drop(self.ledger.nodes.insert(made.id, made.cid)),
            Told::Nothing => {}
            Told::Unknown => self.ledger.unknown_nodes += 1,
        }
    }

    async fn connect(&mut self, source: u64, target: u64) {
        let operation = create_edge(&self.ledger.edge_type, source, target);
        match self.send(operation).await {
            Told::Applied(made) => {
                let cid = made.cid;
                self.ledger.edges.insert(made.id, KnownEdge { cid, source, target });
            }
            Told::Nothing => {}
            Told::Unknown => self.ledger.unknown_edges += 1,
        }
    }

    async fn update_node(&mut self, id: u64, number: Value) {
        match self.change(update_node(id, [("changed", number)])).await {
            Told::Applied(made) => drop(self.ledger.nodes.insert(id, made.cid)),
            Told::Nothing => {}
            Told::Unknown => drop(self.ledger.uncertain.insert(id)),
        }
    }

    async fn update_edge(&mut self, number: Value) {
        let Some(id) = self.ledger.edges.keys().next_back().copied() else {
            return;
        };
        match self.change(update_edge(id, [("changed", number)])).await {
            Told::Applied(made) => self.ledger.edges.get_mut(&id).unwrap().cid = made.cid,
            Told::Nothing => {}
            Told::Unknown => drop(self.ledger.uncertain.insert(id)),
        }
    }

    /// Creates a node and deletes it again.
    async fn delete_free_node(&mut self) {
        let made = match self.send(create_node(&self.ledger.label, [])).await {
            Told::Applied(made) => made,
            Told::Nothing => return,
            Told::Unknown => return self.ledger.unknown_nodes += 1,
        };
        match self.change(delete_node(made.id, false)).await {
            Told::Applied(_) => drop(self.ledger.deleted.insert(made.id)),
            Told::Nothing => drop(self.ledger.nodes.insert(made.id, made.cid)),
            Told::Unknown => {
                self.ledger.deleted.insert(made.id);
                self.ledger.uncertain.insert(made.id);
            }
        }
    }

    /// What reads before it writes commits alone.
    async fn change(&mut self, operation: Operation) -> Told {
        let told = self.send(operation).await;
        if let Told::Applied(_) = told {
            self.ledger.alone.extend(self.ledger.bookmarks.last());
        }
        told
    }

    /// Any other answer to these writes is wrong.
    async fn send(&mut self, operation: Operation) -> Told {
        let answer = self.client.execute_operation(operation).await;
        if answer.is_err() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        match answer {
            Ok(outcome) => {
                self.ledger.bookmarks.push(outcome.bookmark);
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                Told::Applied(outcome)
            }
            Err(ClusterError::UnknownOutcome(_)) => Told::Unknown,
            Err(
                ClusterError::Transient(_)
                | ClusterError::NoLeader(_)
                | ClusterError::NetworkError { .. }
                | ClusterError::DiskFull(_),
            ) => Told::Nothing,
            Err(error) => panic!("a write was answered: {error}"),
        }
    }
}

/// What a client knows of its write.
enum Told {
    Applied(OperationOutcome),
    Nothing,
    Unknown,
}
