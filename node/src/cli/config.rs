//! `kotoba config`: prints every setting with its default, as a file to start from.

use std::io::Write;

use clap::Args;

use super::CliError;
use super::output::Output;
use crate::config::{DEFAULT_CLIENT_PORT, DEFAULT_HTTP_PORT, DEFAULT_PEER_PORT, IntegrityConfig, MembershipConfig};
use crate::gateway::QueryLimits;

/// Print all settings of `serve` with their defaults, as a settings file
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba config")]
pub struct ConfigArgs {}

pub(super) fn run(ConfigArgs {}: ConfigArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let text = defaults();
    let json = toml::from_str::<serde_json::Value>(&text)
        .map_err(|error| CliError::Refused(format!("the printed defaults are not TOML: {error}")))?;
    Ok(output.either(&json, &text)?)
}

fn defaults() -> String {
    let membership = MembershipConfig::default();
    let queries = QueryLimits::default();
    let integrity = IntegrityConfig::default();
    format!(
        "\
# Settings of `kotoba serve`, with their defaults. An unknown key is refused.
# Each has an environment variable KOTOBA_… or a flag that wins over this file; see `kotoba serve --help`.

# Where this member keeps its data; one process a directory.
data_dir = \"kotoba-data\"
# Failure zone; the replicas of a partition are spread over zones first.
zone = \"\"
# A name for people; never an id.
node_id = \"\"
# Peer addresses of a hand-made cluster; empty under an operator.
peers = []

[listen]
# Other members; clients; probes and metrics.
peer = \"127.0.0.1:{DEFAULT_PEER_PORT}\"
client = \"127.0.0.1:{DEFAULT_CLIENT_PORT}\"
http = \"127.0.0.1:{DEFAULT_HTTP_PORT}\"

[advertise]
# What others dial; the listen addresses unless set. Needed where those are 0.0.0.0.
peer = \"127.0.0.1:{DEFAULT_PEER_PORT}\"
client = \"127.0.0.1:{DEFAULT_CLIENT_PORT}\"

[membership]
heartbeat_interval_ms = {}
failure_detection_interval_ms = {}
# Silent for so many heartbeats: suspected.
max_missed_heartbeats = {}
# Silent for so long: failed.
failure_timeout_ms = {}
# Failed for so long: its replicas are placed elsewhere, where enough members are left. 0: never.
replacement_after_s = {}
# Spread the leaders of the partitions over the members.
balance_leaders = {}

[storage]
# Memory for the caches of all state files together.
state_cache_mib = {}
# What this member may send of its replicas when they are copied to another, so that clients do not feel it.
snapshot_mib_per_s = {}
# How long old versions stay readable.
history_retention_s = {}
# The least time between two digests of a partition that its replicas compare.
digest_interval_s = {}
# In this time every replica is read whole once, to find what the disk has damaged; 0: never. And how fast.
scrub_interval_s = {}
scrub_mib_per_s = {}

[queries]
# Most rows that one query may answer; a client asks for more in pages.
max_rows = {}
# Memory of one query; what it orders must fit half of it.
memory_mib = {}
",
        membership.heartbeat_interval.as_millis(),
        membership.failure_detection_interval.as_millis(),
        membership.max_missed_heartbeats,
        membership.failure_timeout.as_millis(),
        membership.replacement_after.map_or(0, |after| after.as_secs()),
        membership.balance_leaders,
        STATE_CACHE_MIB,
        crate::raft::Settings::default().snapshot_bytes_per_s >> 20,
        HISTORY_RETENTION_S,
        integrity.digest_interval.as_secs(),
        integrity.scrub_interval.map_or(0, |interval| interval.as_secs()),
        integrity.scrub_bytes_per_s >> 20,
        queries.max_rows,
        queries.memory_bytes >> 20,
    )
}

/// As `config` has them inline; the test below notices when they part.
const STATE_CACHE_MIB: usize = 256;
const HISTORY_RETENTION_S: u64 = 600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Settings};

    /// All that the file can set.
    fn shown(config: &Config) -> String {
        let addresses = (config.peer_listen, config.client_listen, config.http_listen);
        let advertised = (&config.peer_advertise, &config.client_advertise);
        let names = (&config.data_dir, &config.zone, &config.name, &config.peers);
        let limits = (
            config.state_cache_bytes,
            config.history_retention,
            config.raft.snapshot_bytes_per_s,
            &config.queries,
            &config.integrity,
        );
        format!(
            "{addresses:?} {advertised:?} {names:?} {:?} {limits:?}",
            config.membership
        )
    }

    #[test]
    fn what_is_printed_is_what_an_empty_file_means() {
        let printed: Settings = toml::from_str(&defaults()).unwrap();
        let printed = printed.into_config().unwrap();
        let empty = Settings::default().into_config().unwrap();
        assert_eq!(shown(&printed), shown(&empty));
    }

    #[test]
    fn every_setting_is_printed() {
        let printed: Settings = toml::from_str(&defaults()).unwrap();
        let text = format!("{printed:?}");
        assert!(!text.contains("None"), "{text}");
    }
}
