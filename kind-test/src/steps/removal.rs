//! Taking it all away again: the resource with its pods, then the operator; the disks and the CRD stay.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::kubernetes::pods::{ABRUPT_SECONDS, volume_claims};
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

/// The longest grace period of a pod, and some.
const GONE_LIMIT: Duration = Duration::from_secs(180);
/// The time after which silent members count as failed, and a few looks.
const LOST_LIMIT: Duration = Duration::from_secs(180);
const CRD: &str = "kotobaclusters.kotoba.dev";

/// Most members are lost for good by then: what goes needs no quorum.
pub async fn cluster(trial: &mut Trial) -> Result<()> {
    let namespace = trial.installation.namespace;
    let before = volume_claims(&trial.kube, namespace).await?;
    ensure!(!before.is_empty(), "there are no volume claims to keep");
    trial.close_reach();
    let lost = lose_quorum(trial).await;
    let deleted = match &lost {
        Ok(()) => trial.resource().delete(GONE_LIMIT).await,
        Err(_) => Ok(()),
    };
    cordon(trial, false).await?;
    lost?;
    deleted?;
    trial.pods().wait_for_none(GONE_LIMIT).await?;
    let sets: Api<StatefulSet> = Api::namespaced(trial.kube.clone(), namespace);
    until("end of the StatefulSet", GONE_LIMIT, || async {
        let left = sets.list(&ListParams::default()).await?.items.len();
        Ok(if left == 0 {
            Seen::Done(())
        } else {
            Seen::Waiting(format!("{left} left"))
        })
    })
    .await?;
    let after = volume_claims(&trial.kube, namespace).await?;
    ensure!(before == after, "the volume claims were {before:?} and are {after:?}");
    say(format!("{} volume claims stayed", after.len()));
    Ok(())
}

/// No pod that goes finds a place any more, and all but one go.
async fn lose_quorum(trial: &Trial) -> Result<()> {
    if !trial.platform.is_ours() {
        say("the nodes of this Kubernetes are not ours to close: the members keep their quorum");
        return Ok(());
    }
    cordon(trial, true).await?;
    let pods = trial.pods();
    for name in pods.list().await?.into_keys().skip(1) {
        pods.delete(&name, Some(ABRUPT_SECONDS)).await?;
    }
    let resource = trial.resource();
    resource.wait_for("Available", "False", LOST_LIMIT).await?;
    let state = resource.state().await?;
    say(state.condition("Available").map_or_else(String::new, |one| one.message));
    Ok(())
}

/// Closes all nodes to new pods, or opens them.
async fn cordon(trial: &Trial, closed: bool) -> Result<()> {
    let nodes: Api<Node> = Api::all(trial.kube.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": closed}}));
    for node in nodes.list(&ListParams::default()).await?.items {
        let name = node.name_any();
        let patched = nodes.patch(&name, &PatchParams::default(), &patch).await;
        patched.with_context(|| format!("closing or opening the node {name}"))?;
    }
    Ok(())
}

pub async fn operator(trial: &mut Trial) -> Result<()> {
    trial.helm().uninstall().await.context("uninstalling the chart")?;
    trial.operator_pods().wait_for_none(GONE_LIMIT).await?;
    let crds: Api<CustomResourceDefinition> = Api::all(trial.kube.clone());
    let crd = crds.get_opt(CRD).await?.context("the CRD went with the operator")?;
    ensure!(crd.metadata.deletion_timestamp.is_none(), "the CRD is being deleted");
    Ok(())
}

/// Removes the resource and the release, whichever of them is there.
pub async fn remove_installation(trial: &mut Trial) -> Result<()> {
    if trial.resource().state().await.is_ok() {
        trial.resource().delete(GONE_LIMIT).await?;
        trial.pods().wait_for_none(GONE_LIMIT).await?;
    }
    trial.helm().uninstall().await
}
