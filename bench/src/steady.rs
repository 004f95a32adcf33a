//! Operations that are due one after the other, whether or not earlier ones were answered: what clients see of what is done to
//! the members meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use kotoba_proto::v1::{Direction, Traverse};
use kotoba_proto::{ClusterError, KotobaCluster};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant, interval_at};
use tokio_util::sync::CancellationToken;

use crate::operation::{SHARED, VALUE_BYTES};
use crate::peer::kotoba::{edge, node, shared, two_of, update_two};

/// Nodes that a walk gives at most.
const WALKED: u64 = 100;

/// What is due, again and again.
#[derive(Clone, Debug)]
pub enum Load {
    Creates,
    /// New edges between two of these nodes.
    Edges(Arc<[u64]>),
    /// Two of these nodes are changed in one transaction.
    Updates(Arc<[u64]>),
    /// Strong walks of one hop from one of these nodes.
    Walks(Arc<[u64]>),
}

impl Load {
    /// One of each kind, with some of these nodes in common.
    pub fn all(nodes: &[u64]) -> [Self; 4] {
        Load::of(shared(nodes).into())
    }

    fn of(shared: Arc<[u64]>) -> [Self; 4] {
        [
            Load::Creates,
            Load::Edges(shared.clone()),
            Load::Updates(shared.clone()),
            Load::Walks(shared),
        ]
    }

    /// How many are due in a second.
    fn per_s(&self) -> u32 {
        match self {
            Load::Creates | Load::Edges(_) => 200,
            // More are too much for two processors that clients share: a gap is then mostly the work that a stall has held back.
            Load::Updates(_) | Load::Walks(_) => 50,
        }
    }

    pub fn is_write(&self) -> bool {
        match self {
            Load::Creates | Load::Edges(_) | Load::Updates(_) => true,
            Load::Walks(_) => false,
        }
    }

    /// What is due in a second, in words.
    pub fn all_in_words() -> String {
        let each = |load: Load| format!("{} {}", load.per_s(), load.name());
        let loads = Load::of(Arc::new([])).map(each).join(", ");
        format!(
            "Due each second, whether or not earlier ones were answered: {loads}; all but creates are of {SHARED} nodes of all partitions."
        )
    }

    pub fn name(&self) -> &'static str {
        match self {
            Load::Creates => "creates",
            Load::Edges(_) => "edges",
            Load::Updates(_) => "updates of two nodes",
            Load::Walks(_) => "walks of one hop",
        }
    }

    async fn once(&self, client: &KotobaCluster) -> Result<(), ClusterError> {
        match self {
            Load::Creates => client.execute_operation(node(VALUE_BYTES)).await.map(drop),
            Load::Edges(nodes) => {
                let [source, target] = two_of(nodes);
                client.execute_operation(edge(source, target)).await.map(drop)
            }
            Load::Updates(nodes) => client.execute_operations(update_two(nodes)).await.map(drop),
            Load::Walks(nodes) => {
                let [start, _] = two_of(nodes);
                client.fetch_rows(walk(start)).await.map(drop)
            }
        }
    }
}

fn walk(start: u64) -> Traverse {
    Traverse {
        start: vec![start],
        direction: Direction::Out.into(),
        types: vec!["KNOWS".to_owned()],
        min_depth: 1,
        max_depth: 1,
        limit: WALKED,
        ..Traverse::default()
    }
}

/// One operation, in times since the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub due: Duration,
    pub at: Duration,
    pub is_success: bool,
}

impl Answer {
    /// One that failed has waited all its time in vain.
    pub fn waited(&self) -> Duration {
        self.at - self.due
    }
}

/// Loads that go on until they are ended.
pub struct Steady {
    begin: Instant,
    stop: CancellationToken,
    sending: Vec<(Load, JoinHandle<Vec<Answer>>)>,
}

/// What became of one load.
pub struct Felt {
    pub load: Load,
    pub answers: Vec<Answer>,
}

impl Steady {
    /// Each has a client of its own.
    pub fn start(loads: impl IntoIterator<Item = (Load, KotobaCluster)>) -> Self {
        let (begin, stop) = (Instant::now(), CancellationToken::new());
        let start = |(load, client): (Load, KotobaCluster)| {
            let sending = send(client, load.clone(), begin, stop.clone());
            (load, tokio::spawn(sending))
        };
        let sending = loads.into_iter().map(start).collect();
        Steady { begin, stop, sending }
    }

    /// Since the beginning.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Waits for the answers of those under way; gives all.
    pub async fn end(self) -> Result<Vec<Felt>> {
        self.stop.cancel();
        let mut felt = Vec::new();
        for (load, sending) in self.sending {
            let answers = sending.await.context("a load ended early")?;
            felt.push(Felt { load, answers });
        }
        Ok(felt)
    }
}

async fn send(client: KotobaCluster, load: Load, begin: Instant, stop: CancellationToken) -> Vec<Answer> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let mut under_way = JoinSet::new();
    // What a stall holds back is caught up with at once, and counts from when it was due.
    let mut due = interval_at(begin, Duration::from_secs(1) / load.per_s());
    while let Some(at) = stop.run_until_cancelled(due.tick()).await {
        let (client, load, answers) = (client.clone(), load.clone(), answers.clone());
        under_way.spawn(async move {
            let result = load.once(&client).await;
            let answer = Answer {
                due: at - begin,
                at: begin.elapsed(),
                is_success: result.is_ok(),
            };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner))
}
