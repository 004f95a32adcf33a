//! The binary `kubectl-kotoba`, which kubectl finds on the PATH: parse, run, say what went wrong.

use std::process::ExitCode;

use clap::Parser;
use kotoba_kubectl::args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match kotoba_kubectl::run::run(Args::parse(), &mut stdout).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(&mut std::io::stderr()),
    }
}
