//! The binary `kotoba`: parse, start logging, run.

use std::process::ExitCode;

use clap::Parser;
use kotoba_node::cli::{self, Cli};
use tikv_jemallocator::Jemalloc;

/// Many threads allocate what others free; the system's allocator took a quarter of a load's processor time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.command.start_logging();
    cli::run(cli).await
}
