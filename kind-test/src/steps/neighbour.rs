//! A second cluster, of one member, in a namespace of its own: it is made again under its name on the disk it left, which
//! is refused as somebody else's data; then its namespace is deleted, and made again with another such cluster.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, LogParams};
use serde_json::{Value, json};

use super::operator;
use crate::kubernetes::namespaces;
use crate::kubernetes::pods::{Pods, delete_volume_claim, volume_claims};
use crate::kubernetes::resource::Resource;
use crate::say::say;
use crate::trial::{CLUSTER_LABEL, Trial};
use crate::wait::{Seen, until};

const NAME: &str = "small";
/// A volume, one start, the founding, a few elections.
const READY_LIMIT: Duration = Duration::from_secs(240);
const GONE_LIMIT: Duration = Duration::from_secs(180);
/// Warnings of a pass that met the end of a namespace, and of watches whose rights went with it before they did.
const MOST_WARNINGS: usize = 10;

pub async fn namespace_deleted(trial: &mut Trial) -> Result<()> {
    let namespace = trial.installation.neighbour.context("no other namespace is watched")?;
    let resource = Resource::new(&trial.kube, namespace, NAME);
    let first = create(&resource, namespace).await?;
    made_again_on_old_disks(trial, &resource, namespace, &first).await?;
    gone_with_its_disk(trial, &resource, namespace).await?;
    create(&resource, namespace).await?;
    namespaces::remove(&trial.kube, namespace).await?;
    say(format!("the namespace {namespace} is gone"));
    few_warnings(trial, namespace).await?;
    namespaces::make_restricted(&trial.kube, namespace).await?;
    // The rights that the chart gave in that namespace went with it.
    trial.helm().install(trial.images()?).await?;
    let third = create(&resource, namespace).await?;
    ensure!(first != third, "another cluster has the id {first} of the first one");
    namespaces::remove(&trial.kube, namespace).await?;
    namespaces::make_restricted(&trial.kube, namespace).await?;
    trial.helm().install(trial.images()?).await
}

fn manifest(namespace: &str) -> Value {
    json!({
        "apiVersion": "kotoba.dev/v1alpha1",
        "kind": "KotobaCluster",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"replicas": 1, "partitions": 4, "storage": {"size": "256Mi"}},
    })
}

/// Gives the id of the cluster that was made.
async fn create(resource: &Resource, namespace: &str) -> Result<String> {
    resource.apply(&manifest(namespace)).await?;
    let state = resource.wait_for("Ready", "True", READY_LIMIT).await?;
    state.cluster_id().context("it is Ready and has no id")
}

/// The disk outlives the cluster. Nobody takes it for an empty one, nor for this cluster's.
async fn made_again_on_old_disks(trial: &Trial, resource: &Resource, namespace: &str, first: &str) -> Result<()> {
    let pods = Pods::new(&trial.kube, namespace, &format!("{CLUSTER_LABEL}={NAME}"));
    delete(resource, &pods).await?;
    resource.apply(&manifest(namespace)).await?;
    let foreign = ("Initialized", "False", "ForeignData");
    let message = resource.wait_for_reason(foreign, READY_LIMIT).await?;
    say(&message);
    ensure!(
        message.contains(first) && message.contains("delete this cluster and its volume claims"),
        "it says neither whose data it is nor what to do: {message}"
    );
    delete(resource, &pods).await?;
    delete_volume_claim(&trial.kube, namespace, &format!("data-{NAME}-0")).await?;
    let second = create(resource, namespace).await?;
    ensure!(second != first, "another cluster has the id {first} of the first one");
    Ok(())
}

/// A cluster that says so takes its disks with it, once Kubernetes has noted whose they are: deleted before, it leaves them.
async fn gone_with_its_disk(trial: &Trial, resource: &Resource, namespace: &str) -> Result<()> {
    let reclaim = json!({"spec": {"storage": {"reclaim": {"onClusterDelete": "Delete"}}}});
    resource.edit(&reclaim).await?;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(trial.kube.clone(), namespace);
    until("owner of the disk", READY_LIMIT, || async {
        let claim = claims.get(&format!("data-{NAME}-0")).await?;
        Ok(match claim.owner_references() {
            [] => Seen::Waiting("it has none".into()),
            [..] => Seen::Done(()),
        })
    })
    .await?;
    let pods = Pods::new(&trial.kube, namespace, &format!("{CLUSTER_LABEL}={NAME}"));
    delete(resource, &pods).await?;
    until("end of the disk", GONE_LIMIT, || async {
        let left = volume_claims(&trial.kube, namespace).await?;
        Ok(match left.is_empty() {
            true => Seen::Done(()),
            false => Seen::Waiting(format!("there are {left:?}")),
        })
    })
    .await
}

async fn delete(resource: &Resource, pods: &Pods) -> Result<()> {
    resource.delete(GONE_LIMIT).await?;
    pods.wait_for_none(GONE_LIMIT).await
}

/// The operator may complain of a namespace that goes, but not for ever.
async fn few_warnings(trial: &Trial, namespace: &str) -> Result<()> {
    operator::wait_for_another_look(&trial.resource()).await?;
    let before = warnings(trial, namespace).await?;
    before.iter().for_each(say);
    ensure!(
        before.len() <= MOST_WARNINGS,
        "{} warnings of a namespace that is gone",
        before.len()
    );
    // From one to the next is half a minute.
    operator::wait_for_another_look(&trial.resource()).await?;
    let after = warnings(trial, namespace).await?;
    ensure!(
        after.len() <= before.len() + 1,
        "warnings go on though {namespace} is gone: {} came in half a minute",
        after.len() - before.len()
    );
    Ok(())
}

async fn warnings(trial: &Trial, namespace: &str) -> Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(trial.kube.clone(), trial.installation.operator_namespace);
    let mut warnings = Vec::new();
    for name in trial.operator_pods().list().await?.keys() {
        let log = pods.logs(name, &LogParams::default()).await;
        let log = log.with_context(|| format!("reading the log of {name}"))?;
        let of_it = |line: &&str| (line.contains("WARN") || line.contains("ERROR")) && line.contains(namespace);
        warnings.extend(log.lines().filter(of_it).map(str::to_owned));
    }
    Ok(warnings)
}
