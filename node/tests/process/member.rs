//! One process of the binary, on ports that the system gave, and a client of it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use kotoba_proto::KotobaCluster;
use kotoba_proto::cluster::Options;
use tempfile::TempDir;

use crate::wait::{PATIENCE, until};

/// Where a process listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub peer: SocketAddr,
    pub client: SocketAddr,
    pub http: SocketAddr,
}

impl Ports {
    /// Free a moment ago, on an address of this process's own, so that no outgoing connection takes them meanwhile.
    pub fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let own = u8::try_from(std::process::id() % 40).unwrap() + 211;
        let ip = Ipv4Addr::new(127, own, high, low.wrapping_add(1));
        let held: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind((ip, 0)).unwrap()).collect();
        let port = |index: usize| held[index].local_addr().unwrap();
        Ports {
            peer: port(0),
            client: port(1),
            http: port(2),
        }
    }
}

/// A process; killed when it is dropped.
pub struct Member {
    pub ports: Ports,
    child: Child,
    log: PathBuf,
    _directory: TempDir,
}

impl Member {
    /// Starts `kotoba serve`; `settings` is put behind the addresses in its settings file, so it may begin with more of
    /// `[listen]`.
    pub fn start(ports: Ports, data_dir: &Path, settings: &str) -> Self {
        Self::start_by(kotoba(), ports, data_dir, settings)
    }

    /// As [`Member::start`], told where the others are.
    pub fn start_with_peers(ports: Ports, data_dir: &Path, peers: &[SocketAddr]) -> Self {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        let mut command = kotoba();
        command.env("KOTOBA_PEERS", peers.join(","));
        Self::start_by(command, ports, data_dir, "")
    }

    fn start_by(mut command: Command, ports: Ports, data_dir: &Path, settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("kotoba.toml");
        let log = directory.path().join("log");
        let text = format!(
            "data_dir = {data_dir:?}\n[listen]\npeer = \"{}\"\nclient = \"{}\"\nhttp = \"{}\"\n{settings}",
            ports.peer, ports.client, ports.http
        );
        std::fs::write(&file, text).unwrap();
        let out = File::create(&log).unwrap();
        let child = command
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Member {
            ports,
            child,
            log,
            _directory: directory,
        }
    }

    /// A process that serves a cluster of its own.
    pub async fn founded(data_dir: &Path, settings: &str) -> Self {
        Self::start(Ports::free(), data_dir, settings).found("test").await
    }

    /// As [`Member::founded`], under another name of the cluster.
    pub async fn founded_as(cluster_id: &str, data_dir: &Path) -> Self {
        Self::start(Ports::free(), data_dir, "").found(cluster_id).await
    }

    /// As [`Member::founded`]; the process may have so many files open, and not raise that.
    pub async fn founded_with_files(data_dir: &Path, files: u32) -> Self {
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, env!("CARGO_BIN_EXE_kotoba")]);
        Self::start_by(shell, Ports::free(), data_dir, "").found("test").await
    }

    async fn found(self, cluster_id: &str) -> Self {
        until("a founded cluster", || async {
            let peer = self.ports.peer.to_string();
            let told = kotoba()
                .args(["bootstrap", &peer, "--cluster-id", cluster_id])
                .output()
                .unwrap();
            match told.status.success() {
                true => Ok(()),
                false => Err(format!("{} {}", String::from_utf8_lossy(&told.stderr), self.log())),
            }
        })
        .await;
        self.ready().await;
        self
    }

    pub async fn ready(&self) {
        until("a ready member", || async {
            let answer = self.probe("/readyz").await;
            match answer.contains("200 OK") {
                true => Ok(()),
                false => Err(format!("{answer} {}", self.log())),
            }
        })
        .await;
    }

    pub fn client(&self) -> KotobaCluster {
        let options = Options {
            deadline: PATIENCE,
            unreachable_after: PATIENCE,
            ..Options::default()
        };
        KotobaCluster::connect_with(&self.ports.client.to_string(), options).unwrap()
    }

    /// What the port of the probes answers, or why not.
    pub async fn probe(&self, path: &str) -> String {
        get(self.ports.http, path)
            .await
            .unwrap_or_else(|error| error.to_string())
    }

    /// What a person types, against this member.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let cluster = self.ports.client.to_string();
        let told = kotoba().args(arguments).args(["--cluster", &cluster]).output().unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr)
        )
    }

    /// Memory of the process that is in use.
    pub fn resident_bytes(&self) -> u64 {
        let pages = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        resident * rustix::param::page_size() as u64
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What the process has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(
                std::time::Instant::now() < deadline,
                "the process runs on: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the process in order.
    pub async fn stop(mut self) -> String {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        let (status, log) = self.ended().await;
        assert!(status.success(), "{status}: {log}");
        log
    }

    /// Ends the process where it stands.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, deaf to the environment of whoever runs the tests.
pub fn kotoba() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kotoba"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KOTOBA_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// One request over HTTP/1.1, answered as a whole.
pub async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}
