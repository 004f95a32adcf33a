//! The command line as typed (`Args`), and what the operator runs with (`Config`).

use std::net::SocketAddr;

use clap::{Parser, Subcommand, ValueEnum};

/// The Kubernetes operator of KotobaDB.
#[derive(Debug, Parser)]
#[command(name = "kotoba-operator", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether an installation works: clusters can be read, and an operator renews its lease.
    Check(CheckArgs),
    /// Print the CustomResourceDefinition of KotobaCluster as YAML.
    Crd,
    /// Run the operator until it is told to stop.
    Run(RunArgs),
}

/// The settings of the operator that is checked.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Namespaces that it works in, separated by commas. Default: all.
    #[arg(long, env = "KOTOBA_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// The namespace of its lease. Default: that of the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,

    /// Name of the lease that the working replica holds.
    #[arg(long, env = "KOTOBA_LEASE_NAME", default_value = "kotoba-operator")]
    pub lease_name: String,
}

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Database image of clusters whose spec names none.
    #[arg(long, env = "KOTOBA_CLUSTER_IMAGE")]
    pub cluster_image: Option<String>,

    /// Namespaces to work in, separated by commas. Default: all.
    #[arg(long, env = "KOTOBA_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// The operator's own namespace: the lease is here, and pods from here may call the members' peer port.
    /// Default: that of the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: Option<String>,

    /// Name of this process among the operator's replicas. Default: the host's name.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Name of the lease that the working replica holds.
    #[arg(long, env = "KOTOBA_LEASE_NAME", default_value = "kotoba-operator")]
    pub lease_name: String,

    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "KOTOBA_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// What is logged, as a tracing filter.
    #[arg(long, env = "KOTOBA_LOG", default_value = "info")]
    pub log: String,

    /// How log lines are written.
    #[arg(long, env = "KOTOBA_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The settings in use.
#[derive(Clone, Debug)]
pub struct Config {
    pub cluster_image: Option<String>,
    /// Empty: all.
    pub watch_namespaces: Vec<String>,
    /// None: not told, which means not in a pod.
    pub namespace: Option<String>,
    pub identity: String,
    pub lease_name: String,
    pub listen: SocketAddr,
}

impl From<RunArgs> for Config {
    fn from(typed: RunArgs) -> Self {
        let filled = |text: &String| !text.is_empty();
        let host = || std::env::var("HOSTNAME").ok().filter(filled);
        let pid = || format!("kotoba-operator-{}", std::process::id());
        Config {
            cluster_image: typed.cluster_image.filter(filled),
            watch_namespaces: typed.watch_namespaces.into_iter().filter(filled).collect(),
            namespace: typed.namespace.filter(filled),
            identity: typed.identity.filter(filled).or_else(host).unwrap_or_else(pid),
            lease_name: typed.lease_name,
            listen: typed.listen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(typed: &[&str]) -> Config {
        let Command::Run(run) = Args::parse_from(typed).command else {
            panic!("not a run command");
        };
        run.into()
    }

    #[test]
    fn namespaces_are_separated_by_commas_and_none_means_all() {
        let typed = [
            "kotoba-operator",
            "run",
            "--watch-namespaces",
            "a,b",
            "--identity",
            "one",
        ];
        assert_eq!(config(&typed).watch_namespaces, ["a", "b"]);
        assert!(
            config(&["kotoba-operator", "run", "--watch-namespaces", ""])
                .watch_namespaces
                .is_empty()
        );
    }
}
