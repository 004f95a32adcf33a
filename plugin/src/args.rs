//! The command line as typed.

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Look at a KotobaDB cluster in Kubernetes, and act on it
#[derive(Debug, Parser)]
#[command(name = "kubectl-kotoba", bin_name = "kubectl kotoba", version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    /// Namespace of the cluster. Default: that of the kubeconfig
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,

    /// Context of the kubeconfig. Default: the current one
    #[arg(long, global = true)]
    pub context: Option<String>,

    /// A table for people, or JSON for programs
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how the cluster is, and what is being done
    Status(ClusterArgs),
    /// List the members: slot, id, state, health, zone, load
    Members(ClusterArgs),
    /// Show the partitions in numbers, and those that one more loss would stop
    Partitions(ClusterArgs),
    /// Move everything off a member; refused, with the reason, where the rest could not hold it
    #[command(after_help = "Examples:
  kubectl kotoba drain graph graph-4
  kubectl kotoba members graph              to see how far it is
  kubectl kotoba cancel graph graph-4       to keep it after all")]
    Drain(MemberArgs),
    /// Keep a member that is being drained
    Cancel(MemberArgs),
    /// Have all pods made anew, one at a time, by the operator
    Restart(ClusterArgs),
    /// Say in sentences what the cluster waits for, and what to do
    Explain(ClusterArgs),
    /// Print the completion script of a shell
    #[command(after_help = "Examples:
  kubectl kotoba completion bash     to be sourced: source <(...), in .bashrc for good
  kubectl kotoba completion zsh      to a file _kubectl-kotoba on the fpath
  kubectl kotoba completion fish     to a file ~/.config/fish/completions/kubectl-kotoba.fish")]
    Completion { shell: Shell },
}

#[derive(Debug, clap::Args)]
pub struct ClusterArgs {
    /// Name of the KotobaCluster
    pub cluster: String,
}

#[derive(Debug, clap::Args)]
pub struct MemberArgs {
    /// Name of the KotobaCluster
    pub cluster: String,
    /// The member: its pod's name, or its id
    pub member: String,
}
