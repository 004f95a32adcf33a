//! KotobaDB: a record is a node with one property.

use std::path::Path;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kotoba_drive::Work;
use kotoba_proto::v1::{Consistency, CreateEdge, CreateNode, GetNodes, NodeRef, Operation as Request, UpdateNode};
use kotoba_proto::{ClusterError, KotobaCluster, Options};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::{CLIENTS_OF_A_CONNECTION, MEMBERS};
use crate::members::Members;
use crate::operation::{BATCH, LOADED, Operation, SHARED, VALUE_BYTES, value};

const LOADS_AT_ONCE: usize = 8;
/// The default of a cluster of up to eight members.
pub const PARTITIONS: u32 = 16;
/// Of one transaction: a quarter of what a message may hold.
const BATCH_BYTES: usize = 4 << 20;

/// What a cluster is started with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub members: usize,
    pub partitions: u32,
    /// Records that are there to be read.
    pub loaded: u64,
    pub value_bytes: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            members: MEMBERS,
            partitions: PARTITIONS,
            loaded: LOADED,
            value_bytes: VALUE_BYTES,
        }
    }
}

pub struct Cluster {
    pub members: Members,
    value_bytes: usize,
    /// Of what is there to be read.
    pub ids: Vec<u64>,
}

impl Cluster {
    pub async fn start(program: &Path, data_dir: &Path, shape: Shape) -> Result<Self> {
        let members = Members::start(program, data_dir, shape.members, shape.partitions).await?;
        let mut cluster = Cluster {
            members,
            value_bytes: shape.value_bytes,
            ids: Vec::new(),
        };
        cluster.load(shape.loaded).await?;
        Ok(cluster)
    }

    /// Creates records until there are so many to be read.
    pub async fn load(&mut self, until: u64) -> Result<()> {
        let missing = until.saturating_sub(self.ids.len() as u64);
        let most = BATCH.min((BATCH_BYTES / self.value_bytes.max(1)) as u64).max(1);
        let batches = (0..missing)
            .step_by(usize::try_from(most)?)
            .map(|begun| most.min(missing - begun));
        let requests = batches.map(|records| nodes(records, self.value_bytes));
        let outcomes = execute(&self.members, requests).await.context("loading what is read")?;
        self.ids.extend(outcomes);
        Ok(())
    }

    pub fn client(&self, operation: Operation, clients: u16) -> Result<Client> {
        let consistency = match operation {
            Operation::ReadEventual => Consistency::Eventual,
            Operation::Create | Operation::Batch | Operation::Edge | Operation::Read => Consistency::Strong,
        };
        Ok(Client {
            operation,
            value_bytes: self.value_bytes,
            connections: self.connections(clients, consistency)?,
            ids: self.ids.clone(),
        })
    }

    /// What so many clients share: each connection asks the next member; that finds the leaders.
    pub fn connections(&self, clients: u16, consistency: Consistency) -> Result<Vec<KotobaCluster>> {
        let connect = |number| {
            let options = Options {
                consistency,
                ..Options::default()
            };
            self.members.cluster(number, options)
        };
        (0..clients.div_ceil(CLIENTS_OF_A_CONNECTION).into())
            .map(connect)
            .collect()
    }
}

/// Executes transactions, some at once; gives the ids of what they made, in order.
pub async fn execute(members: &Members, requests: impl IntoIterator<Item = Vec<Request>>) -> Result<Vec<u64>> {
    let cluster = members.cluster(0, Options::default())?;
    let under_way = stream::iter(requests).map(|request| {
        let cluster = cluster.clone();
        async move { cluster.execute_operations(request).await }
    });
    let outcomes: Vec<_> = under_way.buffered(LOADS_AT_ONCE).try_collect().await?;
    Ok(outcomes.into_iter().flatten().map(|outcome| outcome.id).collect())
}

pub struct Client {
    pub operation: Operation,
    value_bytes: usize,
    connections: Vec<KotobaCluster>,
    ids: Vec<u64>,
}

impl Client {
    pub async fn once(&self, number: usize, operation: Operation) -> Result<(), ClusterError> {
        let cluster = &self.connections[number % self.connections.len()];
        match operation {
            Operation::Create => cluster.execute_operation(node(self.value_bytes)).await.map(|_| ()),
            Operation::Batch => {
                let batch = nodes(BATCH, self.value_bytes);
                cluster.execute_operations(batch).await.map(|_| ())
            }
            Operation::Edge => cluster.execute_operation(self.edge()).await.map(|_| ()),
            Operation::Read | Operation::ReadEventual => {
                let ids = vec![self.any_id()];
                let rows = cluster.fetch_rows(GetNodes { ids }).await?;
                match rows.len() {
                    1 => Ok(()),
                    found => Err(ClusterError::Protocol(format!("{found} nodes in place of one"))),
                }
            }
        }
    }

    fn edge(&self) -> CreateEdge {
        edge(self.any_id(), self.any_id())
    }

    fn any_id(&self) -> u64 {
        self.ids[rand::rng().random_range(0..self.ids.len())]
    }
}

impl Work for Client {
    type Kind = Operation;
    type Error = String;

    fn draw(&self) -> Operation {
        self.operation
    }

    async fn once(&self, number: usize, operation: Operation) -> Result<(), String> {
        self.once(number, operation).await.map_err(|error| error.to_string())
    }
}

pub fn node(value_bytes: usize) -> CreateNode {
    CreateNode {
        labels: vec!["Record".to_owned()],
        properties: [("value".to_owned(), value(value_bytes).into())].into(),
    }
}

pub fn nodes(records: u64, value_bytes: usize) -> Vec<Request> {
    (0..records).map(|_| node(value_bytes).into()).collect()
}

pub fn edge(source: u64, target: u64) -> CreateEdge {
    CreateEdge {
        r#type: "KNOWS".to_owned(),
        source: Some(NodeRef::id(source)),
        target: Some(NodeRef::id(target)),
        properties: [].into(),
    }
}

/// Some of these nodes. What was created together lies together, so they are taken from all over: then they are of all partitions.
pub fn shared(ids: &[u64]) -> Vec<u64> {
    let apart = (ids.len() / SHARED).max(1);
    ids.iter().step_by(apart).take(SHARED).copied().collect()
}

/// Two different ones of these nodes.
pub fn two_of(nodes: &[u64]) -> [u64; 2] {
    let mut drawn = nodes.choose_multiple(&mut rand::rng(), 2).copied();
    let mut next = || drawn.next().expect("there are two nodes at least");
    [next(), next()]
}

/// Two of these nodes are changed in one transaction.
pub fn update_two(nodes: &[u64]) -> Vec<Request> {
    two_of(nodes).map(|id| update(id).into()).into()
}

fn update(id: u64) -> UpdateNode {
    UpdateNode {
        id,
        set_properties: [("value".to_owned(), value(VALUE_BYTES).into())].into(),
        ..UpdateNode::default()
    }
}
