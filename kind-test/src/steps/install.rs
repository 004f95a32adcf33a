//! From an empty Kubernetes to an operator that runs.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::images;
use crate::kubernetes::{namespaces, pods};
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until, when_none};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// As many zones as replicas of a partition.
const ZONES: usize = 3;
const NODES_LIMIT: Duration = Duration::from_secs(180);
const OPERATOR_LIMIT: Duration = Duration::from_secs(180);

pub async fn nodes(trial: &mut Trial) -> Result<()> {
    let api: Api<Node> = Api::all(trial.kube.clone());
    let zones = until("Ready nodes in three zones", NODES_LIMIT, || async {
        let nodes = api.list(&ListParams::default()).await?;
        let zones: BTreeSet<String> = nodes
            .iter()
            .filter(|node| is_ready(node))
            .filter_map(|node| node.labels().get(ZONE_LABEL).cloned())
            .collect();
        Ok(if zones.len() >= ZONES {
            Seen::Done(zones)
        } else {
            Seen::Waiting(format!("Ready nodes are in the zones {zones:?} (label {ZONE_LABEL})"))
        })
    })
    .await?;
    say(format!("nodes are Ready in {zones:?}"));
    Ok(())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub async fn images(trial: &mut Trial) -> Result<()> {
    trial.images = Some(images::provide(&trial.settings, &trial.platform).await?);
    Ok(())
}

/// All namespaces enforce the restricted level, so a pod that asks for more would not be admitted.
pub async fn operator(trial: &mut Trial) -> Result<()> {
    for namespace in trial.installation.namespaces() {
        namespaces::make_restricted(&trial.kube, namespace).await?;
    }
    trial
        .helm()
        .install(trial.images()?)
        .await
        .context("installing the chart")?;
    wait_for_operator(trial).await
}

pub async fn helm_test(trial: &mut Trial) -> Result<()> {
    trial.helm().test().await.context("testing the release")
}

/// Waits till all Deployments of the operator's namespace are Available and its pods Ready.
pub async fn wait_for_operator(trial: &Trial) -> Result<()> {
    let namespace = trial.installation.operator_namespace;
    let api: Api<Deployment> = Api::namespaced(trial.kube.clone(), namespace);
    until("Available operator", OPERATOR_LIMIT, || async {
        let deployments = api.list(&ListParams::default()).await?.items;
        if deployments.is_empty() {
            return Ok(Seen::Waiting(format!("no Deployment in {namespace}")));
        }
        let late = deployments.iter().find(|deployment| !is_available(deployment));
        Ok(when_none(
            late.map(|one| format!("{} is not Available", one.name_any())),
        ))
    })
    .await?;
    pods::all_ready(&trial.operator_pods(), 1, OPERATOR_LIMIT).await
}

fn is_available(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation == deployment.metadata.generation
        && status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Available" && condition.status == "True")
}
