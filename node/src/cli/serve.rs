//! `kotoba serve`: one member.
//!
//! The arguments as typed; `config` turns them, with the file and the defaults, into what the process runs with.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::CliError;
use crate::config::{Config, ListenSettings, Settings, SettingsError};

/// Run one member of a cluster
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:
  kotoba serve                                         one member on loopback, data in ./kotoba-data
  kotoba serve --config /etc/kotoba/kotoba.toml
  kotoba serve --node-id node1 --address 127.0.0.1:7601 --data-dir d1 --peers 127.0.0.1:7602,127.0.0.1:7603

A flag wins over its environment variable, that over the file, that over the default. `kotoba config` prints all settings.")]
pub struct ServeArgs {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE", env = "KOTOBA_CONFIG")]
    pub config: Option<PathBuf>,
    /// A name for people; never an id
    #[arg(long, value_name = "NAME", env = "KOTOBA_NODE_ID")]
    pub node_id: Option<String>,
    /// All ports in one: other members speak to PORT, probes to PORT + 80, clients to PORT + 100
    #[arg(long, value_name = "IP:PORT", env = "KOTOBA_ADDRESS")]
    pub address: Option<SocketAddr>,
    /// The --address of every member of a hand-made cluster; this one's own may be among them
    #[arg(long, value_name = "HOST:PORT", env = "KOTOBA_PEERS", value_delimiter = ',')]
    pub peers: Option<Vec<String>>,
    /// Where this member keeps its data; one process a directory
    #[arg(long, value_name = "DIR", env = "KOTOBA_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where other members speak to this one
    #[arg(long, value_name = "IP:PORT", env = "KOTOBA_PEER_LISTEN")]
    pub peer_listen: Option<String>,
    /// Where clients speak to this member
    #[arg(long, value_name = "IP:PORT", env = "KOTOBA_CLIENT_LISTEN")]
    pub client_listen: Option<String>,
    /// Probes and metrics
    #[arg(long, value_name = "IP:PORT", env = "KOTOBA_HTTP_LISTEN")]
    pub http_listen: Option<String>,
    /// What other members dial; needed where the listen address is 0.0.0.0
    #[arg(long, value_name = "HOST:PORT", env = "KOTOBA_PEER_ADVERTISE")]
    pub peer_advertise: Option<String>,
    /// What clients dial; needed where the listen address is 0.0.0.0
    #[arg(long, value_name = "HOST:PORT", env = "KOTOBA_CLIENT_ADVERTISE")]
    pub client_advertise: Option<String>,
    /// Failure zone; the replicas of a partition are spread over zones first
    #[arg(long, env = "KOTOBA_ZONE")]
    pub zone: Option<String>,
    /// Most rows that one query may answer
    #[arg(long, value_name = "ROWS", env = "KOTOBA_QUERY_MAX_ROWS")]
    pub query_max_rows: Option<u64>,
    /// Memory of one query, in MiB
    #[arg(long, value_name = "MIB", env = "KOTOBA_QUERY_MEMORY_MIB")]
    pub query_memory_mib: Option<usize>,
}

pub(super) async fn run(args: ServeArgs) -> Result<(), CliError> {
    let config = args.into_config().map_err(|error| CliError::Usage(chain(&error)))?;
    crate::run::serve(config)
        .await
        .map_err(|error| CliError::Refused(format!("{error:#}")))
}

impl ServeArgs {
    /// The file where one is named, with flags and environment over it.
    fn into_config(self) -> Result<Config, SettingsError> {
        let mut settings = match &self.config {
            Some(path) => Settings::read(path)?,
            None => Settings::default(),
        };
        let over = |typed: Option<String>, setting: &mut Option<String>| {
            if typed.is_some() {
                *setting = typed;
            }
        };
        settings.data_dir = self.data_dir.or(settings.data_dir);
        settings.peers = self.peers.or(settings.peers);
        settings.queries.max_rows = self.query_max_rows.or(settings.queries.max_rows);
        settings.queries.memory_mib = self.query_memory_mib.or(settings.queries.memory_mib);
        over(self.node_id, &mut settings.node_id);
        over(self.zone, &mut settings.zone);
        let derived = self.address.map(ListenSettings::around).unwrap_or_default();
        over(self.peer_listen.or(derived.peer), &mut settings.listen.peer);
        over(self.client_listen.or(derived.client), &mut settings.listen.client);
        over(self.http_listen.or(derived.http), &mut settings.listen.http);
        over(self.peer_advertise, &mut settings.advertise.peer);
        over(self.client_advertise, &mut settings.advertise.client);
        settings.into_config()
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn the_three_process_set_up_parses_as_the_original_wrote_it() {
        let line = "kotoba serve --node-id=node1 --address=127.0.0.1:8081 --peers=127.0.0.1:8082,127.0.0.1:8083";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Serve(args) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(args.node_id.as_deref(), Some("node1"));
        assert_eq!(args.peers.clone().unwrap(), ["127.0.0.1:8082", "127.0.0.1:8083"]);
        let config = args.into_config().unwrap();
        assert_eq!(config.peer_advertise, "127.0.0.1:8081");
        assert_eq!(config.client_advertise, "127.0.0.1:8181");
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:8161");
    }
}
