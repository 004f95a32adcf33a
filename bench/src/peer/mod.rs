//! The systems that are measured: how each is started and asked.

mod etcd;
pub mod kotoba;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;
use kotoba_drive::Work;
use serde::Serialize;

use crate::operation::Operation;
use crate::process::Process;

/// Members of each peer.
pub const MEMBERS: usize = 3;
/// Clients that share a connection.
pub const CLIENTS_OF_A_CONNECTION: u16 = 16;
const READY_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Kotoba,
    Etcd,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Kotoba => "KotobaDB",
            Peer::Etcd => "etcd",
        }
    }

    /// Whether it knows such an operation.
    pub fn can(self, operation: Operation) -> bool {
        match self {
            Peer::Kotoba => true,
            Peer::Etcd => operation != Operation::Edge,
        }
    }
}

/// Where the binaries are.
#[derive(Clone, Debug)]
pub struct Programs {
    pub kotoba: PathBuf,
    pub etcd: Option<PathBuf>,
}

impl Programs {
    pub fn peers(&self) -> Vec<Peer> {
        let etcd = self.etcd.as_ref().map(|_| Peer::Etcd);
        [Peer::Kotoba].into_iter().chain(etcd).collect()
    }
}

/// A running peer with what is there to be read.
pub enum Running {
    Kotoba(kotoba::Cluster),
    Etcd(etcd::Cluster),
}

/// The operations of one peer, for the driver.
pub enum Client {
    Kotoba(kotoba::Client),
    Etcd(etcd::Client),
}

impl Running {
    /// Starts a peer with its data in a folder of its own in `data_dir`, and loads what is read.
    pub async fn start(peer: Peer, programs: &Programs, data_dir: &Path) -> Result<Self> {
        match (peer, &programs.etcd) {
            (Peer::Kotoba, _) => {
                let cluster = kotoba::Cluster::start(&programs.kotoba, data_dir, kotoba::Shape::default());
                cluster.await.map(Running::Kotoba)
            }
            (Peer::Etcd, Some(etcd)) => etcd::Cluster::start(etcd, data_dir).await.map(Running::Etcd),
            (Peer::Etcd, None) => bail!("etcd is not there to be measured"),
        }
    }

    pub async fn client(&self, operation: Operation, clients: u16) -> Result<Arc<Client>> {
        let client = match self {
            Running::Kotoba(cluster) => Client::Kotoba(cluster.client(operation, clients)?),
            Running::Etcd(cluster) => {
                let connections = clients.div_ceil(CLIENTS_OF_A_CONNECTION).into();
                Client::Etcd(cluster.client(operation, connections).await?)
            }
        };
        Ok(Arc::new(client))
    }

    pub fn processes(&self) -> &[Process] {
        match self {
            Running::Kotoba(cluster) => &cluster.members.processes,
            Running::Etcd(cluster) => &cluster.processes,
        }
    }
}

impl Work for Client {
    type Kind = Operation;
    type Error = String;

    fn draw(&self) -> Operation {
        match self {
            Client::Kotoba(client) => client.operation,
            Client::Etcd(client) => client.operation,
        }
    }

    async fn once(&self, number: usize, operation: Operation) -> Result<(), String> {
        match self {
            Client::Kotoba(client) => client.once(number, operation).await.map_err(|error| error.to_string()),
            Client::Etcd(client) => client.once(number, operation).await.map_err(|error| error.to_string()),
        }
    }
}
