//! KotobaDB: three processes that name each other; a record is a node with one property.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kotoba_proto::v1::{Consistency, CreateEdge, CreateNode, GetNodes, NodeRef};
use kotoba_proto::{ClusterError, KotobaCluster, Options};
use rand::Rng;
use tokio::time::{Duration, sleep};

use super::{MEMBERS, READY_LIMIT, value};
use crate::operation::{BATCH, LOADED, Operation};
use crate::process::{Process, free_ports};

const LOADS_AT_ONCE: usize = 8;
const ASK_EVERY: Duration = Duration::from_millis(100);

pub struct Cluster {
    pub processes: Vec<Process>,
    addresses: Vec<String>,
    ids: Vec<u64>,
}

impl Cluster {
    pub async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let ports: [[u16; 3]; MEMBERS] = [free_ports()?, free_ports()?, free_ports()?];
        let local = |port: u16| format!("127.0.0.1:{port}");
        let peers: Vec<String> = ports.iter().map(|[peer, ..]| local(*peer)).collect();
        let mut processes = Vec::new();
        for (number, [peer, client, http]) in ports.into_iter().enumerate() {
            let own = folder.join(format!("member-{number}"));
            let data = own.join("data").display().to_string();
            let args = [
                ["serve", "--data-dir", &data],
                ["--peer-listen", &local(peer), "--client-listen"],
                [&local(client), "--http-listen", &local(http)],
            ];
            let args = args.into_iter().flatten().map(str::to_owned);
            let args: Vec<String> = args.chain(["--peers".to_owned(), peers.join(",")]).collect();
            processes.push(Process::start(program, &args, &own)?);
        }
        let addresses = ports.iter().map(|[_, client, _]| local(*client)).collect();
        let mut cluster = Cluster {
            processes,
            addresses,
            ids: Vec::new(),
        };
        cluster.wait_until_ready().await?;
        cluster.ids = cluster.load().await.context("loading what is read")?;
        Ok(cluster)
    }

    async fn wait_until_ready(&self) -> Result<()> {
        let cluster = self.connection(0, Operation::Read)?;
        let begin = Instant::now();
        loop {
            let health = cluster.check_health().await;
            if health.as_ref().is_ok_and(|health| health.is_healthy) {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < READY_LIMIT,
                "KotobaDB was not ready in time: {health:?}"
            );
            sleep(ASK_EVERY).await;
        }
    }

    async fn load(&self) -> Result<Vec<u64>> {
        let cluster = self.connection(0, Operation::Create)?;
        let batches = stream::iter(0..LOADED / BATCH).map(|_| {
            let cluster = cluster.clone();
            async move { cluster.execute_operations(batch()).await }
        });
        let outcomes: Vec<_> = batches.buffer_unordered(LOADS_AT_ONCE).try_collect().await?;
        Ok(outcomes.into_iter().flatten().map(|outcome| outcome.id).collect())
    }

    pub fn client(&self, operation: Operation, connections: usize) -> Result<Client> {
        let connections = (0..connections).map(|number| self.connection(number, operation));
        Ok(Client {
            operation,
            connections: connections.collect::<Result<_>>()?,
            ids: self.ids.clone(),
        })
    }

    /// Each connection asks the next member; that finds the leaders.
    fn connection(&self, number: usize, operation: Operation) -> Result<KotobaCluster> {
        let mut addresses = self.addresses.clone();
        addresses.rotate_left(number % MEMBERS);
        let consistency = match operation {
            Operation::ReadEventual => Consistency::Eventual,
            Operation::Create | Operation::Batch | Operation::Edge | Operation::Read => Consistency::Strong,
        };
        let options = Options {
            consistency,
            ..Options::default()
        };
        KotobaCluster::connect_with(&addresses.join(","), options).context("addressing the members")
    }
}

pub struct Client {
    pub operation: Operation,
    connections: Vec<KotobaCluster>,
    ids: Vec<u64>,
}

impl Client {
    pub async fn once(&self, number: usize, operation: Operation) -> Result<(), ClusterError> {
        let cluster = &self.connections[number % self.connections.len()];
        match operation {
            Operation::Create => cluster.execute_operation(node()).await.map(|_| ()),
            Operation::Batch => cluster.execute_operations(batch()).await.map(|_| ()),
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
        CreateEdge {
            r#type: "KNOWS".to_owned(),
            source: Some(NodeRef::id(self.any_id())),
            target: Some(NodeRef::id(self.any_id())),
            properties: [].into(),
        }
    }

    fn any_id(&self) -> u64 {
        self.ids[rand::rng().random_range(0..self.ids.len())]
    }
}

fn node() -> CreateNode {
    CreateNode {
        labels: vec!["Record".to_owned()],
        properties: [("value".to_owned(), value().into())].into(),
    }
}

fn batch() -> Vec<kotoba_proto::v1::Operation> {
    (0..BATCH).map(|_| node().into()).collect()
}
