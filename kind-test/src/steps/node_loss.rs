//! A Kubernetes node is lost under a writer: the database goes on, the conditions say which node it is and what a person
//! can do; it comes back, and with it its member.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;

use super::create::MEMBERS;
use super::operator;
use crate::inventory;
use crate::say::say;
use crate::trial::Trial;

/// The grace period of a node, and a pass of the operator, which may have lost its own node.
const TOLD_LIMIT: Duration = Duration::from_secs(240);
const BACK_LIMIT: Duration = Duration::from_secs(300);
/// Members that cannot be reached are given up only after this; their partitions' leaders are elsewhere sooner.
const GAP_LIMIT: Duration = Duration::from_secs(60);
const WRITES_AFTER: usize = 40;

pub async fn node_lost(trial: &mut Trial) -> Result<()> {
    if !trial.platform.is_ours() {
        say("the nodes of this Kubernetes are not ours to stop: nothing to be tested");
        return Ok(());
    }
    trial.wait_until_whole(MEMBERS, BACK_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let (name, node) = choose(trial).await?;
    let told = trial.events().told("NodeLost").await?.len();
    let writer = trial.writer().await?;
    trial.platform.stop_node(&trial.settings, &node).await?;
    say(format!("the node {node} of {name} is lost"));
    let seen = see_also_after_a_kill(trial, &node, told).await;
    let went_on = writer.wait_for_more(WRITES_AFTER).await;
    trial.platform.start_node(&trial.settings, &node).await?;
    say(format!("the node {node} is back"));
    seen?;
    went_on?;
    trial.wait_until_whole(MEMBERS, BACK_LIMIT).await?;
    trial.resource().wait_for("Degraded", "False", BACK_LIMIT).await?;
    let after = inventory::take(trial).await?;
    ensure!(before == after, "there was {before:?} and is {after:?}");
    writer.wait_for_more(WRITES_AFTER).await?;
    let report = trial.finish(writer, "the loss of a node").await?;
    ensure!(
        report.longest_gap <= GAP_LIMIT,
        "no write was acknowledged for {:.1} s though a majority was there",
        report.longest_gap.as_secs_f64()
    );
    trial.verify_writes().await
}

/// A member's pod and its node, on which no operator runs: that one's end would be another test.
async fn choose(trial: &Trial) -> Result<(String, String)> {
    let node = |pod: &Pod| pod.spec.as_ref()?.node_name.clone();
    let operators = trial.operator_pods().list().await?;
    let taken: BTreeSet<String> = operators.values().filter_map(node).collect();
    let members = trial.pods().list().await?;
    let mut members = members
        .iter()
        .filter_map(|(name, pod)| Some((name.clone(), node(pod)?)));
    let chosen = members.find(|(_, node)| !taken.contains(node));
    chosen.context("an operator runs on every node")
}

/// Once the node takes no pods any more, the operator is killed; the next one comes to the same view.
async fn see_also_after_a_kill(trial: &Trial, node: &str, told: usize) -> Result<()> {
    see(trial, node, told).await?;
    operator::kill(trial).await?;
    operator::wait_for_another_look(&trial.resource()).await?;
    let lost = ("Degraded", "True", "NodeLost");
    trial.resource().wait_for_reason(lost, TOLD_LIMIT).await.map(drop)
}

async fn see(trial: &Trial, node: &str, told: usize) -> Result<()> {
    let lost = ("Degraded", "True", "NodeLost");
    let message = trial.resource().wait_for_reason(lost, TOLD_LIMIT).await?;
    say(&message);
    let to_do = format!("delete the Node {node}, or taint it node.kubernetes.io/out-of-service");
    ensure!(message.contains(&to_do), "it does not say what to do: {message}");
    trial
        .events()
        .wait_for_more("NodeLost", told, TOLD_LIMIT)
        .await
        .map(drop)
}
