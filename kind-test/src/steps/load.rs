//! Loads the data set with the command line tool, from outside the cluster, and compares.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::process::Program;
use crate::say::{duration_text, say};
use crate::trial::Trial;

/// A hundred thousand records, at a fraction of what one core can do.
const LOAD_LIMIT: Duration = Duration::from_secs(480);

pub async fn load(trial: &mut Trial) -> Result<()> {
    let data = trial.data()?;
    let address = trial.address().await?;
    let began = Instant::now();
    Program::new(trial.settings.binaries().join("kotoba"))
        .args(["--cluster", &address, "load", "--mapping"])
        .arg(&data.mapping)
        .arg(&data.folder)
        .run(LOAD_LIMIT)
        .await
        .context("loading the data set")?;
    let records = data.graph.nodes.len() + data.graph.edges.len();
    let took = began.elapsed();
    let rate = records as f64 / took.as_secs_f64();
    let line = format!(
        "loaded {records} records in {} ({rate:.0} a second)",
        duration_text(took)
    );
    say(&line);
    trial.figures.push(line);
    Ok(())
}

pub async fn verify(trial: &mut Trial) -> Result<()> {
    trial.verify().await
}
