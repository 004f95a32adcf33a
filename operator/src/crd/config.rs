//! Settings of the database that a cluster's author may change; each is one row of docs/settings.md.
//!
//! What follows from Kubernetes (addresses, directories, names, zones) is the operator's and not among them. The bounds are
//! those of the database, which checks them again.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the database. A change makes the pods anew, one at a time; what is left out has the database's default.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.failureTimeoutMs) ? self.failureTimeoutMs : 15000) >= (has(self.heartbeatIntervalMs) ? self.heartbeatIntervalMs : 1000) * (has(self.maxMissedHeartbeats) ? self.maxMissedHeartbeats : 3)")
        .message("config.failureTimeoutMs (default 15000) must be at least heartbeatIntervalMs (default 1000) times maxMissedHeartbeats (default 3)")
)]
pub struct Config {
    /// Longest time that a request of a client may take, in milliseconds. Default 30000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 86400000))]
    pub request_timeout_ms: Option<i64>,

    /// Connections of clients that a member takes at a time. Default 16384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000000))]
    pub max_connections: Option<i64>,

    /// What counts as one heartbeat when silence is judged, in milliseconds. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 60000))]
    pub heartbeat_interval_ms: Option<i64>,

    /// Silent for so many heartbeats: suspected. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_missed_heartbeats: Option<i64>,

    /// Silent for so long: failed, in milliseconds. Default 15000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400000))]
    pub failure_timeout_ms: Option<i64>,

    /// Failed for so long: its partition copies are placed elsewhere, where enough members are left, in seconds; 0 is
    /// never. Default 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31536000))]
    pub replacement_after_s: Option<i64>,

    /// Memory for the caches of all state files together, in MiB. Default 512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub state_cache_mib: Option<i64>,

    /// Memory for the newest entries of the log, so that followers in step are not fed from the disk, in MiB. Default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub log_cache_mib: Option<i64>,

    /// What a member may send of its partition copies when they are copied to another, in MiB a second. Default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1048576))]
    pub snapshot_mib_per_s: Option<i64>,

    /// How long old versions stay readable, in seconds; two minutes at least. Default 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31536000))]
    pub history_retention_s: Option<i64>,

    /// In this time every partition copy is read whole once, in seconds; 0 is never. Default 86400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31536000))]
    pub scrub_interval_s: Option<i64>,

    /// Most rows that one query may answer. Default 10000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub query_max_rows: Option<i64>,

    /// Memory of one query, in MiB. Default 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 48, max = 1048576))]
    pub query_memory_mib: Option<i64>,

    /// What is logged, as a tracing filter, for example info,kotoba_node::raft=debug. Default info,openraft=warn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub log_filter: Option<String>,

    /// How it is logged: Text, or Json for collectors. Default Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

/// How the log is written.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum LogFormat {
    Text,
    Json,
}

/// A setting that counts something: its name in the spec, its variable, its value, and what is allowed.
pub struct Number {
    pub field: &'static str,
    pub variable: &'static str,
    pub value: Option<i64>,
    pub allowed: std::ops::RangeInclusive<i64>,
}

const DAY_MS: i64 = 86_400_000;
const YEAR_S: i64 = 31_536_000;
const MOST_MIB: i64 = 1_048_576;

impl Config {
    /// All settings that count something, set or not.
    pub fn numbers(&self) -> [Number; 13] {
        let number = |field, variable, value, least, most| Number {
            field,
            variable,
            value,
            allowed: least..=most,
        };
        [
            number(
                "requestTimeoutMs",
                "KOTOBA_REQUEST_TIMEOUT_MS",
                self.request_timeout_ms,
                100,
                DAY_MS,
            ),
            number(
                "maxConnections",
                "KOTOBA_MAX_CONNECTIONS",
                self.max_connections,
                1,
                1_000_000,
            ),
            number(
                "heartbeatIntervalMs",
                "KOTOBA_HEARTBEAT_INTERVAL_MS",
                self.heartbeat_interval_ms,
                10,
                60_000,
            ),
            number(
                "maxMissedHeartbeats",
                "KOTOBA_MAX_MISSED_HEARTBEATS",
                self.max_missed_heartbeats,
                1,
                1_000,
            ),
            number(
                "failureTimeoutMs",
                "KOTOBA_FAILURE_TIMEOUT_MS",
                self.failure_timeout_ms,
                1,
                DAY_MS,
            ),
            number(
                "replacementAfterS",
                "KOTOBA_REPLACEMENT_AFTER_S",
                self.replacement_after_s,
                0,
                YEAR_S,
            ),
            number(
                "stateCacheMib",
                "KOTOBA_STATE_CACHE_MIB",
                self.state_cache_mib,
                1,
                MOST_MIB,
            ),
            number("logCacheMib", "KOTOBA_LOG_CACHE_MIB", self.log_cache_mib, 1, MOST_MIB),
            number(
                "snapshotMibPerS",
                "KOTOBA_SNAPSHOT_MIB_PER_S",
                self.snapshot_mib_per_s,
                1,
                MOST_MIB,
            ),
            number(
                "historyRetentionS",
                "KOTOBA_HISTORY_RETENTION_S",
                self.history_retention_s,
                0,
                YEAR_S,
            ),
            number(
                "scrubIntervalS",
                "KOTOBA_SCRUB_INTERVAL_S",
                self.scrub_interval_s,
                0,
                YEAR_S,
            ),
            number(
                "queryMaxRows",
                "KOTOBA_QUERY_MAX_ROWS",
                self.query_max_rows,
                1,
                i64::MAX,
            ),
            number(
                "queryMemoryMib",
                "KOTOBA_QUERY_MEMORY_MIB",
                self.query_memory_mib,
                48,
                MOST_MIB,
            ),
        ]
    }

    /// What a member reads from its environment, in a fixed order: only what is set.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let numbers = self.numbers().into_iter();
        let numbers = numbers.filter_map(|number| Some((number.variable, number.value?.to_string())));
        let filter = self.log_filter.iter().map(|filter| ("KOTOBA_LOG", filter.clone()));
        let format = self.log_format.iter().map(|format| {
            let format = match format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            };
            ("KOTOBA_LOG_FORMAT", format.to_owned())
        });
        numbers.chain(filter).chain(format).collect()
    }
}
