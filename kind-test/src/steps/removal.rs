//! Taking it all away again: the resource with its pods, then the operator; the disks and the CRD stay.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};

use crate::kubernetes::pods::volume_claims;
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

/// The longest grace period of a pod, and some.
const GONE_LIMIT: Duration = Duration::from_secs(180);
const CRD: &str = "kotobaclusters.kotoba.dev";

pub async fn cluster(trial: &mut Trial) -> Result<()> {
    let namespace = trial.installation.namespace;
    let before = volume_claims(&trial.kube, namespace).await?;
    ensure!(!before.is_empty(), "there are no volume claims to keep");
    trial.close_reach();
    trial.resource().delete(GONE_LIMIT).await?;
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
