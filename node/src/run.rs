//! A process from its start to its end: open the disk and the ports, serve, find the cluster, stop in reverse.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::config::Config;
use crate::member::Process;
use crate::peers_flag;
use crate::server::{Ports, raise_open_files, serve_clients, serve_http, serve_peers};

/// Leaders get this long to hand over; those that have not by then are missed for an election's time.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);
/// Requests under way get this long to end before the connections are closed.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(2);

/// Runs one member until a signal, or until its disk fails.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    raise_open_files();
    let member = Member::start(config).await?;
    let process = member.process.clone();
    tokio::select! {
        signal = ended_by_signal() => info!(signal = signal?, "stopping"),
        () = process.cancel.cancelled() => {},
    }
    member.stop().await;
    match process.fatal() {
        Some(reason) => Err(anyhow::anyhow!(
            "{reason}; check the disk, then start this member again"
        )),
        None => Ok(()),
    }
}

/// A process with its ports, serving.
pub struct Member {
    pub process: Arc<Process>,
    servers: JoinSet<anyhow::Result<()>>,
}

impl Member {
    /// Opens the ports and the disk, then serves; an empty disk waits to be told its cluster.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let ports = Ports::open(config.peer_listen, config.client_listen, config.http_listen)?;
        let config = config.on(&ports)?;
        Self::start_on(ports, config).await
    }

    /// As [`Member::start`], on ports that are open already.
    pub async fn start_on(ports: Ports, config: Config) -> anyhow::Result<Self> {
        let process = Process::open(config)?;
        let cancel = process.cancel.clone();
        let mut servers = JoinSet::new();
        servers.spawn(serve_peers(ports.peer, process.clone(), cancel.clone()));
        // Whoever starts at the same time has to be able to ask this one.
        peers_flag::check_cluster(&process).await?;
        servers.spawn(serve_clients(ports.client, process.clone(), cancel.clone()));
        servers.spawn(serve_http(ports.http, process.clone(), cancel.clone()));
        process.start_if_assigned().await?;
        if !process.config.peers.is_empty() || process.config.founding.alone {
            tokio::spawn(cancel.run_until_cancelled_owned(peers_flag::find_cluster(process.clone())));
        }
        Ok(Member { process, servers })
    }

    /// Hands over what is led here, stops the servers, then the groups with a last checkpoint of each.
    pub async fn stop(mut self) {
        if let Some(running) = self.process.running() {
            running.hand_over(HAND_OVER_WITHIN).await;
        }
        self.process.cancel.cancel();
        if let Some(running) = self.process.started() {
            running.groups.end_lanes().await;
        }
        let servers = async {
            while let Some(ended) = self.servers.join_next().await {
                if let Ok(Err(error)) = ended {
                    error!(error = %error, "a server ended with an error");
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN_WITHIN, servers).await.is_err() {
            info!("requests that did not end in time are cut off");
            self.servers.abort_all();
        }
        if let Some(running) = self.process.started() {
            for (_, local) in running.partitions.all() {
                local.leader.stop();
            }
            running.groups.shutdown().await;
        }
        info!("stopped");
    }
}

/// Waits for SIGTERM or SIGINT and names it.
pub async fn ended_by_signal() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
