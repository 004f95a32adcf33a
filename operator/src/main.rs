//! The binary `kotoba-operator`: parse, then run or print the CRD.

use clap::Parser;
use kotoba_operator::args::{Args, Command};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Crd => print!("{}", kotoba_operator::crdgen::yaml()?),
        Command::Run(run) => {
            kotoba_operator::log::start(&run)?;
            kotoba_operator::run::run(run.into()).await?;
        }
    }
    Ok(())
}
