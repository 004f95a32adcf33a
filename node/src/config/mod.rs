//! All settings of a member: defaults, file, environment and flags, in that order of growing strength.
//!
//! `Settings` is the file as typed (every key optional, unknown keys refused); `Config` is what the process uses.

mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::WallClock;
use crate::gateway::QueryLimits;
use crate::raft;
use crate::space::Volume;

pub use file::{
    AdvertiseSettings, ListenSettings, MembershipSettings, QuerySettings, Settings, SettingsError, StorageSettings,
};

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
    pub membership: MembershipConfig,
    pub timing: Timing,
    /// Bytes of memory for the caches of all state files together.
    pub state_cache_bytes: usize,
    pub history_retention: Duration,
    /// What is kept free on the data directory's file system; none: what suits its size.
    pub reserve_bytes: Option<u64>,
    /// The file system, or what stands for it in tests.
    pub volume: Arc<dyn Volume>,
    /// What one query may take.
    pub queries: QueryLimits,
    /// Intervals and bounds of consensus and of the stores.
    pub raft: raft::Settings,
    /// The time of day; tests set it.
    pub clock: Arc<dyn WallClock>,
    /// Cuts links between members, in tests.
    pub link_filter: Option<Arc<dyn raft::LinkFilter>>,
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
