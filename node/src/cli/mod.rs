//! The command line of `kotoba`: what a person types, and what they read back.
//!
//! One file per command. A command parses its arguments into messages, calls the cluster as any client would, and prints;
//! it knows nothing of the member's insides. Exit codes: 0 done, 1 refused or not found, 2 usage, 3 unreachable.

mod admin;
mod bench;
mod bootstrap;
mod completion;
mod config;
pub mod dev;
mod edge;
mod entity;
mod error;
mod events;
mod expected;
mod filter;
mod health;
mod history;
mod load;
mod logging;
mod member;
mod node;
mod output;
mod path;
mod progress;
mod property;
mod rebalance;
mod search;
pub mod serve;
mod status;
mod table;
mod traverse;
mod who_am_i;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kotoba_proto::v1::Consistency;
use kotoba_proto::{ClusterError, KotobaCluster, Options};

pub use error::CliError;
use output::{Format, Output};

/// A person at a terminal wants to hear soon that nobody listens there.
const UNREACHABLE_AFTER: Duration = Duration::from_secs(2);

/// KotobaDB: a distributed property-graph database.
#[derive(Debug, Parser)]
#[command(name = "kotoba", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kotoba dev                                           a cluster of three on this machine
  kotoba status                                        is it fine?
  kotoba node create --label Person --property name=Ada --property born:int=1815
  kotoba node find --label Person --where name=Ada -o json
  kotoba edge create KNOWS 12 34 --property since:date=1833-06-05
  kotoba traverse 12 --type KNOWS --max-depth 3
  kotoba path 12 34
  kotoba load --mapping ldbc-mini.toml data/
  kotoba bench mixed --clients 16 --duration-s 10

Exit codes: 0 done, 1 refused or not found, 2 usage, 3 unreachable.";

/// How to reach a cluster and how to print; every client command takes them.
#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// Address of a member's client port, or several: HOST:PORT,HOST:PORT
    #[arg(
        short,
        long,
        global = true,
        value_name = "ADDR",
        env = "KOTOBA_CLUSTER",
        default_value = "127.0.0.1:7700",
        help_heading = "Client"
    )]
    cluster: String,
    /// Output for people, or one JSON object a line for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Client")]
    output: Format,
    /// Longest time for one call, its retries included, in seconds
    #[arg(long, global = true, value_name = "SECONDS", env = "KOTOBA_TIMEOUT_S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "Client")]
    timeout_s: u64,
    /// What a read must see, and when a write counts as done
    #[arg(long, global = true, value_enum, default_value_t = ConsistencyArg::Strong, help_heading = "Client")]
    consistency: ConsistencyArg,
    /// With read-your-writes: the bookmark that a write printed
    #[arg(long, global = true, value_name = "TIMESTAMP", help_heading = "Client")]
    bookmark: Option<u64>,
    /// Read the graph as it was at this timestamp, which a write printed as its bookmark
    #[arg(long, global = true, value_name = "TIMESTAMP", help_heading = "Client")]
    as_of: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConsistencyArg {
    /// The newest state, behind a majority
    Strong,
    /// At least as new as --bookmark
    ReadYourWrites,
    /// One consistent snapshot, about a second old at most
    Eventual,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Box<serve::ServeArgs>),
    Dev(dev::DevArgs),
    Status(status::StatusArgs),
    Health(health::HealthArgs),
    #[command(subcommand)]
    Node(node::NodeCommand),
    #[command(subcommand)]
    Edge(edge::EdgeCommand),
    Traverse(traverse::TraverseArgs),
    Path(path::PathArgs),
    Load(load::LoadArgs),
    Bench(bench::BenchArgs),
    #[command(subcommand)]
    Member(member::MemberCommand),
    Rebalance(rebalance::RebalanceArgs),
    Events(events::EventsArgs),
    WhoAmI(who_am_i::WhoAmIArgs),
    Bootstrap(bootstrap::BootstrapArgs),
    Config(config::ConfigArgs),
    Completion(completion::CompletionArgs),
}

/// Runs the command and prints what it answers; an error goes to stderr with what to do about it.
pub async fn run(cli: Cli) -> ExitCode {
    let mut output = Output::new(cli.client.output, io::BufWriter::new(io::stdout()));
    let done = cli.command.run(&cli.client, &mut output).await;
    match done.and_then(|()| Ok(output.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(&mut io::stderr()),
    }
}

impl Command {
    async fn run(self, client: &ClientArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
        match self {
            Command::Serve(args) => serve::run(*args).await,
            Command::Dev(args) => dev::run(args).await,
            Command::Status(args) => status::run(args, client, output).await,
            Command::Health(args) => health::run(args, client, output).await,
            Command::Node(command) => node::run(command, client, output).await,
            Command::Edge(command) => edge::run(command, client, output).await,
            Command::Traverse(args) => traverse::run(args, client, output).await,
            Command::Path(args) => path::run(args, client, output).await,
            Command::Load(args) => load::run(args, client, output).await,
            Command::Bench(args) => bench::run(args, client, output).await,
            Command::Member(command) => member::run(command, client, output).await,
            Command::Rebalance(args) => rebalance::run(args, client, output).await,
            Command::Events(args) => events::run(args, client, output).await,
            Command::WhoAmI(args) => who_am_i::run(args, client, output).await,
            Command::Bootstrap(args) => bootstrap::run(args, client, output).await,
            Command::Config(args) => config::run(args, output),
            Command::Completion(args) => completion::run(args),
        }
    }

    /// Starts the log of a command; a member's waits for its settings.
    pub fn start_logging(&self) {
        if !matches!(self, Command::Serve(_)) {
            logging::start_from_environment();
        }
    }
}

impl ClientArgs {
    /// The cluster for one short command.
    fn connect(&self) -> Result<KotobaCluster, ClusterError> {
        self.connect_with_patience(UNREACHABLE_AFTER)
    }

    /// The cluster for work that should outlive a restart of a member.
    fn connect_with_patience(&self, unreachable_after: Duration) -> Result<KotobaCluster, ClusterError> {
        let options = Options {
            deadline: self.deadline(),
            unreachable_after,
            consistency: self.consistency.into(),
            as_of: self.as_of,
            ..Options::default()
        };
        let cluster = KotobaCluster::connect_with(&self.cluster, options)?;
        cluster.advance_bookmark(self.bookmark.unwrap_or_default());
        Ok(cluster)
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

impl From<ConsistencyArg> for Consistency {
    fn from(argument: ConsistencyArg) -> Self {
        match argument {
            ConsistencyArg::Strong => Consistency::Strong,
            ConsistencyArg::ReadYourWrites => Consistency::ReadYourWrites,
            ConsistencyArg::Eventual => Consistency::Eventual,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace().map(|word| word.trim_matches('\'')))
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_in_the_help_parses() {
        let mut command = Cli::command();
        let mut helps = vec![command.clone().render_long_help().to_string()];
        collect_helps(&mut command, &mut helps);
        let examples: Vec<_> = helps.iter().flat_map(|help| help.lines()).filter_map(example).collect();
        assert!(examples.len() > 15, "{}", examples.len());
        for line in examples {
            parse(line).unwrap_or_else(|error| panic!("{line}\n{error}"));
        }
    }

    fn collect_helps(command: &mut clap::Command, helps: &mut Vec<String>) {
        for subcommand in command.get_subcommands_mut() {
            helps.push(subcommand.clone().render_long_help().to_string());
            collect_helps(subcommand, helps);
        }
    }

    /// An example is an indented line that starts with the program; two spaces end it and start its remark.
    fn example(line: &str) -> Option<&str> {
        let line = line.strip_prefix("  ")?;
        let command = line.split("   ").next()?.split(" | ").next()?;
        command.starts_with("kotoba ").then_some(command)
    }

    #[test]
    fn client_flags_are_taken_before_and_after_the_command() {
        for line in ["kotoba -c a:1 -o json status", "kotoba status -c a:1 -o json"] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.client.cluster, "a:1");
            assert_eq!(cli.client.output, Format::Json);
        }
    }

    #[test]
    fn a_typing_error_is_a_usage_error() {
        for line in [
            "kotoba",
            "kotoba statos",
            "kotoba node get x",
            "kotoba traverse",
            "kotoba node create --property age:int=x",
            "kotoba node find --where age!30",
            "kotoba node find --cursor x",
            "kotoba node find --all --limit 3",
            "kotoba path 1",
            "kotoba path 1 2 --max-depth 33",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
