//! The settings as typed: in the file (TOML), in the environment, as flags. One struct is all three, so none can lack a setting.
//!
//! The key in the file is the argument's id, and the comment on a field is its meaning everywhere: in `--help`, in
//! `kotoba config`, in docs/settings.md.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{DEFAULT_CLIENT_PORT, DEFAULT_HTTP_PORT, DEFAULT_PEER_PORT};

/// All settings of a member; what is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where this member keeps its data; one process a directory
    #[arg(long, value_name = "DIR", env = "KOTOBA_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Failure zone; the replicas of a partition are spread over zones first
    #[arg(long, value_name = "ZONE", env = "KOTOBA_ZONE")]
    pub zone: Option<String>,
    /// A name for people; never an id
    #[arg(long, value_name = "NAME", env = "KOTOBA_NODE_ID")]
    pub node_id: Option<String>,
    /// The peer address (--address) of every member of a hand-made cluster; this one's own may be among them. Empty under an operator
    #[arg(long, value_name = "HOST:PORT", env = "KOTOBA_PEERS", value_delimiter = ',')]
    pub peers: Option<Vec<String>>,
    /// Longest time that a request of a client may take, in milliseconds
    #[arg(long, value_name = "MS", env = "KOTOBA_REQUEST_TIMEOUT_MS")]
    pub request_timeout_ms: Option<u64>,
    #[command(flatten)]
    pub listen: ListenSettings,
    #[command(flatten)]
    pub advertise: AdvertiseSettings,
    #[command(flatten)]
    pub membership: MembershipSettings,
    #[command(flatten)]
    pub storage: StorageSettings,
    #[command(flatten)]
    pub queries: QuerySettings,
    #[command(flatten)]
    pub log: LogSettings,
}

#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[command(next_help_heading = "Addresses")]
#[serde(deny_unknown_fields, default)]
pub struct ListenSettings {
    /// Where other members speak to this one
    #[arg(
        id = "listen.peer",
        long = "peer-listen",
        value_name = "IP:PORT",
        env = "KOTOBA_PEER_LISTEN"
    )]
    pub peer: Option<String>,
    /// Where clients speak to this member
    #[arg(
        id = "listen.client",
        long = "client-listen",
        value_name = "IP:PORT",
        env = "KOTOBA_CLIENT_LISTEN"
    )]
    pub client: Option<String>,
    /// Probes and metrics
    #[arg(
        id = "listen.http",
        long = "http-listen",
        value_name = "IP:PORT",
        env = "KOTOBA_HTTP_LISTEN"
    )]
    pub http: Option<String>,
    /// Connections of clients that are taken at a time; more are told so and closed
    #[arg(
        id = "listen.max_connections",
        long = "max-connections",
        value_name = "NUMBER",
        env = "KOTOBA_MAX_CONNECTIONS"
    )]
    pub max_connections: Option<u64>,
}

impl ListenSettings {
    /// All ports by one address: members at its port, probes and clients as far above it as the default ports lie apart.
    pub fn around(address: SocketAddr) -> Self {
        let above = |offset: u16| {
            let port = match address.port() {
                // Each any that is free.
                0 => 0,
                port => port.saturating_add(offset),
            };
            Some(SocketAddr::new(address.ip(), port).to_string())
        };
        ListenSettings {
            peer: above(0),
            client: above(DEFAULT_CLIENT_PORT - DEFAULT_PEER_PORT),
            http: above(DEFAULT_HTTP_PORT - DEFAULT_PEER_PORT),
            max_connections: None,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[command(next_help_heading = "Addresses")]
#[serde(deny_unknown_fields, default)]
pub struct AdvertiseSettings {
    /// What other members dial: the listen address unless set; needed where that is 0.0.0.0
    #[arg(
        id = "advertise.peer",
        long = "peer-advertise",
        value_name = "HOST:PORT",
        env = "KOTOBA_PEER_ADVERTISE"
    )]
    pub peer: Option<String>,
    /// What clients dial: the listen address unless set; needed where that is 0.0.0.0
    #[arg(
        id = "advertise.client",
        long = "client-advertise",
        value_name = "HOST:PORT",
        env = "KOTOBA_CLIENT_ADVERTISE"
    )]
    pub client: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[command(next_help_heading = "Membership")]
#[serde(deny_unknown_fields, default)]
pub struct MembershipSettings {
    /// What counts as one heartbeat when silence is judged, in milliseconds
    #[arg(
        id = "membership.heartbeat_interval_ms",
        long = "heartbeat-interval-ms",
        value_name = "MS",
        env = "KOTOBA_HEARTBEAT_INTERVAL_MS"
    )]
    pub heartbeat_interval_ms: Option<u64>,
    /// How often the meta leader judges who is silent, in milliseconds
    #[arg(
        id = "membership.failure_detection_interval_ms",
        long = "failure-detection-interval-ms",
        value_name = "MS",
        env = "KOTOBA_FAILURE_DETECTION_INTERVAL_MS"
    )]
    pub failure_detection_interval_ms: Option<u64>,
    /// Silent for so many heartbeats: suspected
    #[arg(
        id = "membership.max_missed_heartbeats",
        long = "max-missed-heartbeats",
        value_name = "COUNT",
        env = "KOTOBA_MAX_MISSED_HEARTBEATS"
    )]
    pub max_missed_heartbeats: Option<u32>,
    /// Silent for so long: failed, in milliseconds
    #[arg(
        id = "membership.failure_timeout_ms",
        long = "failure-timeout-ms",
        value_name = "MS",
        env = "KOTOBA_FAILURE_TIMEOUT_MS"
    )]
    pub failure_timeout_ms: Option<u64>,
    /// Failed for so long: its replicas are placed elsewhere, where enough members are left, in seconds; 0 is never
    #[arg(
        id = "membership.replacement_after_s",
        long = "replacement-after-s",
        value_name = "SECONDS",
        env = "KOTOBA_REPLACEMENT_AFTER_S"
    )]
    pub replacement_after_s: Option<u64>,
    /// Spread the leaders of the partitions over the members
    #[arg(
        id = "membership.balance_leaders",
        long = "balance-leaders",
        value_name = "BOOL",
        env = "KOTOBA_BALANCE_LEADERS"
    )]
    pub balance_leaders: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[command(next_help_heading = "Storage")]
#[serde(deny_unknown_fields, default)]
pub struct StorageSettings {
    /// Memory for the caches of all state files together, in MiB
    #[arg(
        id = "storage.state_cache_mib",
        long = "state-cache-mib",
        value_name = "MIB",
        env = "KOTOBA_STATE_CACHE_MIB"
    )]
    pub state_cache_mib: Option<u64>,
    /// Memory for the newest entries of the log, so that followers in step are not fed from the disk, in MiB
    #[arg(
        id = "storage.log_cache_mib",
        long = "log-cache-mib",
        value_name = "MIB",
        env = "KOTOBA_LOG_CACHE_MIB"
    )]
    pub log_cache_mib: Option<u64>,
    /// What this member may send of its replicas when they are copied to another, so that clients do not feel it, in MiB a second
    #[arg(
        id = "storage.snapshot_mib_per_s",
        long = "snapshot-mib-per-s",
        value_name = "MIB",
        env = "KOTOBA_SNAPSHOT_MIB_PER_S"
    )]
    pub snapshot_mib_per_s: Option<u64>,
    /// How long old versions stay readable, in seconds; two minutes at least
    #[arg(
        id = "storage.history_retention_s",
        long = "history-retention-s",
        value_name = "SECONDS",
        env = "KOTOBA_HISTORY_RETENTION_S"
    )]
    pub history_retention_s: Option<u64>,
    /// The least time between two digests of a partition that its replicas compare, in seconds; where nothing changes none is made
    #[arg(
        id = "storage.digest_interval_s",
        long = "digest-interval-s",
        value_name = "SECONDS",
        env = "KOTOBA_DIGEST_INTERVAL_S"
    )]
    pub digest_interval_s: Option<u64>,
    /// In this time every replica is read whole once, to find what its disk has damaged, in seconds; 0 is never
    #[arg(
        id = "storage.scrub_interval_s",
        long = "scrub-interval-s",
        value_name = "SECONDS",
        env = "KOTOBA_SCRUB_INTERVAL_S"
    )]
    pub scrub_interval_s: Option<u64>,
    /// How fast replicas are read for that, in MiB a second
    #[arg(
        id = "storage.scrub_mib_per_s",
        long = "scrub-mib-per-s",
        value_name = "MIB",
        env = "KOTOBA_SCRUB_MIB_PER_S"
    )]
    pub scrub_mib_per_s: Option<u64>,
    /// What is kept free on the file system of the data directory, in MiB: with less, writes are refused and reads go on; at most a twentieth of it is kept, or 64 MiB
    #[arg(
        id = "storage.reserve_mib",
        long = "reserve-mib",
        value_name = "MIB",
        env = "KOTOBA_RESERVE_MIB"
    )]
    pub reserve_mib: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[command(next_help_heading = "Queries")]
#[serde(deny_unknown_fields, default)]
pub struct QuerySettings {
    /// Most rows that one query may answer; a client asks for more in pages
    #[arg(
        id = "queries.max_rows",
        long = "query-max-rows",
        value_name = "ROWS",
        env = "KOTOBA_QUERY_MAX_ROWS"
    )]
    pub max_rows: Option<u64>,
    /// Memory of one query, in MiB; what it orders must fit half of it
    #[arg(
        id = "queries.memory_mib",
        long = "query-memory-mib",
        value_name = "MIB",
        env = "KOTOBA_QUERY_MEMORY_MIB"
    )]
    pub memory_mib: Option<u64>,
    /// Leaders answer reads within their lease, and ask a majority only where that is over; false where machines may be halted
    /// together with their clocks for a second, as a virtual machine is when it is paused
    #[arg(
        id = "queries.lease_reads",
        long = "lease-reads",
        value_name = "BOOL",
        env = "KOTOBA_LEASE_READS"
    )]
    pub lease_reads: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[command(next_help_heading = "Log")]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// What is logged, as a tracing filter, for example info,kotoba_node::raft=debug
    #[arg(id = "log.filter", long = "log-filter", value_name = "FILTER", env = "KOTOBA_LOG")]
    pub filter: Option<String>,
    /// How it is written: text, or json for collectors
    #[arg(
        id = "log.format",
        long = "log-format",
        value_name = "FORMAT",
        env = "KOTOBA_LOG_FORMAT"
    )]
    pub format: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}
