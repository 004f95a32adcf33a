//! The operator's own pods: killed, gone for a while, back; and waiting for what it has looked at.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::install::wait_for_operator;
use crate::kubernetes::pods::{ABRUPT_SECONDS, uid};
use crate::kubernetes::resource::{Resource, State};
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

/// The longest grace period of its pods, and some.
const END_LIMIT: Duration = Duration::from_secs(180);
/// The lease of a dead one runs out first; then it tells twice a minute.
const LOOK_LIMIT: Duration = Duration::from_secs(180);

/// Kills all its pods, and waits till others are ready to work.
pub async fn kill(trial: &Trial) -> Result<()> {
    let pods = trial.operator_pods();
    let mut old = Vec::new();
    for name in pods.list().await?.keys() {
        old.push(pods.delete(name, Some(ABRUPT_SECONDS)).await?);
    }
    ensure!(!old.is_empty(), "there was no operator pod to kill");
    say(format!("deleted {} operator pod(s)", old.len()));
    wait_till_gone(trial, &old).await?;
    wait_for_operator(trial).await
}

/// Waits till none of the pods with these uids is left.
pub async fn wait_till_gone(trial: &Trial, old: &[String]) -> Result<()> {
    let pods = trial.operator_pods();
    until("end of the old operator", END_LIMIT, || async {
        let now = pods.list().await?;
        let left = now.values().filter(|pod| old.contains(&uid(pod))).count();
        Ok(match left {
            0 => Seen::Done(()),
            left => Seen::Waiting(format!("{left} left")),
        })
    })
    .await
}

/// Takes all its pods away; gives how many there should have been.
pub async fn stop(trial: &Trial) -> Result<i32> {
    let before = scale(trial, 0).await?;
    trial.operator_pods().wait_for_none(END_LIMIT).await?;
    say("the operator is gone");
    Ok(before)
}

/// Brings it back, and waits till it has looked at the cluster.
pub async fn start(trial: &Trial, replicas: i32) -> Result<()> {
    let resource = trial.resource();
    let before = last_observed(&resource).await?;
    scale(trial, replicas).await?;
    wait_for_operator(trial).await?;
    wait_for_look(&resource, &before).await
}

async fn scale(trial: &Trial, replicas: i32) -> Result<i32> {
    let api: Api<Deployment> = Api::namespaced(trial.kube.clone(), trial.installation.operator_namespace);
    let deployments = api.list(&ListParams::default()).await?.items;
    let deployment = deployments.first().context("the operator has no Deployment")?;
    let before = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    api.patch_scale(&deployment.name_any(), &PatchParams::default(), &patch)
        .await
        .context("scaling the operator")?;
    before.context("the operator's Deployment has no number of pods")
}

/// Waits till the operator tells that it has asked the database after now. It tells so twice a minute, and has looked
/// several times in between where anything is going on.
pub async fn wait_for_another_look(resource: &Resource) -> Result<()> {
    let last = last_observed(resource).await?;
    wait_for_look(resource, &last).await
}

async fn last_observed(resource: &Resource) -> Result<Value> {
    Ok(resource.state().await?.status()["lastObservedTime"].clone())
}

/// Waits till the database was asked after this time.
async fn wait_for_look(resource: &Resource, before: &Value) -> Result<()> {
    let missing = |state: &State| {
        let now = &state.status()["lastObservedTime"];
        (now == before).then(|| format!("the last one was at {before}"))
    };
    let look = resource.wait_until("another look of the operator", LOOK_LIMIT, missing);
    look.await.map(drop)
}
