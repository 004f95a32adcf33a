//! Pods are deleted under a writer: the members come back as who they were, with everything that was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::create::MEMBERS;
use crate::database::status::identities;
use crate::kubernetes::pods::{ABRUPT_SECONDS, uid};
use crate::say::say;
use crate::trial::Trial;

/// A pod's grace period, its start, and catching up.
const BACK_LIMIT: Duration = Duration::from_secs(240);
/// Writes after a fault, before it counts as over.
const WRITES_AFTER: usize = 40;
/// With a majority in place nobody should wait longer than for elections and one client's deadline.
const GAP_LIMIT: Duration = Duration::from_secs(20);

pub async fn delete_first(trial: &mut Trial) -> Result<()> {
    delete_one(trial, 0).await
}

pub async fn delete_second(trial: &mut Trial) -> Result<()> {
    delete_one(trial, 1).await
}

pub async fn delete_third(trial: &mut Trial) -> Result<()> {
    delete_one(trial, 2).await
}

async fn delete_one(trial: &mut Trial, slot: usize) -> Result<()> {
    let name = format!("{}-{slot}", trial.installation.cluster);
    let report = delete_under_writer(trial, &[name], None).await?;
    ensure!(
        report.longest_gap <= GAP_LIMIT,
        "no write was acknowledged for {:.1} s though a majority was there",
        report.longest_gap.as_secs_f64()
    );
    Ok(())
}

pub async fn delete_all(trial: &mut Trial) -> Result<()> {
    let names: Vec<String> = trial.pods().list().await?.into_keys().collect();
    ensure!(names.len() == MEMBERS, "there are the pods {names:?}");
    delete_under_writer(trial, &names, Some(ABRUPT_SECONDS)).await.map(drop)
}

async fn delete_under_writer(
    trial: &mut Trial,
    names: &[String],
    grace_seconds: Option<u32>,
) -> Result<crate::writer::Report> {
    let before = identities(&trial.wait_until_whole(MEMBERS, BACK_LIMIT).await?);
    let writer = trial.writer().await?;
    let pods = trial.pods();
    let mut old = BTreeMap::new();
    for name in names {
        old.insert(name.clone(), pods.delete(name, grace_seconds).await?);
    }
    say(format!("deleted {names:?}"));
    pods.wait_for_successors(&old, BACK_LIMIT).await?;
    let after = identities(&trial.wait_until_whole(MEMBERS, BACK_LIMIT).await?);
    ensure!(before == after, "members were {before:?} and are {after:?}");
    say("all members are back as who they were");
    writer.wait_for_more(WRITES_AFTER).await?;
    let report = trial
        .finish(writer, &format!("deletion of {}", names.join(", ")))
        .await?;
    trial.verify().await?;
    let now = pods.list().await?;
    let moved = old
        .iter()
        .find(|(name, old)| now.get(*name).is_none_or(|pod| uid(pod) == **old));
    ensure!(moved.is_none(), "{moved:?} is not a new pod");
    Ok(report)
}
