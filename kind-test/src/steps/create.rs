//! A KotobaCluster of three members, from the manifest to Ready.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::database::status;
use crate::kubernetes::pods;
use crate::say::say;
use crate::settings::Installation;
use crate::trial::Trial;

pub const MEMBERS: usize = 3;
/// Volumes, three starts, the founding, sixteen elections.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// Small disks, and never two members of three in one zone.
fn manifest(installation: Installation) -> Value {
    json!({
        "apiVersion": "kotoba.dev/v1alpha1",
        "kind": "KotobaCluster",
        "metadata": {"name": installation.cluster, "namespace": installation.namespace},
        "spec": {
            "replicas": MEMBERS,
            "storage": {"size": "1Gi"},
            "topology": {"whenUnsatisfiable": "DoNotSchedule"},
        },
    })
}

pub async fn create(trial: &mut Trial) -> Result<()> {
    let resource = trial.resource();
    resource.apply(&manifest(trial.installation)).await?;
    let state = resource.wait_for("Ready", "True", READY_LIMIT).await?;
    for condition in state.conditions() {
        say(condition.to_string());
    }
    let id = state
        .cluster_id()
        .context("status.clusterId is empty though the cluster is Ready")?;
    pods::all_ready(&trial.pods(), MEMBERS, READY_LIMIT).await?;
    let answered = trial.wait_until_whole(MEMBERS, READY_LIMIT).await?;
    say(status::summary(&answered));
    ensure!(
        answered.cluster_id == id,
        "the database calls itself {}, its resource {id}",
        answered.cluster_id
    );
    let zones: BTreeSet<&String> = status::active(&answered).map(|member| &member.zone).collect();
    ensure!(zones.len() == MEMBERS, "the members are in the zones {zones:?}");
    let again = resource.state().await?;
    ensure!(
        again.cluster_id() == Some(id),
        "status.clusterId changed to {:?}",
        again.cluster_id()
    );
    Ok(())
}
