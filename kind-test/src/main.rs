//! The binary `kind-test`: end-to-end tests of KotobaDB on a real Kubernetes, and the cluster behind `make up`.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match kind_test::run(kind_test::Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kind-test: {error:#}");
            ExitCode::FAILURE
        }
    }
}
