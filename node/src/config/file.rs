//! The settings file (TOML) and its merge with flags into a `Config`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::SystemClock;
use crate::gateway::QueryLimits;
use crate::space::FileSystem;

use super::{
    Config, DEFAULT_CLIENT_PORT, DEFAULT_HTTP_PORT, DEFAULT_MAX_CONNECTIONS, DEFAULT_PEER_PORT, MembershipConfig,
    Timing,
};

/// Below this a query's own buffers do not fit its memory.
const LEAST_QUERY_BYTES: usize = 48 << 20;

/// Why the settings could not be used; the message names the file, the key and the line.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("read the settings file {path}: does it exist and may this user read it?")]
    ReadFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the settings file {path} is not understood")]
    ParseFile {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("{key} = {value:?} is not HOST:PORT; write for example {example:?}")]
    Address {
        key: &'static str,
        value: String,
        example: &'static str,
    },
    #[error("{key} must be {rule}")]
    Impossible { key: &'static str, rule: &'static str },
}

/// The settings file as typed. Flags and environment fill the same struct.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub data_dir: Option<PathBuf>,
    pub zone: Option<String>,
    pub node_id: Option<String>,
    pub peers: Option<Vec<String>>,
    pub listen: ListenSettings,
    pub advertise: AdvertiseSettings,
    pub membership: MembershipSettings,
    pub storage: StorageSettings,
    pub queries: QuerySettings,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSettings {
    pub peer: Option<String>,
    pub client: Option<String>,
    pub http: Option<String>,
    pub max_connections: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdvertiseSettings {
    pub peer: Option<String>,
    pub client: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MembershipSettings {
    pub heartbeat_interval_ms: Option<u64>,
    pub failure_detection_interval_ms: Option<u64>,
    pub max_missed_heartbeats: Option<u32>,
    pub failure_timeout_ms: Option<u64>,
    pub replacement_after_s: Option<u64>,
    pub balance_leaders: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageSettings {
    pub state_cache_mib: Option<usize>,
    pub snapshot_mib_per_s: Option<u64>,
    pub history_retention_s: Option<u64>,
    pub reserve_mib: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuerySettings {
    pub max_rows: Option<u64>,
    pub memory_mib: Option<usize>,
}

impl Settings {
    /// Reads a settings file; an unknown key or a wrong type is refused with its line.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|source| SettingsError::ReadFile {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| SettingsError::ParseFile {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Fills in the defaults and checks what can be checked without starting.
    pub fn into_config(self) -> Result<Config, SettingsError> {
        let peer_listen = listen("listen.peer", self.listen.peer, DEFAULT_PEER_PORT)?;
        let client_listen = listen("listen.client", self.listen.client, DEFAULT_CLIENT_PORT)?;
        let http_listen = listen("listen.http", self.listen.http, DEFAULT_HTTP_PORT)?;
        let max_connections = self.listen.max_connections.unwrap_or(DEFAULT_MAX_CONNECTIONS);
        if max_connections == 0 {
            return Err(SettingsError::Impossible {
                key: "listen.max_connections",
                rule: "at least 1",
            });
        }
        let peer_advertise = advertise("advertise.peer", self.advertise.peer, peer_listen)?;
        let client_advertise = advertise("advertise.client", self.advertise.client, client_listen)?;
        let membership = self.membership.into_config()?;
        let heartbeat_interval = membership.heartbeat_interval;
        Ok(Config {
            data_dir: self.data_dir.unwrap_or_else(|| PathBuf::from("kotoba-data")),
            peer_listen,
            client_listen,
            http_listen,
            max_connections,
            peer_advertise,
            client_advertise,
            zone: self.zone.unwrap_or_default(),
            name: self.node_id.unwrap_or_default(),
            peers: self.peers.unwrap_or_default(),
            membership,
            timing: Timing::default(),
            state_cache_bytes: self.storage.state_cache_mib.unwrap_or(256) << 20,
            reserve_bytes: self.storage.reserve_mib.map(|mib| mib.saturating_mul(1 << 20)),
            volume: Arc::new(FileSystem),
            history_retention: Duration::from_secs(self.storage.history_retention_s.unwrap_or(600)),
            queries: self.queries.into_config()?,
            raft: self.storage.raft(heartbeat_interval)?,
            clock: Arc::new(SystemClock),
            link_filter: None,
        })
    }
}

impl StorageSettings {
    /// The meta group's heartbeats are what members are heard by: they come at least as often as was asked for.
    fn raft(&self, heartbeat_interval: Duration) -> Result<crate::raft::Settings, SettingsError> {
        let mut default = crate::raft::Settings::default();
        default.meta.heartbeat_interval = default.meta.heartbeat_interval.min(heartbeat_interval);
        let snapshot_bytes_per_s = match self.snapshot_mib_per_s {
            None => default.snapshot_bytes_per_s,
            Some(0) => {
                return Err(SettingsError::Impossible {
                    key: "storage.snapshot_mib_per_s",
                    rule: "at least 1",
                });
            }
            Some(mib) => mib.saturating_mul(1 << 20),
        };
        Ok(crate::raft::Settings {
            snapshot_bytes_per_s,
            ..default
        })
    }
}

impl MembershipSettings {
    fn into_config(self) -> Result<MembershipConfig, SettingsError> {
        let default = MembershipConfig::default();
        let millis = |value: Option<u64>, default| value.map_or(default, Duration::from_millis);
        let config = MembershipConfig {
            heartbeat_interval: millis(self.heartbeat_interval_ms, default.heartbeat_interval),
            failure_detection_interval: millis(self.failure_detection_interval_ms, default.failure_detection_interval),
            max_missed_heartbeats: self.max_missed_heartbeats.unwrap_or(default.max_missed_heartbeats),
            failure_timeout: millis(self.failure_timeout_ms, default.failure_timeout),
            replacement_after: match self.replacement_after_s {
                None => default.replacement_after,
                Some(0) => None,
                Some(seconds) => Some(Duration::from_secs(seconds)),
            },
            balance_leaders: self.balance_leaders.unwrap_or(default.balance_leaders),
        };
        if config.heartbeat_interval.is_zero() || config.failure_detection_interval.is_zero() {
            return Err(SettingsError::Impossible {
                key: "membership intervals",
                rule: "above 0 ms",
            });
        }
        if config.failure_timeout < config.suspect_after() {
            return Err(SettingsError::Impossible {
                key: "membership.failure_timeout_ms",
                rule: "at least heartbeat_interval_ms * max_missed_heartbeats",
            });
        }
        Ok(config)
    }
}

impl QuerySettings {
    fn into_config(self) -> Result<QueryLimits, SettingsError> {
        let default = QueryLimits::default();
        let memory_bytes = self
            .memory_mib
            .map_or(default.memory_bytes, |mib| mib.saturating_mul(1 << 20));
        if memory_bytes < LEAST_QUERY_BYTES {
            return Err(SettingsError::Impossible {
                key: "queries.memory_mib",
                rule: "at least 48: one step of reads and the parts on their way to a client take half of it",
            });
        }
        Ok(QueryLimits {
            max_rows: self.max_rows.unwrap_or(default.max_rows),
            memory_bytes,
        })
    }
}

fn listen(key: &'static str, typed: Option<String>, port: u16) -> Result<SocketAddr, SettingsError> {
    let Some(value) = typed else {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    };
    value.parse().map_err(|_| SettingsError::Address {
        key,
        value,
        example: "0.0.0.0:7700",
    })
}

/// What others dial: as typed, or the listen address where that names one host.
fn advertise(key: &'static str, typed: Option<String>, listen: SocketAddr) -> Result<String, SettingsError> {
    match typed {
        Some(value) if is_host_and_port(&value) => Ok(value),
        Some(value) => Err(SettingsError::Address {
            key,
            value,
            example: "kotoba-0.kotoba-peers:7600",
        }),
        None if listen.ip().is_unspecified() => Err(SettingsError::Impossible {
            key,
            rule: "set where the listen address is 0.0.0.0: other members must know a host name to dial",
        }),
        None => Ok(listen.to_string()),
    }
}

fn is_host_and_port(value: &str) -> bool {
    value
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_a_member_on_loopback() {
        let config = Settings::default().into_config().unwrap();
        assert_eq!(config.client_advertise, "127.0.0.1:7700");
        assert_eq!(config.membership, MembershipConfig::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = toml::from_str::<Settings>("zone = \"a\"\nzonne = \"b\"\n").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("zonne") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn listening_everywhere_needs_an_advertised_name() {
        let settings: Settings = toml::from_str("[listen]\npeer = \"0.0.0.0:7600\"").unwrap();
        let text = settings.into_config().unwrap_err().to_string();
        assert!(text.contains("advertise.peer"), "{text}");
    }

    #[test]
    fn a_replacement_after_no_time_at_all_means_never() {
        let config = |text: &str| {
            toml::from_str::<Settings>(text)
                .unwrap()
                .into_config()
                .unwrap()
                .membership
        };
        assert_eq!(config("").replacement_after, Some(Duration::from_secs(600)));
        assert_eq!(config("[membership]\nreplacement_after_s = 0").replacement_after, None);
        let minute = config("[membership]\nreplacement_after_s = 60");
        assert_eq!(minute.replacement_after, Some(Duration::from_secs(60)));
    }

    #[test]
    fn limits_of_queries_are_taken_from_the_file_and_checked() {
        let parsed = |text| toml::from_str::<Settings>(text).unwrap().into_config();
        let config = parsed("[queries]\nmax_rows = 5\nmemory_mib = 128").unwrap();
        assert_eq!((config.queries.max_rows, config.queries.memory_bytes), (5, 128 << 20));
        let text = parsed("[queries]\nmemory_mib = 1").unwrap_err().to_string();
        assert!(text.contains("queries.memory_mib"), "{text}");
    }

    #[test]
    fn the_meta_group_is_heard_at_least_at_the_heartbeat_interval() {
        let raft = |text| toml::from_str::<Settings>(text).unwrap().into_config().unwrap().raft;
        let often = raft("[membership]\nheartbeat_interval_ms = 20").meta.heartbeat_interval;
        assert_eq!(often, Duration::from_millis(20));
        let seldom = raft("[membership]\nheartbeat_interval_ms = 5000\nfailure_timeout_ms = 60000").meta;
        assert_eq!(seldom, crate::raft::Settings::default().meta);
    }

    #[test]
    fn room_and_connections_are_taken_from_the_file_and_checked() {
        let parsed = |text| toml::from_str::<Settings>(text).unwrap().into_config();
        let config = parsed("[listen]\nmax_connections = 5\n[storage]\nreserve_mib = 7").unwrap();
        assert_eq!((config.max_connections, config.reserve_bytes), (5, Some(7 << 20)));
        assert_eq!(parsed("").unwrap().reserve_bytes, None);
        let text = parsed("[listen]\nmax_connections = 0").unwrap_err().to_string();
        assert!(text.contains("listen.max_connections"), "{text}");
    }

    #[test]
    fn a_failure_timeout_below_the_suspicion_is_refused() {
        let settings: Settings = toml::from_str("[membership]\nfailure_timeout_ms = 10").unwrap();
        assert!(settings.into_config().is_err());
    }
}
