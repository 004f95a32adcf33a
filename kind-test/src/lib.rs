//! End-to-end tests of KotobaDB on a real Kubernetes: install, create, load, break, scale, delete, and after each step
//! every acknowledged write is read back.
//!
//! A *step* is one named entry of the run (`steps`); the *ledger* is what the writer was told is durable (`writer`);
//! the *graph* is what the files say must be there (`graph`). The words of DESIGN §1 mean the same here.

mod args;
mod database;
mod graph;
mod helm;
mod images;
mod inventory;
mod kubectl;
mod kubernetes;
mod platform;
mod process;
mod runner;
mod sample;
mod say;
mod settings;
mod spread;
mod steps;
mod tools;
mod trial;
mod wait;
mod writer;

use std::process::ExitCode;

use anyhow::Result;

pub use args::Args;
use args::Command;
use settings::Settings;

/// Does what the arguments say.
pub async fn run(args: Args) -> Result<ExitCode> {
    say::begin();
    let settings = Settings::from_environment()?;
    match args.command {
        Command::Run(options) => runner::run(settings, options).await,
        Command::Steps => {
            steps::ALL.iter().for_each(|step| println!("{}", step.name));
            Ok(ExitCode::SUCCESS)
        }
        Command::Up => sample::up(&settings).await,
        Command::Down => sample::down(&settings).await,
    }
}
