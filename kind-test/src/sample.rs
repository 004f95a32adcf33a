//! `make up` and `make down`: the tests' Kubernetes with the operator and one sample cluster, left for a person.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::kubernetes::client;
use crate::platform::{self, Platform, Start};
use crate::say::headline;
use crate::settings::{SAMPLE, Settings};
use crate::steps;
use crate::trial::Trial;

const READY_LIMIT: Duration = Duration::from_secs(300);

pub async fn up(settings: &Settings) -> Result<ExitCode> {
    let platform = match Platform::start(settings).await? {
        Start::Up(platform) => platform,
        Start::Unavailable(reason) => bail!("no Kubernetes can be brought up: {reason}"),
    };
    let kube = client::connect(&platform.kubeconfig).await?;
    let mut trial = Trial::new(settings.clone(), SAMPLE, platform, kube);
    for name in ["kubernetes", "images", "install"] {
        let step = steps::named(name)?;
        headline(format!("== {}", step.about));
        (step.run)(&mut trial).await?;
    }
    headline("== the sample cluster becomes Ready");
    let manifest = read_manifest(&settings.repository.join("kind-test/sample.yaml"))?;
    trial.resource().apply(&manifest).await?;
    trial.resource().wait_for("Ready", "True", READY_LIMIT).await?;
    let address = trial.address().await?;
    print_hints(&trial.platform.kubeconfig, &address);
    Ok(ExitCode::SUCCESS)
}

fn read_manifest(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("understanding {}", path.display()))
}

fn print_hints(kubeconfig: &Path, address: &str) {
    let namespace = SAMPLE.namespace;
    println!();
    println!("export KUBECONFIG={}", kubeconfig.display());
    println!();
    println!("  kubectl get kotobaclusters --namespace {namespace}    # is it fine?");
    println!("  bin/kotoba status --cluster {address}    # members, partitions, leaders");
    println!(
        "  kubectl scale kotobacluster {} --namespace {namespace} --replicas 5",
        SAMPLE.cluster
    );
}

pub async fn down(settings: &Settings) -> Result<ExitCode> {
    platform::remove(settings).await?;
    headline("removed");
    Ok(ExitCode::SUCCESS)
}
