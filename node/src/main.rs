//! The binary `kotoba`: parse, start logging, run.

use std::process::ExitCode;

use clap::Parser;
use kotoba_node::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::init_logging(&cli.command);
    cli::run(cli).await
}
