//! Runs the steps in order, each with a deadline; says how long each took; ends with `N passed, M failed`.
//!
//! The first failure ends the run, because every step stands on the one before: the rest is not run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::RunArgs;
use crate::database::{self, Database};
use crate::kubernetes::{client, diagnosis, namespaces, pods};
use crate::platform::{Platform, Start};
use crate::say::{duration_text, elapsed, headline, say};
use crate::settings::{Settings, TESTED};
use crate::steps::{self, Step};
use crate::trial::Trial;

/// What callers take for "skipped".
const SKIPPED: u8 = 77;
/// A status for the diagnosis, of a cluster that may be down.
const STATUS_LIMIT: Duration = Duration::from_secs(30);

/// How one step ended.
struct Outcome {
    name: &'static str,
    took: Duration,
    /// Why it failed and what was seen then, a line each; said again at the end, as of a long run often only that is kept.
    failure: Option<Vec<String>>,
}

pub async fn run(settings: Settings, options: RunArgs) -> Result<ExitCode> {
    let chosen = match &options.until {
        Some(last) => steps::until(last)?,
        None => steps::chosen(&options.only)?,
    };
    clear(&settings)?;
    let platform = match Platform::start(&settings).await {
        Ok(Start::Up(platform)) => platform,
        Ok(Start::Unavailable(reason)) => return Ok(skipped(&reason)),
        Err(error) => {
            headline(format!("FAILED to bring up Kubernetes: {error:#}"));
            println!("0 passed, 1 failed");
            return Ok(ExitCode::FAILURE);
        }
    };
    let kube = client::connect(&platform.kubeconfig).await?;
    let mut trial = Trial::new(settings, TESTED, platform, kube);
    let outcomes = run_steps(&mut trial, &chosen).await?;
    if !options.keep
        && let Err(error) = tear_down(&mut trial).await
    {
        headline(format!("tearing down failed: {error:#}"));
    }
    if options.keep {
        say(format!(
            "kept: export KUBECONFIG={}",
            trial.platform.kubeconfig.display()
        ));
    }
    Ok(summary(&trial, &chosen, &outcomes))
}

/// Artifacts of an earlier run would be taken for this one's.
fn clear(settings: &Settings) -> Result<()> {
    let folder = &settings.artifacts;
    if folder.is_dir() {
        std::fs::remove_dir_all(folder).with_context(|| format!("clearing {}", folder.display()))?;
    }
    Ok(())
}

fn skipped(reason: &str) -> ExitCode {
    println!();
    println!("SKIPPED: the tests on Kubernetes did not run: {reason}");
    ExitCode::from(SKIPPED)
}

async fn run_steps(trial: &mut Trial, chosen: &[&Step]) -> Result<Vec<Outcome>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening to signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening to signals")?;
    let mut outcomes = Vec::new();
    for (number, step) in (1..).zip(chosen) {
        headline(format!("== {number}/{} {}: {}", chosen.len(), step.name, step.about));
        let began = Instant::now();
        let result = tokio::select! {
            result = run_step(trial, step) => result,
            _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
        };
        let (name, took) = (step.name, began.elapsed());
        let failure = match result {
            Ok(()) => {
                headline(format!("ok {name} in {}", duration_text(took)));
                None
            }
            Err(error) => {
                headline(format!("FAILED {name} after {}: {error:#}", duration_text(took)));
                let mut seen = vec![format!("{error:#}")];
                seen.extend(diagnose(trial, name).await);
                Some(seen)
            }
        };
        let failed = failure.is_some();
        outcomes.push(Outcome { name, took, failure });
        if failed {
            break;
        }
    }
    Ok(outcomes)
}

async fn run_step(trial: &mut Trial, step: &Step) -> Result<()> {
    tokio::time::timeout(step.limit, (step.run)(trial))
        .await
        .with_context(|| format!("the step's deadline of {} passed", duration_text(step.limit)))?
}

/// Writes down what there is to see of a failure; returns the conditions and the state of the members.
async fn diagnose(trial: &mut Trial, step: &str) -> Vec<String> {
    let folder = trial.settings.artifacts.join(step);
    let namespaces: Vec<&str> = trial.installation.namespaces().collect();
    diagnosis::collect(&trial.kube, &namespaces, &folder).await;
    let mut seen = Vec::new();
    let resource = match trial.resource().state().await {
        Ok(state) => {
            seen.extend(state.conditions().iter().map(ToString::to_string));
            state.to_yaml()
        }
        Err(error) => format!("{error:#}\n"),
    };
    diagnosis::write(&folder.join("kotobacluster.yaml"), &resource);
    let status = async { anyhow::Ok(trial.database().await?.status().await?) };
    let status = match tokio::time::timeout(STATUS_LIMIT, status).await {
        Ok(Ok(status)) => {
            seen.push(database::status::summary(&status));
            format!("{status:#?}\n")
        }
        Ok(Err(error)) => format!("{error:#}\n"),
        Err(_) => format!("no answer within {}\n", duration_text(STATUS_LIMIT)),
    };
    diagnosis::write(&folder.join("status.txt"), &status);
    seen.iter().for_each(say);
    seen
}

/// Removes the Kubernetes, or from one that was there before only what the run made.
async fn tear_down(trial: &mut Trial) -> Result<()> {
    headline("tearing down");
    trial.close_reach();
    if trial.platform.was_up {
        steps::removal::remove_installation(trial).await?;
        pods::delete_volume_claims(&trial.kube, trial.installation.namespace).await?;
        for namespace in trial.installation.namespaces() {
            namespaces::remove(&trial.kube, namespace).await?;
        }
    }
    trial.platform.stop(&trial.settings).await
}

fn summary(trial: &Trial, chosen: &[&Step], outcomes: &[Outcome]) -> ExitCode {
    println!();
    for outcome in outcomes {
        let result = if outcome.failure.is_none() { "ok    " } else { "FAILED" };
        println!("  {result} {:18} {:>9}", outcome.name, duration_text(outcome.took));
    }
    for step in &chosen[outcomes.len()..] {
        println!("  not run {}", step.name);
    }
    trial.figures.iter().for_each(|figure| println!("  {figure}"));
    println!("  all together {}", duration_text(elapsed()));
    let failures: Vec<&Vec<String>> = outcomes.iter().filter_map(|outcome| outcome.failure.as_ref()).collect();
    failures.iter().copied().flatten().for_each(|line| println!("  {line}"));
    let failed = failures.len();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
