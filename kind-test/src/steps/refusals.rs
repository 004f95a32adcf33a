//! What the API server refuses, and that it says why: manifests that cannot be right, edits of what is fixed, and what
//! nobody but the operator may do to its objects.
//!
//! All of it is only asked (`--dry-run=server`), so that a rule that is missing breaks nothing.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::inventory;
use crate::kubectl::Kubectl;
use crate::kubernetes::resource::Resource;
use crate::say::say;
use crate::trial::Trial;

const PROTECTION: &str = "kotoba.dev/deletion-protection";
/// As the guard's own messages say it.
const BREAK_GLASS: &str = "--as=admin --as-group=kotoba:break-glass --as-group=system:masters";

pub async fn refused(trial: &mut Trial) -> Result<()> {
    let before = inventory::take(trial).await?;
    edits(&trial.resource()).await?;
    manifests(trial).await?;
    let kubectl = Kubectl::find(trial).await?;
    let cluster = trial.installation.cluster;
    guards(&kubectl, cluster).await?;
    break_glass(&kubectl, cluster).await?;
    protection(trial, &kubectl).await?;
    let after = inventory::take(trial).await?;
    ensure!(before == after, "there was {before:?} and is {after:?}");
    Ok(())
}

/// Of a cluster that is there.
async fn edits(resource: &Resource) -> Result<()> {
    let cases = [
        (json!({"replicas": 0}), "greater than or equal to 1"),
        (json!({"replicas": 101}), "less than or equal to 100"),
        (json!({"storage": {"size": "512Mi"}}), "storage.size cannot shrink"),
        (json!({"storage": {"size": "large"}}), "must be a quantity above zero"),
        (
            json!({"storage": {"storageClassName": "faster"}}),
            "storageClassName is fixed",
        ),
        (json!({"replicationFactor": 1}), "replicationFactor is fixed"),
        (json!({"partitions": 8}), "partitions is fixed"),
        (json!({"imagePullPolicy": "Sometimes"}), "Unsupported value"),
    ];
    for (spec, because) in cases {
        is_refused(resource.try_edit(&json!({ "spec": spec })).await, because)?;
    }
    let other_id = json!({"status": {"clusterId": "another"}});
    is_refused(resource.try_edit_status(&other_id).await, "clusterId is written once")
}

/// Of clusters that are not there.
async fn manifests(trial: &Trial) -> Result<()> {
    let long = "g".repeat(41);
    let cases = [
        ("1st", json!({}), "must start with a letter"),
        ("dotted.name", json!({}), "must start with a letter"),
        (&long, json!({}), "at most 40 characters"),
        (
            "small",
            json!({"replicas": 1, "replicationFactor": 3}),
            "replicationFactor cannot be above replicas",
        ),
    ];
    for (name, spec, because) in cases {
        let resource = Resource::new(&trial.kube, trial.installation.namespace, name);
        is_refused(resource.try_apply(spec).await, because)?;
    }
    Ok(())
}

fn is_refused(told: Result<Value>, because: &str) -> Result<()> {
    let told = match told {
        Ok(accepted) => anyhow::bail!("accepted, and should be refused ({because}): {accepted}"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(told.contains(because), "refused without saying {because:?}: {told}");
    say(format!("refused: {because}"));
    Ok(())
}

/// By a person with all rights.
async fn guards(kubectl: &Kubectl, cluster: &str) -> Result<()> {
    let cases = [
        (
            format!("scale statefulset {cluster} --replicas=1 --dry-run=server"),
            "which moves the data first: run kubectl scale kotobacluster/",
        ),
        (
            format!("delete statefulset {cluster} --dry-run=server"),
            "is changed by the KotobaDB operator alone",
        ),
        (
            format!("label statefulset {cluster} mine=true --dry-run=server"),
            "is changed by the KotobaDB operator alone",
        ),
        (
            format!("delete persistentvolumeclaim data-{cluster}-0 --dry-run=server"),
            "kotoba.dev/deletion-allowed=true, then delete it",
        ),
    ];
    for (typed, because) in cases {
        kubectl.is_refused(&typed, because).await?;
        say(format!("refused: {typed}"));
    }
    Ok(())
}

/// The same person, who says so.
async fn break_glass(kubectl: &Kubectl, cluster: &str) -> Result<()> {
    let cases = [
        format!("scale statefulset {cluster} --replicas=1 --dry-run=server"),
        format!("delete statefulset {cluster} --dry-run=server"),
        format!("delete persistentvolumeclaim data-{cluster}-0 --dry-run=server"),
    ];
    for typed in cases {
        kubectl.run(&format!("{typed} {BREAK_GLASS}")).await?;
        say(format!("by break-glass: {typed}"));
    }
    Ok(())
}

/// A protected cluster is not deleted, one that is not is.
async fn protection(trial: &Trial, kubectl: &Kubectl) -> Result<()> {
    let typed = format!("delete kotobacluster {} --dry-run=server", trial.installation.cluster);
    kubectl.run(&typed).await?;
    trial.resource().annotate(PROTECTION, Some("true")).await?;
    let refused = kubectl.is_refused(&typed, "is protected from deletion").await;
    trial.resource().annotate(PROTECTION, None).await?;
    refused
}
