//! From settings as typed to settings as used: fills in the defaults and refuses what cannot be.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::file::{LogSettings, MembershipSettings, QuerySettings, Settings, StorageSettings};
use super::{
    Config, DEFAULT_CLIENT_PORT, DEFAULT_HTTP_PORT, DEFAULT_MAX_CONNECTIONS, DEFAULT_PEER_PORT, Founding,
    IntegrityConfig, LogConfig, MembershipConfig, Timing,
};
use crate::clock::SystemClock;
use crate::gateway::QueryLimits;
use crate::raft;
use crate::space::{DEFAULT_RESERVE_BYTES, FileSystem};

/// Below this a query's own buffers do not fit its memory: one step of reads and the parts on their way to a client take
/// half of it.
const LEAST_QUERY_MIB: u64 = 48;
/// More than any member has; what is typed with too many digits is found here.
const MOST_MIB: u64 = 1 << 20;
/// Intervals of detection: below, the log of changes would be nothing but health; above, nobody is ever missed.
const INTERVAL_MS: RangeInclusive<u64> = 10..=60_000;
const DAY_MS: u64 = 24 * 3_600 * 1_000;
const YEAR_S: u64 = 365 * 24 * 3_600;

/// A value that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {problem}")]
pub struct Impossible {
    pub key: &'static str,
    pub problem: String,
    /// Keys that the rule names besides.
    pub related: &'static [&'static str],
}

impl Impossible {
    pub(crate) fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Impossible {
            key,
            problem: problem.into(),
            related: &[],
        }
    }
}

impl Settings {
    /// Fills in the defaults and checks what can be checked without starting.
    pub fn into_config(self) -> Result<Config, Impossible> {
        let peer_listen = listen("listen.peer", self.listen.peer, DEFAULT_PEER_PORT)?;
        let client_listen = listen("listen.client", self.listen.client, DEFAULT_CLIENT_PORT)?;
        let http_listen = listen("listen.http", self.listen.http, DEFAULT_HTTP_PORT)?;
        let peer_advertise = advertise("advertise.peer", "listen.peer", self.advertise.peer, peer_listen)?;
        let client_advertise = advertise(
            "advertise.client",
            "listen.client",
            self.advertise.client,
            client_listen,
        )?;
        let max_connections = in_range("listen.max_connections", self.listen.max_connections, 1..=1_000_000)?;
        let reserve = mebibytes("storage.reserve_mib", self.storage.reserve_mib, 0..=MOST_MIB)?;
        let membership = self.membership.into_config()?;
        let heartbeat_interval = membership.heartbeat_interval;
        let timing = Timing::default();
        let request_timeout = millis("request_timeout_ms", self.request_timeout_ms, 100..=DAY_MS)?;
        let history_retention = seconds("storage.history_retention_s", self.storage.history_retention_s)?;
        let lease_reads = self
            .queries
            .lease_reads
            .unwrap_or(raft::Settings::default().lease_reads);
        Ok(Config {
            data_dir: self.data_dir.unwrap_or_else(|| PathBuf::from("kotoba-data")),
            peer_listen,
            client_listen,
            http_listen,
            max_connections: max_connections.map_or(DEFAULT_MAX_CONNECTIONS, |most| {
                usize::try_from(most).unwrap_or(usize::MAX)
            }),
            peer_advertise,
            client_advertise,
            zone: self.zone.unwrap_or_default(),
            name: self.node_id.unwrap_or_default(),
            peers: peers(self.peers)?,
            founding: Founding::default(),
            membership,
            timing: Timing {
                request_timeout: request_timeout.unwrap_or(timing.request_timeout),
                ..timing
            },
            history_retention: history_retention.unwrap_or(Duration::from_secs(600)),
            integrity: self.storage.integrity()?,
            reserve_bytes: reserve.unwrap_or(DEFAULT_RESERVE_BYTES),
            volume: Arc::new(FileSystem),
            queries: self.queries.into_config()?,
            raft: raft::Settings {
                lease_reads,
                ..self.storage.into_config(heartbeat_interval)?
            },
            log: self.log.into_config()?,
            clock: Arc::new(SystemClock),
            link_filter: None,
        })
    }

    /// The defaults, with nothing absent.
    pub fn defaults() -> Self {
        let config = Settings::default().into_config().expect("the defaults go together");
        config.into_settings()
    }
}

impl StorageSettings {
    fn integrity(&self) -> Result<IntegrityConfig, Impossible> {
        let default = IntegrityConfig::default();
        let digest = seconds("storage.digest_interval_s", self.digest_interval_s)?;
        let scrub = seconds("storage.scrub_interval_s", self.scrub_interval_s)?;
        let pace = mebibytes("storage.scrub_mib_per_s", self.scrub_mib_per_s, 1..=MOST_MIB)?;
        Ok(IntegrityConfig {
            digest_interval: digest.unwrap_or(default.digest_interval),
            scrub_interval: match scrub {
                None => default.scrub_interval,
                Some(interval) => (!interval.is_zero()).then_some(interval),
            },
            scrub_bytes_per_s: pace.unwrap_or(default.scrub_bytes_per_s),
        })
    }

    /// The meta group's heartbeats are what members are heard by: they come at least as often as was asked for.
    fn into_config(self, heartbeat_interval: Duration) -> Result<raft::Settings, Impossible> {
        let mut default = raft::Settings::default();
        default.meta.heartbeat_interval = default.meta.heartbeat_interval.min(heartbeat_interval);
        let memory = |key, typed: Option<u64>, default| {
            let bytes = mebibytes(key, typed, 1..=MOST_MIB)?;
            Ok(bytes.map_or(default, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)))
        };
        let pace = mebibytes("storage.snapshot_mib_per_s", self.snapshot_mib_per_s, 1..=MOST_MIB)?;
        Ok(raft::Settings {
            snapshot_bytes_per_s: pace.unwrap_or(default.snapshot_bytes_per_s),
            state_cache_bytes: memory(
                "storage.state_cache_mib",
                self.state_cache_mib,
                default.state_cache_bytes,
            )?,
            log_cache_bytes: memory("storage.log_cache_mib", self.log_cache_mib, default.log_cache_bytes)?,
            ..default
        })
    }
}

impl MembershipSettings {
    fn into_config(self) -> Result<MembershipConfig, Impossible> {
        let default = MembershipConfig::default();
        let heartbeat = millis(
            "membership.heartbeat_interval_ms",
            self.heartbeat_interval_ms,
            INTERVAL_MS,
        )?;
        let detection = millis(
            "membership.failure_detection_interval_ms",
            self.failure_detection_interval_ms,
            INTERVAL_MS,
        )?;
        let missed = self.max_missed_heartbeats.map(u64::from);
        in_range("membership.max_missed_heartbeats", missed, 1..=1_000)?;
        let failure = millis("membership.failure_timeout_ms", self.failure_timeout_ms, 1..=DAY_MS)?;
        let replacement = seconds("membership.replacement_after_s", self.replacement_after_s)?;
        let config = MembershipConfig {
            heartbeat_interval: heartbeat.unwrap_or(default.heartbeat_interval),
            failure_detection_interval: detection.unwrap_or(default.failure_detection_interval),
            max_missed_heartbeats: self.max_missed_heartbeats.unwrap_or(default.max_missed_heartbeats),
            failure_timeout: failure.unwrap_or(default.failure_timeout),
            replacement_after: match replacement {
                None => default.replacement_after,
                Some(after) => (!after.is_zero()).then_some(after),
            },
            balance_leaders: self.balance_leaders.unwrap_or(default.balance_leaders),
        };
        if config.failure_timeout < config.suspect_after() {
            let least = config.suspect_after().as_millis();
            return Err(Impossible {
                key: "membership.failure_timeout_ms",
                problem: format!("must be at least heartbeat_interval_ms * max_missed_heartbeats, which is {least}"),
                related: &["membership.heartbeat_interval_ms", "membership.max_missed_heartbeats"],
            });
        }
        Ok(config)
    }
}

impl QuerySettings {
    fn into_config(self) -> Result<QueryLimits, Impossible> {
        let default = QueryLimits::default();
        let memory = mebibytes("queries.memory_mib", self.memory_mib, LEAST_QUERY_MIB..=MOST_MIB)?;
        in_range("queries.max_rows", self.max_rows, 1..=u64::MAX)?;
        Ok(QueryLimits {
            max_rows: self.max_rows.unwrap_or(default.max_rows),
            memory_bytes: memory.map_or(default.memory_bytes, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
        })
    }
}

impl LogSettings {
    fn into_config(self) -> Result<LogConfig, Impossible> {
        let default = LogConfig::default();
        let filter = self.filter.unwrap_or(default.filter);
        if let Err(error) = EnvFilter::try_new(&filter) {
            let problem = format!("= {filter:?} is no filter ({error}); write for example info");
            return Err(Impossible::new("log.filter", problem));
        }
        Ok(LogConfig {
            filter,
            format: self.format.unwrap_or(default.format),
        })
    }
}

fn in_range(key: &'static str, typed: Option<u64>, allowed: RangeInclusive<u64>) -> Result<Option<u64>, Impossible> {
    match typed {
        Some(value) if !allowed.contains(&value) => {
            let (least, most) = allowed.into_inner();
            let problem = match most {
                u64::MAX => format!("= {value} must be at least {least}"),
                most => format!("= {value} must be {least} to {most}"),
            };
            Err(Impossible::new(key, problem))
        }
        Some(_) | None => Ok(typed),
    }
}

fn millis(key: &'static str, typed: Option<u64>, allowed: RangeInclusive<u64>) -> Result<Option<Duration>, Impossible> {
    Ok(in_range(key, typed, allowed)?.map(Duration::from_millis))
}

fn seconds(key: &'static str, typed: Option<u64>) -> Result<Option<Duration>, Impossible> {
    Ok(in_range(key, typed, 0..=YEAR_S)?.map(Duration::from_secs))
}

fn mebibytes(key: &'static str, typed: Option<u64>, allowed: RangeInclusive<u64>) -> Result<Option<u64>, Impossible> {
    Ok(in_range(key, typed, allowed)?.map(|mebibytes| mebibytes << 20))
}

fn peers(typed: Option<Vec<String>>) -> Result<Vec<String>, Impossible> {
    let peers = typed.unwrap_or_default();
    match peers.iter().find(|peer| !is_host_and_port(peer)) {
        Some(peer) => Err(not_an_address("peers", peer, "10.0.0.2:7600")),
        None => Ok(peers),
    }
}

fn listen(key: &'static str, typed: Option<String>, port: u16) -> Result<SocketAddr, Impossible> {
    let Some(value) = typed else {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    };
    value.parse().map_err(|_| not_an_address(key, &value, "0.0.0.0:7700"))
}

/// What others dial: as typed, or the listen address where that names one host.
fn advertise(
    key: &'static str,
    listen_key: &'static str,
    typed: Option<String>,
    listen: SocketAddr,
) -> Result<String, Impossible> {
    match typed {
        Some(value) if is_host_and_port(&value) => Ok(value),
        Some(value) => Err(not_an_address(key, &value, "kotoba-0.kotoba-peers:7600")),
        None if listen.ip().is_unspecified() => {
            let problem = format!("must be set where {listen_key} is {listen}: others must know a host name to dial");
            Err(Impossible::new(key, problem))
        }
        None => Ok(listen.to_string()),
    }
}

fn not_an_address(key: &'static str, value: &str, example: &str) -> Impossible {
    Impossible::new(
        key,
        format!("= {value:?} is not HOST:PORT; write for example {example:?}"),
    )
}

fn is_host_and_port(value: &str) -> bool {
    value
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config, Impossible> {
        toml::from_str::<Settings>(text).unwrap().into_config()
    }

    #[test]
    fn an_empty_file_gives_a_member_on_loopback() {
        let config = parsed("").unwrap();
        assert_eq!(config.client_advertise, "127.0.0.1:7700");
        assert_eq!(config.membership, MembershipConfig::default());
        assert_eq!(config.raft, raft::Settings::default());
    }

    #[test]
    fn listening_everywhere_needs_an_advertised_name() {
        let error = parsed("[listen]\npeer = \"0.0.0.0:7600\"").unwrap_err();
        assert_eq!(error.key, "advertise.peer");
    }

    #[test]
    fn a_replacement_after_no_time_at_all_means_never() {
        let after = |text| parsed(text).unwrap().membership.replacement_after;
        assert_eq!(after(""), Some(Duration::from_secs(600)));
        assert_eq!(after("[membership]\nreplacement_after_s = 0"), None);
        let minute = after("[membership]\nreplacement_after_s = 60");
        assert_eq!(minute, Some(Duration::from_secs(60)));
    }

    #[test]
    fn what_is_set_is_what_is_used() {
        let text = "
            request_timeout_ms = 5000
            [storage]
            state_cache_mib = 7
            log_cache_mib = 8
            snapshot_mib_per_s = 9
            history_retention_s = 10
            digest_interval_s = 11
            scrub_interval_s = 0
            scrub_mib_per_s = 12
            [queries]
            max_rows = 5
            memory_mib = 128
            lease_reads = false";
        let config = parsed(text).unwrap();
        let mebibytes = |bytes: usize| bytes >> 20;
        assert_eq!(config.timing.request_timeout, Duration::from_secs(5));
        assert_eq!(mebibytes(config.raft.state_cache_bytes), 7);
        assert_eq!(mebibytes(config.raft.log_cache_bytes), 8);
        assert_eq!(config.raft.snapshot_bytes_per_s, 9 << 20);
        assert!(!config.raft.lease_reads);
        assert_eq!(config.history_retention, Duration::from_secs(10));
        let integrity = IntegrityConfig {
            digest_interval: Duration::from_secs(11),
            scrub_interval: None,
            scrub_bytes_per_s: 12 << 20,
        };
        assert_eq!(config.integrity, integrity);
        assert_eq!(
            (config.queries.max_rows, mebibytes(config.queries.memory_bytes)),
            (5, 128)
        );
    }

    #[test]
    fn impossible_values_are_refused_by_their_keys() {
        let refused = [
            ("peers = [\"here\"]", "peers"),
            ("request_timeout_ms = 1", "request_timeout_ms"),
            ("listen.client = \"7700\"", "listen.client"),
            ("advertise.client = \"graph\"", "advertise.client"),
            (
                "membership.heartbeat_interval_ms = 0",
                "membership.heartbeat_interval_ms",
            ),
            (
                "membership.failure_detection_interval_ms = 100000",
                "membership.failure_detection_interval_ms",
            ),
            (
                "membership.max_missed_heartbeats = 0",
                "membership.max_missed_heartbeats",
            ),
            ("membership.failure_timeout_ms = 10", "membership.failure_timeout_ms"),
            (
                "membership.replacement_after_s = 100000000000",
                "membership.replacement_after_s",
            ),
            ("storage.state_cache_mib = 0", "storage.state_cache_mib"),
            ("storage.log_cache_mib = 17592186044416", "storage.log_cache_mib"),
            ("storage.snapshot_mib_per_s = 0", "storage.snapshot_mib_per_s"),
            (
                "storage.history_retention_s = 100000000000",
                "storage.history_retention_s",
            ),
            ("queries.max_rows = 0", "queries.max_rows"),
            ("queries.memory_mib = 1", "queries.memory_mib"),
            ("log.filter = \"=?=\"", "log.filter"),
        ];
        for (text, key) in refused {
            assert_eq!(parsed(text).unwrap_err().key, key, "{text}");
        }
    }

    #[test]
    fn the_defaults_in_full_mean_what_an_empty_file_means() {
        let defaults = Settings::defaults();
        let text = format!("{defaults:?}");
        assert!(!text.contains("None"), "{text}");
        assert_eq!(defaults.clone().into_config().unwrap().into_settings(), defaults);
    }
}
