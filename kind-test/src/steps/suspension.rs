//! Suspended: the pods go, the disks stay, and it is said so; resumed, the members are who they were. While the operator
//! is paused it does nothing about it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::create::MEMBERS;
use super::operator;
use crate::inventory;
use crate::kubernetes::pods::volume_claims;
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

/// A pod's grace period, and some.
const STOP_LIMIT: Duration = Duration::from_secs(180);
const WHOLE_LIMIT: Duration = Duration::from_secs(300);
const PAUSED: &str = "kotoba.dev/paused";

pub async fn suspend(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let claims = volume_claims(&trial.kube, trial.installation.namespace).await?;
    let resource = trial.resource();
    resource.edit(&json!({"spec": {"suspend": true}})).await?;
    operator::kill(trial).await?;
    trial.pods().wait_for_none(STOP_LIMIT).await?;
    for condition in ["Ready", "Available"] {
        let suspended = (condition, "False", "Suspended");
        say(resource.wait_for_reason(suspended, STOP_LIMIT).await?);
    }
    let left = volume_claims(&trial.kube, trial.installation.namespace).await?;
    ensure!(claims == left, "the volume claims were {claims:?} and are {left:?}");
    resume_when_not_paused(trial).await?;
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let after = inventory::take(trial).await?;
    after.has_members_of(&before)?;
    trial.verify().await
}

async fn resume_when_not_paused(trial: &Trial) -> Result<()> {
    let resource = trial.resource();
    resource.annotate(PAUSED, Some("true")).await?;
    resource
        .wait_for_reason(("Ready", "False", "Paused"), STOP_LIMIT)
        .await?;
    resource.edit(&json!({"spec": {"suspend": false}})).await?;
    // The condition of the new generation: the edit was looked at, and nothing was done about it.
    say(resource
        .wait_for_reason(("Ready", "False", "Paused"), STOP_LIMIT)
        .await?);
    let pods = trial.pods().list().await?;
    ensure!(pods.is_empty(), "pods were made while paused: {:?}", pods.keys());
    resource.annotate(PAUSED, None).await?;
    until("pods", WHOLE_LIMIT, || async {
        Ok(match trial.pods().list().await?.len() {
            MEMBERS => Seen::Done(()),
            count => Seen::Waiting(format!("{count} of {MEMBERS}")),
        })
    })
    .await
}
