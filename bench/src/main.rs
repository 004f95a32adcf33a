//! Measures KotobaDB and its peers on this machine, one part after the other, and writes down what came out.

mod cell;
mod changes;
mod contention;
mod creates;
mod failover;
mod goals;
mod growth;
mod idle;
mod interrupt;
mod load;
mod machine;
mod measure;
mod members;
mod open;
mod operation;
mod part;
mod partitions;
mod peer;
mod plot;
mod process;
mod recovery;
mod report;
mod results;
mod settings;
mod steady;
mod table;
mod traversal;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::operation::Operation;
use crate::part::Part;
use crate::peer::Programs;
use crate::report::Report;
use crate::settings::{Settings, SizeArgs};

#[derive(Parser, Debug)]
#[command(
    name = "kotoba-bench",
    about = "Measures KotobaDB side by side with its peers, and writes RESULTS.md and the plots"
)]
struct Args {
    /// The binary `kotoba`, a release build
    #[arg(long, default_value = "bin/kotoba")]
    kotoba: PathBuf,
    /// The binary `etcd`; without it only KotobaDB is measured
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// Where members keep their data meanwhile: a folder on the disk that is to be measured
    #[arg(long, default_value = "target/bench")]
    data_dir: PathBuf,
    /// Which parts are measured; of the others RESULTS.md keeps what it had
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// How often all is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// How long each operation is measured with each number of clients, in seconds; a fifth of it before is not counted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Numbers of clients of the operations beside etcd
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: Vec<u16>,
    /// Operations that are measured beside etcd
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Operation::ALL)]
    operations: Vec<Operation>,
    #[command(flatten)]
    sizes: SizeArgs,
    /// Where RESULTS.md goes
    #[arg(long, default_value = "bench")]
    results: PathBuf,
    /// Where the plots go
    #[arg(long, default_value = "docs/figures")]
    plots: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    tokio::select! {
        done = run(args) => done,
        interrupted = interrupt::heard() => interrupted,
    }
}

/// A part that fails does not keep the others from being measured.
async fn run(args: Args) -> Result<()> {
    let settings = Settings {
        programs: Programs {
            kotoba: args.kotoba,
            etcd: args.etcd,
        },
        data_dir: args.data_dir,
        parts: args.only,
        rounds: args.rounds,
        duration: Duration::from_secs(args.seconds),
        clients: args.clients,
        operations: args.operations,
        sizes: args.sizes.sizes(),
    };
    std::fs::create_dir_all(&settings.data_dir).context("making the data folder")?;
    let about = machine::describe(&settings)?;
    let mut failed = Vec::new();
    for part in settings.parts.iter().copied() {
        eprintln!("kotoba-bench: {part}");
        match part.measure(&settings).await {
            Ok(report) => results::write(
                &args.results,
                &args.plots,
                part,
                &Report {
                    measured: about.clone(),
                    ..report
                },
            )?,
            Err(error) => {
                eprintln!("kotoba-bench: {part}: {error:#}");
                failed.push(part.to_string());
            }
        }
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}
