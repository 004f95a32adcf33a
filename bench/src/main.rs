//! Measures KotobaDB and its peers with the same clients, one after the other on the same machine, and writes down what came out.
//!
//! In each round each peer is started anew, three members with their data on disk and flushed, and does every operation with
//! every number of clients; the order of the peers changes from round to round. So what the machine does meanwhile meets all.

mod cell;
mod goals;
mod machine;
mod measure;
mod operation;
mod peer;
mod plot;
mod process;
mod results;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::measure::Settings;
use crate::operation::Operation;
use crate::peer::Programs;

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
    /// How often all is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// How long each operation is measured with each number of clients, in seconds; a fifth of it before is not counted
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: Vec<u16>,
    /// What is measured
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Operation::ALL)]
    operations: Vec<Operation>,
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
    let settings = Settings {
        programs: Programs {
            kotoba: args.kotoba,
            etcd: args.etcd,
        },
        data_dir: args.data_dir,
        rounds: args.rounds,
        duration: Duration::from_secs(args.seconds),
        clients: args.clients,
        operations: args.operations,
    };
    std::fs::create_dir_all(&settings.data_dir).context("making the data folder")?;
    let about = machine::describe(&settings)?;
    let cells = measure::all(&settings).await?;
    results::write(&args.results, &about, &cells)?;
    plot::write(&args.plots, &cells)
}
