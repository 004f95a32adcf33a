//! Members of a KotobaDB cluster on this machine, as many and with as many partitions as asked for.
//!
//! They are founded as by a person, with `kotoba bootstrap`: only that takes a number of partitions.

mod changing;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use kotoba_proto::v1::GetStatusResponse;
use kotoba_proto::{KotobaCluster, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Duration, sleep, timeout};

use crate::machine::disk_bytes;
use crate::process::{Process, free_ports};

const READY_LIMIT: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(20);
/// To answer, the leader asks all members: asked more often, it would be a load of its own.
const ASK_WHETHER_WELL_EVERY: Duration = Duration::from_millis(100);
/// In a member's folder.
const STATE: &str = "data/replicas";
const LOG: &str = "data/log";
const PROBE_LIMIT: Duration = Duration::from_secs(1);

pub struct Members {
    // Before the folder: they end before it is removed.
    pub processes: Vec<Process>,
    ports: Vec<Ports>,
    program: PathBuf,
    /// Members that ever were.
    started: usize,
    folder: TempDir,
}

/// Where a member listens.
#[derive(Clone, Copy)]
pub struct Ports {
    peer: u16,
    client: u16,
    http: u16,
}

impl Ports {
    /// Those that were free just now.
    pub fn free() -> Result<Self> {
        let [peer, client, http] = free_ports()?;
        Ok(Ports { peer, client, http })
    }

    pub fn client_address(self) -> String {
        local(self.client)
    }
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Members {
    /// Starts them with their data in a folder of their own, and waits until they are well.
    pub async fn start(program: &Path, data_dir: &Path, count: usize, partitions: u32) -> Result<Self> {
        let folder = TempDir::new_in(data_dir).context("making a folder for the members")?;
        let mut members = Members {
            processes: Vec::new(),
            ports: Vec::new(),
            program: program.to_owned(),
            started: 0,
            folder,
        };
        for _ in 0..count {
            members.start_one(Ports::free()?, &[])?;
        }
        members.found(partitions).await?;
        members.wait_until_well().await?;
        Ok(members)
    }

    fn start_one(&mut self, ports: Ports, peers: &[Ports]) -> Result<()> {
        let own = self.folder.path().join(format!("member-{}", self.started));
        self.processes.push(start(&self.program, &own, ports, peers)?);
        self.ports.push(ports);
        self.started += 1;
        Ok(())
    }

    async fn found(&self, partitions: u32) -> Result<()> {
        let mut args = vec!["bootstrap".to_owned(), format!("--partitions={partitions}")];
        args.push("--cluster-id=bench".to_owned());
        args.extend(self.ports.iter().map(|ports| local(ports.peer)));
        let begin = Instant::now();
        loop {
            let mut command = Command::new(&self.program);
            command.args(&args).stdin(Stdio::null()).kill_on_drop(true);
            let output = command.output().await.context("starting `kotoba bootstrap`")?;
            if output.status.success() {
                return Ok(());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(begin.elapsed() < READY_LIMIT, "KotobaDB was not founded: {said}");
            sleep(ASK_EVERY).await;
        }
    }

    /// Until the cluster has no findings about itself, and each member serves.
    pub async fn wait_until_well(&self) -> Result<()> {
        for number in 0..self.ports.len() {
            self.wait_until_serving(number).await?;
        }
        let cluster = self.cluster(0, Options::default())?;
        let begin = Instant::now();
        loop {
            let health = cluster.check_health().await;
            if health.as_ref().is_ok_and(|health| health.is_healthy) {
                return Ok(());
            }
            ensure!(begin.elapsed() < READY_LIMIT, "KotobaDB is not well: {health:?}");
            sleep(ASK_WHETHER_WELL_EVERY).await;
        }
    }

    /// Until a member says that it serves clients.
    pub async fn wait_until_serving(&self, number: usize) -> Result<()> {
        let address = local(self.ports[number].http);
        let begin = Instant::now();
        while !is_ready(&address).await {
            ensure!(begin.elapsed() < READY_LIMIT, "member {number} does not serve");
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// A client that asks first the member of this number, counted round.
    pub fn cluster(&self, number: usize, options: Options) -> Result<KotobaCluster> {
        let mut addresses = self.addresses();
        let members = addresses.len();
        addresses.rotate_left(number % members);
        KotobaCluster::connect_with(&addresses.join(","), options).context("addressing the members")
    }

    /// A client that knows only one member.
    pub fn only(&self, number: usize) -> Result<KotobaCluster> {
        KotobaCluster::connect(&local(self.ports[number].client)).context("addressing a member")
    }

    /// Of their client ports.
    pub fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|ports| local(ports.client)).collect()
    }

    /// What all that a member keeps takes on the disk.
    pub fn disk_bytes(&self, number: usize) -> Result<u64> {
        disk_bytes(self.processes[number].folder())
    }

    /// Of that its log.
    pub fn log_bytes(&self, number: usize) -> Result<u64> {
        disk_bytes(&self.processes[number].folder().join(LOG))
    }

    /// Of that the state of its replicas. Nearly all that is neither this nor the log is the ballast, which is given up when
    /// the disk is full.
    pub fn state_bytes(&self, number: usize) -> Result<u64> {
        disk_bytes(&self.processes[number].folder().join(STATE))
    }

    /// The member that leads the most partitions.
    pub async fn leader(&self) -> Result<usize> {
        let status = self.cluster(0, Options::default())?.get_status().await?;
        let Some(address) = busiest(&status) else {
            bail!("no member leads a partition");
        };
        let found = self.addresses().iter().position(|own| *own == address);
        found.with_context(|| format!("{address} is none of our members"))
    }
}

/// Where clients speak to the member that leads the most partitions.
fn busiest(status: &GetStatusResponse) -> Option<&str> {
    let mut led: BTreeMap<u64, usize> = BTreeMap::new();
    for partition in &status.partitions {
        *led.entry(partition.leader_member_id).or_default() += 1;
    }
    let members = status.members.iter().filter(|member| led.contains_key(&member.id));
    let most = members.max_by_key(|member| led[&member.id])?;
    Some(&most.client_address)
}

/// With peers it asks them to be taken into their cluster.
fn start(program: &Path, own: &Path, ports: Ports, peers: &[Ports]) -> Result<Process> {
    let args = [
        ["--data-dir", &own.join("data").display().to_string()],
        ["--peer-listen", &local(ports.peer)],
        ["--client-listen", &local(ports.client)],
        ["--http-listen", &local(ports.http)],
    ];
    let args = args.iter().flatten().map(|arg| (*arg).to_owned());
    let peers: Vec<String> = peers.iter().map(|peer| local(peer.peer)).collect();
    let peers = (!peers.is_empty()).then(|| format!("--peers={}", peers.join(",")));
    let args: Vec<String> = ["serve".to_owned()].into_iter().chain(args).chain(peers).collect();
    Process::start(program, &args, own)
}

async fn is_ready(address: &str) -> bool {
    let answer = timeout(PROBE_LIMIT, probe(address)).await;
    answer.is_ok_and(|answer| answer.is_ok_and(|text| text.starts_with("HTTP/1.1 200")))
}

async fn probe(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use kotoba_proto::v1::{MemberStatus, PartitionStatus};

    use super::*;

    #[test]
    fn the_busiest_leads_the_most_partitions_and_is_known() {
        let partition = |leader_member_id| PartitionStatus {
            leader_member_id,
            ..PartitionStatus::default()
        };
        let member = |id, address: &str| MemberStatus {
            id,
            client_address: address.to_owned(),
            ..MemberStatus::default()
        };
        let mut status = GetStatusResponse {
            members: vec![member(1, "a:1"), member(2, "b:1")],
            ..GetStatusResponse::default()
        };
        assert_eq!(busiest(&status), None);
        // 0: led by none.
        status.partitions = [0, 0, 0, 1, 2, 2].map(partition).to_vec();
        assert_eq!(busiest(&status), Some("b:1"));
    }
}
