//! The binary `kotoba-operator`: parse, then run, check an installation, or print the CRD.

use clap::Parser;
use kotoba_operator::args::{Args, Command};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Check(check) => println!("{}", kotoba_operator::check::run(check).await?),
        Command::Crd => print!("{}", kotoba_operator::crdgen::yaml()?),
        Command::Run(run) => {
            kotoba_operator::log::start(&run)?;
            kotoba_operator::run::run(run.into()).await?;
        }
    }
    Ok(())
}
