//! All settings of a member: defaults, file, environment and flags, in that order of growing strength.
//!
//! `Settings` is what is typed, in the file and as flags (every key optional, unknown keys refused); `Config` is what the
//! process uses.

mod check;
mod file;
mod place;
pub mod table;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::WallClock;
use crate::gateway::QueryLimits;
use crate::raft;
use crate::server::Ports;
use crate::space::Volume;

pub use check::Impossible;
pub use file::{
    AdvertiseSettings, ListenSettings, LogFormat, LogSettings, MembershipSettings, QuerySettings, Settings,
    StorageSettings,
};
pub use place::{Place, SettingsError, into_config};

/// Where peers speak to this member.
pub const DEFAULT_PEER_PORT: u16 = 7600;
/// Where clients speak to this member.
pub const DEFAULT_CLIENT_PORT: u16 = 7700;
/// Ten thousand clients, and room for those that come and go.
pub const DEFAULT_MAX_CONNECTIONS: usize = 16_384;
/// Probes and metrics.
pub const DEFAULT_HTTP_PORT: u16 = 7680;

/// The settings a member runs with; nothing is optional any more.
#[derive(Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub peer_listen: SocketAddr,
    pub client_listen: SocketAddr,
    pub http_listen: SocketAddr,
    /// Connections of clients; more are refused.
    pub max_connections: usize,
    /// host:port that other members reach; kept in the catalogue, so a name is better than an IP.
    pub peer_advertise: String,
    /// host:port that clients reach.
    pub client_advertise: String,
    pub zone: String,
    /// A label for people, from `--node-id`; never an id.
    pub name: String,
    /// Peer addresses of a hand-made cluster (this member's own may be among them); empty under an operator.
    pub peers: Vec<String>,
    pub founding: Founding,
    pub membership: MembershipConfig,
    pub timing: Timing,
    pub history_retention: Duration,
    pub integrity: IntegrityConfig,
    /// What is kept free on the data directory's file system; less where that is small.
    pub reserve_bytes: u64,
    /// The file system, or what stands for it in tests.
    pub volume: Arc<dyn Volume>,
    /// What one query may take.
    pub queries: QueryLimits,
    /// Intervals and bounds of consensus and of the stores.
    pub raft: raft::Settings,
    pub log: LogConfig,
    /// The time of day; tests set it.
    pub clock: Arc<dyn WallClock>,
    /// Cuts links between members, in tests.
    pub link_filter: Option<Arc<dyn raft::LinkFilter>>,
}

impl Config {
    /// As it would be typed; what only tests set is left out.
    fn into_settings(self) -> Settings {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).ok();
        let mebibytes = |bytes: usize| u64::try_from(bytes >> 20).ok();
        Settings {
            data_dir: Some(self.data_dir),
            zone: Some(self.zone),
            node_id: Some(self.name),
            peers: Some(self.peers),
            request_timeout_ms: millis(self.timing.request_timeout),
            listen: ListenSettings {
                peer: Some(self.peer_listen.to_string()),
                client: Some(self.client_listen.to_string()),
                http: Some(self.http_listen.to_string()),
                max_connections: u64::try_from(self.max_connections).ok(),
            },
            advertise: AdvertiseSettings {
                peer: Some(self.peer_advertise),
                client: Some(self.client_advertise),
            },
            membership: MembershipSettings {
                heartbeat_interval_ms: millis(self.membership.heartbeat_interval),
                failure_detection_interval_ms: millis(self.membership.failure_detection_interval),
                max_missed_heartbeats: Some(self.membership.max_missed_heartbeats),
                failure_timeout_ms: millis(self.membership.failure_timeout),
                replacement_after_s: Some(self.membership.replacement_after.map_or(0, |after| after.as_secs())),
                balance_leaders: Some(self.membership.balance_leaders),
            },
            storage: StorageSettings {
                state_cache_mib: mebibytes(self.raft.state_cache_bytes),
                log_cache_mib: mebibytes(self.raft.log_cache_bytes),
                snapshot_mib_per_s: Some(self.raft.snapshot_bytes_per_s >> 20),
                history_retention_s: Some(self.history_retention.as_secs()),
                digest_interval_s: Some(self.integrity.digest_interval.as_secs()),
                scrub_interval_s: Some(self.integrity.scrub_interval.map_or(0, |interval| interval.as_secs())),
                scrub_mib_per_s: Some(self.integrity.scrub_bytes_per_s >> 20),
                reserve_mib: Some(self.reserve_bytes >> 20),
            },
            queries: QuerySettings {
                max_rows: Some(self.queries.max_rows),
                memory_mib: mebibytes(self.queries.memory_bytes),
                lease_reads: Some(self.raft.lease_reads),
            },
            log: LogSettings {
                filter: Some(self.log.filter),
                format: Some(self.log.format),
            },
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("data_dir", &self.data_dir)
            .field("peer_advertise", &self.peer_advertise)
            .field("client_advertise", &self.client_advertise)
            .finish_non_exhaustive()
    }
}

/// What a member logs, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A tracing filter.
    pub filter: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            filter: "info,openraft=warn".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// With what a process with an empty disk founds its cluster, where nobody tells it; zeros stand for defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Founding {
    pub replication_factor: u32,
    pub partition_count: u32,
    /// Founds a cluster of its own where it has no peers, instead of waiting to be told.
    pub alone: bool,
}

impl Config {
    /// The same with the ports that the system gave where port 0 was asked for.
    pub(crate) fn on(self, ports: &Ports) -> std::io::Result<Self> {
        let client_listen = ports.client.local_addr()?;
        let peer_listen = ports.peer.local_addr()?;
        let advertise = |advertise: String, was: SocketAddr, is: SocketAddr| match was == is {
            true => advertise,
            false => with_port(&advertise, is.port()),
        };
        Ok(Config {
            http_listen: ports.http.local_addr()?,
            peer_advertise: advertise(self.peer_advertise, self.peer_listen, peer_listen),
            client_advertise: advertise(self.client_advertise, self.client_listen, client_listen),
            peer_listen,
            client_listen,
            ..self
        })
    }
}

/// `host:0` with the port that it stands for; a port that was advertised on purpose stays.
fn with_port(advertise: &str, port: u16) -> String {
    match advertise.strip_suffix(":0") {
        Some(host) => format!("{host}:{port}"),
        None => advertise.to_owned(),
    }
}

/// When a silent member counts as suspected, and when as failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipConfig {
    pub heartbeat_interval: Duration,
    pub failure_detection_interval: Duration,
    pub max_missed_heartbeats: u32,
    pub failure_timeout: Duration,
    /// The replicas of a member that has failed for longer are placed elsewhere; none: never.
    pub replacement_after: Option<Duration>,
    /// Leaders are spread over the members.
    pub balance_leaders: bool,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        MembershipConfig {
            heartbeat_interval: Duration::from_secs(1),
            failure_detection_interval: Duration::from_secs(1),
            max_missed_heartbeats: 3,
            failure_timeout: Duration::from_secs(15),
            // Longer than a machine takes to restart: copying everything costs more than waiting for it.
            replacement_after: Some(Duration::from_secs(600)),
            balance_leaders: true,
        }
    }
}

impl MembershipConfig {
    /// Silence after which a member is suspected.
    pub fn suspect_after(&self) -> Duration {
        self.heartbeat_interval * self.max_missed_heartbeats
    }
}

/// How replicas are checked against each other, and against what they wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrityConfig {
    /// The least time between two digests of a partition that are compared; where nothing changes none is written.
    pub digest_interval: Duration,
    /// In this time every replica here is read whole once; none: never.
    pub scrub_interval: Option<Duration>,
    /// Bytes read in a second for that.
    pub scrub_bytes_per_s: u64,
}

impl Default for IntegrityConfig {
    fn default() -> Self {
        IntegrityConfig {
            digest_interval: Duration::from_secs(60),
            scrub_interval: Some(Duration::from_secs(24 * 60 * 60)),
            scrub_bytes_per_s: 16 << 20,
        }
    }
}

/// Intervals of the member's own loops; tests shorten them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// One pass of the meta leader's driver.
    pub driver_interval: Duration,
    /// The longest a request may take inside the cluster.
    pub request_timeout: Duration,
    /// One call from member to member.
    pub peer_call_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            driver_interval: Duration::from_millis(500),
            request_timeout: Duration::from_secs(30),
            peer_call_timeout: Duration::from_secs(5),
        }
    }
}
