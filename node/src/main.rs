//! The binary `kotoba`: parse, start logging, run.

use std::process::ExitCode;

use clap::Parser;
use kotoba_node::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.command.start_logging();
    cli::run(cli).await
}
