//! `kotoba bench`: how many operations a second a cluster does for this client, and how long each takes.
//!
//! It is a client like any other, and cleans up after itself: all that it creates carries labels of its own.

mod graph;
mod report;
mod work;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kotoba_drive::{Pace, drive};
use tokio_util::sync::CancellationToken;

use self::graph::Graph;
use self::work::Mix;
use super::output::Output;
use super::progress::Bar;
use super::{CliError, ClientArgs};

/// Measure how fast a cluster answers this client
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Without --rate-per-s each client sends its next operation when the last is answered: the throughput is what matters then. With
it operations are due at fixed times, whether or not earlier ones are answered, and their time counts from when they were due:
so a cluster that stalls is seen to be slow for all who would have waited.

Everything it creates has the label KotobaBench and is deleted at the end.

Examples:
  kotoba bench write --clients 64
  kotoba bench mixed --rate-per-s 500 --duration-s 60 -o json
  kotoba bench read --consistency eventual
  kotoba bench clean                                   what a run that was killed has left")]
pub struct BenchArgs {
    workload: Workload,
    /// Operations under way at once, 1 to 1,024
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// How long to measure, in seconds
    #[arg(long, alias = "duration", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration_s: u64,
    /// Length of the text that each node has
    #[arg(long, alias = "value-size", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    value_size_bytes: u32,
    /// Operations that are due each second, of all clients together; default: as many as are answered
    #[arg(long, alias = "rate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate_per_s: Option<u32>,
    /// Nodes to read from, each with four relationships
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    nodes: u32,
    /// Leave what was created in the graph
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Create nodes
    Write,
    /// Read single nodes
    Read,
    /// Walk two steps from a node
    Traverse,
    /// Seven of ten read, two write, one walks
    Mixed,
    /// Only delete what earlier runs have left
    Clean,
}

impl Workload {
    fn mix(self) -> Option<Mix> {
        match self {
            Workload::Write => Some(Mix::WRITE),
            Workload::Read => Some(Mix::READ),
            Workload::Traverse => Some(Mix::TRAVERSE),
            Workload::Mixed => Some(Mix::MIXED),
            Workload::Clean => None,
        }
    }
}

pub(super) async fn run(args: BenchArgs, client: &ClientArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let cluster = client.connect()?;
    let Some(mix) = args.workload.mix() else {
        let deleted = graph::clean(&cluster, graph::LABEL, output.format).await?;
        eprintln!("kotoba: deleted {deleted} nodes");
        return Ok(());
    };
    let stop = CancellationToken::new();
    let graph = Graph::named_anew(args.value_size_bytes as usize);
    let measured = tokio::select! {
        measured = measure(&args, mix, &cluster, &graph, &stop, output) => measured,
        () = interrupted(&stop) => Err(CliError::Refused("interrupted".into())),
    };
    // Also after a failure: what was created until then is ours to delete.
    if !args.keep {
        graph::clean(&cluster, graph.label(), output.format).await?;
    }
    measured
}

async fn measure(
    args: &BenchArgs,
    mix: Mix,
    cluster: &kotoba_proto::KotobaCluster,
    graph: &Graph,
    stop: &CancellationToken,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let nodes = if mix.reads() { args.nodes } else { 0 };
    let ids = graph.create(cluster, nodes, output.format).await?;
    let work = Arc::new(work::Work {
        cluster: cluster.clone(),
        graph: graph.clone(),
        ids,
        mix,
    });
    let pace = Pace {
        clients: args.clients,
        duration: Duration::from_secs(args.duration_s),
        rate_per_s: args.rate_per_s,
    };
    let bar = Bar::start(output.format, args.duration_s);
    let measured = drive(work, &pace, stop, |so_far, done| {
        let rate = done as f64 / so_far.as_secs_f64();
        bar.advance(so_far.as_secs(), || format!("{rate:.0} operations a second"));
    })
    .await;
    drop(bar);
    output.records(report::records(&measured))?;
    match &measured.first_error {
        None => Ok(()),
        Some(error) => Err(CliError::Refused(format!(
            "{} operations failed, one of them so: {error}",
            measured.errors()
        ))),
    }
}

/// The first time what was measured so far is told, the second time not even that; what was created is deleted.
async fn interrupted(stop: &CancellationToken) {
    for last in [false, true] {
        // Where signals cannot be heard the measurement goes on to its end.
        if tokio::signal::ctrl_c().await.is_err() {
            return std::future::pending().await;
        }
        stop.cancel();
        if last {
            return;
        }
    }
}
