//! `kotoba serve`: one member.
//!
//! The arguments as typed; `config` turns them, with the file and the defaults, into what the process runs with.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{CliError, logging};
use crate::config::{self, Config, ListenSettings, Settings, SettingsError};

/// Run one member of a cluster
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "Examples:
  kotoba serve                                         one member on loopback, data in ./kotoba-data
  kotoba serve --config /etc/kotoba/kotoba.toml
  kotoba serve --node-id node1 --address 127.0.0.1:7601 --data-dir d1 --peers 127.0.0.1:7602,127.0.0.1:7603

A flag wins over its environment variable, that over the file, that over the default. `kotoba config` prints all settings, and docs/settings.md is a table of them.")]
pub struct ServeArgs {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE", env = "KOTOBA_CONFIG")]
    pub config: Option<PathBuf>,
    /// All ports in one: other members speak to PORT, probes to PORT + 80, clients to PORT + 100
    #[arg(long, value_name = "IP:PORT", env = "KOTOBA_ADDRESS")]
    pub address: Option<SocketAddr>,
    #[command(flatten)]
    pub settings: Settings,
}

pub(super) async fn run(args: ServeArgs) -> Result<(), CliError> {
    let config = args.into_config().map_err(|error| CliError::Usage(chain(&error)))?;
    logging::start(&config.log);
    crate::run::serve(config)
        .await
        .map_err(|error| CliError::Refused(format!("{error:#}")))
}

impl ServeArgs {
    /// The file where one is named, with flags and environment over it; --address stands for what they do not say.
    fn into_config(mut self) -> Result<Config, SettingsError> {
        if let Some(address) = self.address {
            let listen = &mut self.settings.listen;
            let derived = ListenSettings::around(address);
            listen.peer = listen.peer.take().or(derived.peer);
            listen.client = listen.client.take().or(derived.client);
            listen.http = listen.http.take().or(derived.http);
        }
        config::into_config(self.config.as_deref(), &self.settings)
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
        assert_eq!(args.settings.node_id.as_deref(), Some("node1"));
        assert_eq!(
            args.settings.peers.clone().unwrap(),
            ["127.0.0.1:8082", "127.0.0.1:8083"]
        );
        let config = args.into_config().unwrap();
        assert_eq!(config.peer_advertise, "127.0.0.1:8081");
        assert_eq!(config.client_advertise, "127.0.0.1:8181");
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:8161");
    }
}
