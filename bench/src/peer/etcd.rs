//! etcd with its defaults: a record is a key with a value. Writes and linearizable reads go to the leader, which is the best
//! for it; serializable reads to all members.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use tempfile::TempDir;
use tokio::time::{Duration, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use self::api::kv_client::KvClient;
use self::api::maintenance_client::MaintenanceClient;
use self::api::{PutRequest, RangeRequest, RequestOp, StatusRequest, TxnRequest, request_op};
use super::{MEMBERS, READY_LIMIT};
use crate::operation::{BATCH, LOADED, Operation, VALUE_BYTES, value};
use crate::process::{Process, free_ports};

/// Generated from bench/proto/etcd.proto.
#[allow(clippy::pedantic)]
mod api {
    tonic::include_proto!("etcdserverpb");
}

const ASK_EVERY: Duration = Duration::from_millis(100);

pub struct Cluster {
    // Before the folder: they end before it is removed.
    pub processes: Vec<Process>,
    _folder: TempDir,
    urls: Vec<String>,
    leader: usize,
    /// The next new key, over all clients.
    next: std::sync::Arc<AtomicU64>,
}

impl Cluster {
    pub async fn start(program: &Path, data_dir: &Path) -> Result<Self> {
        let folder = TempDir::new_in(data_dir).context("making a folder for the members")?;
        let ports: [[u16; 2]; MEMBERS] = [free_ports()?, free_ports()?, free_ports()?];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let named: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(number, [peer, _])| format!("m{number}={}", url(*peer)))
            .collect();
        let mut processes = Vec::new();
        for (number, [peer, client]) in ports.into_iter().enumerate() {
            let own = folder.path().join(format!("member-{number}"));
            let (peer, client, name) = (url(peer), url(client), format!("m{number}"));
            let data = own.join("data").display().to_string();
            let flags = [
                ("name", name.as_str()),
                ("data-dir", &data),
                ("listen-peer-urls", &peer),
                ("initial-advertise-peer-urls", &peer),
                ("listen-client-urls", &client),
                ("advertise-client-urls", &client),
                ("initial-cluster", &named.join(",")),
                ("log-level", "error"),
            ];
            let args: Vec<String> = flags.iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
            processes.push(Process::start(program, &args, &own)?);
        }
        let mut cluster = Cluster {
            processes,
            _folder: folder,
            urls: ports.iter().map(|[_, client]| url(*client)).collect(),
            leader: 0,
            next: std::sync::Arc::default(),
        };
        cluster.leader = cluster.wait_for_leader().await?;
        cluster.load().await.context("loading what is read")?;
        Ok(cluster)
    }

    async fn wait_for_leader(&self) -> Result<usize> {
        let begin = Instant::now();
        loop {
            for (number, url) in self.urls.iter().enumerate() {
                if is_leader(url).await.unwrap_or(false) {
                    return Ok(number);
                }
            }
            ensure!(begin.elapsed() < READY_LIMIT, "etcd was not ready in time");
            sleep(ASK_EVERY).await;
        }
    }

    async fn load(&self) -> Result<()> {
        let mut client = connect(&self.urls[self.leader]).await?;
        for from in (0..LOADED).step_by(usize::try_from(BATCH)?) {
            client.txn(puts(from)).await?;
        }
        self.next.store(LOADED, Ordering::Relaxed);
        Ok(())
    }

    pub async fn client(&self, operation: Operation, connections: usize) -> Result<Client> {
        let mut clients = Vec::new();
        for number in 0..connections {
            let member = match operation {
                Operation::ReadEventual => number % MEMBERS,
                Operation::Create | Operation::Batch | Operation::Edge | Operation::Read => self.leader,
            };
            clients.push(connect(&self.urls[member]).await?);
        }
        Ok(Client {
            operation,
            connections: clients,
            next: self.next.clone(),
        })
    }
}

async fn connect(url: &str) -> Result<KvClient<Channel>> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    Ok(KvClient::new(endpoint.connect().await.context("connecting to etcd")?))
}

async fn is_leader(url: &str) -> Result<bool> {
    let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
    let status = MaintenanceClient::new(channel)
        .status(StatusRequest {})
        .await?
        .into_inner();
    Ok(status.header.is_some_and(|header| header.member_id == status.leader))
}

pub struct Client {
    pub operation: Operation,
    connections: Vec<KvClient<Channel>>,
    next: std::sync::Arc<AtomicU64>,
}

impl Client {
    pub async fn once(&self, number: usize, operation: Operation) -> Result<(), Status> {
        let mut client = self.connections[number % self.connections.len()].clone();
        match operation {
            Operation::Create => client.put(put(self.new_keys(1))).await.map(|_| ()),
            Operation::Batch => client.txn(puts(self.new_keys(BATCH))).await.map(|_| ()),
            Operation::Edge => Err(Status::new(Code::Unimplemented, "etcd has no relationships")),
            Operation::Read => read(&mut client, false).await,
            Operation::ReadEventual => read(&mut client, true).await,
        }
    }

    fn new_keys(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::Relaxed)
    }
}

async fn read(client: &mut KvClient<Channel>, serializable: bool) -> Result<(), Status> {
    let key = key(rand::rng().random_range(0..LOADED));
    let answer = client.range(RangeRequest { key, serializable }).await?;
    match answer.into_inner().kvs.len() {
        1 => Ok(()),
        found => Err(Status::new(Code::DataLoss, format!("{found} keys in place of one"))),
    }
}

fn puts(from: u64) -> TxnRequest {
    let puts = (from..from + BATCH).map(|number| RequestOp {
        request: Some(request_op::Request::RequestPut(put(number))),
    });
    TxnRequest {
        success: puts.collect(),
    }
}

fn put(number: u64) -> PutRequest {
    PutRequest {
        key: key(number),
        value: value(VALUE_BYTES).into_bytes(),
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("record/{number:016}").into_bytes()
}
