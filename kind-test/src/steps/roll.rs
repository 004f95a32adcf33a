//! Pods are made anew from another template under a writer: one at a time, the leader of the meta group last, and without
//! one failed request; an image that does not exist stops that at one pod, which editing back cures.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kotoba_proto::v1::GetStatusResponse;
use serde_json::json;

use super::create::MEMBERS;
use super::operator;
use crate::database::status::{active, pod_of};
use crate::database::{Database, member::Member};
use crate::inventory;
use crate::kubernetes::resource::State;
use crate::kubernetes::witness::{Testimony, Witness};
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

/// Three times a pod's end, its start, catching up, and the seconds it has to be ready for; with a killed operator's lease.
const ROLL_LIMIT: Duration = Duration::from_secs(420);
const WHOLE_LIMIT: Duration = Duration::from_secs(240);
const WRITES_AFTER: usize = 40;
/// No registry is asked for it: nothing listens on a node's own port.
const NO_IMAGE: &str = "localhost/nowhere:1";

pub async fn roll(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let address = trial.address().await?;
    let writer = trial.writer().await?;
    let witness = Witness::start(&trial.pods(), MEMBERS).await?;
    let policy = other_pull_policy(&trial.resource().state().await?);
    let edit = json!({"spec": {"imagePullPolicy": policy}});
    trial.resource().edit(&edit).await?;
    let (leaders, ()) = tokio::try_join!(leaders(&address, &witness), kill_midway(trial, &witness))?;
    let resource = trial.resource();
    resource.wait_for("MembersUpToDate", "True", ROLL_LIMIT).await?;
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let after = inventory::take(trial).await?;
    after.has_members_of(&before)?;
    let kept = before
        .pods
        .iter()
        .find(|(name, uid)| after.pods.get(*name) == Some(uid));
    ensure!(kept.is_none(), "the pod {kept:?} was not made anew");
    in_the_right_order(&witness.testimony(), &leaders)?;
    for (name, pod) in trial.pods().list().await? {
        let has = pull_policy(&pod);
        ensure!(has.as_deref() == Some(policy), "{name} has the pull policy {has:?}");
    }
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish_unharmed(writer, "the roll").await?;
    trial.verify_writes().await
}

/// A field of the pod template that changes nothing else, so that the step can be run again.
fn other_pull_policy(state: &State) -> &'static str {
    match state.spec()["imagePullPolicy"].as_str() {
        Some("Never") => "IfNotPresent",
        Some(_) | None => "Never",
    }
}

fn pull_policy(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.containers.first()?.image_pull_policy.clone()
}

/// Kills the operator when the first pod was stopped.
async fn kill_midway(trial: &Trial, witness: &Witness) -> Result<()> {
    until("first pod to be stopped", ROLL_LIMIT, || async {
        Ok(match witness.testimony().stopped.as_slice() {
            [] => Seen::Waiting("none yet".into()),
            [..] => Seen::Done(()),
        })
    })
    .await?;
    let stopped = witness.testimony().stopped;
    ensure!(stopped.len() < MEMBERS, "all pods were stopped at once: {stopped:?}");
    operator::kill(trial).await
}

/// The pod that led the meta group before each of the pods was stopped, in that order.
async fn leaders(address: &str, witness: &Witness) -> Result<Vec<String>> {
    let seen = Mutex::new(BTreeMap::new());
    until("stop of the last pod", ROLL_LIMIT, || async {
        let status = Member::connect(address)?.status().await?;
        // Asked before it was counted: so whoever led did so before the next pod was stopped.
        let stopped = witness.testimony().stopped.len();
        if stopped >= MEMBERS {
            return Ok(Seen::Done(()));
        }
        let leader = leader(&status).context("the meta group has no leader")?;
        seen.lock().expect("no holder panics").insert(stopped, leader);
        Ok(Seen::Waiting(format!("{stopped} pods were stopped")))
    })
    .await?;
    let seen = seen.into_inner().expect("no holder panics");
    ensure!(seen.len() == MEMBERS, "leaders were only seen at {seen:?}");
    Ok(seen.into_values().collect())
}

fn leader(status: &GetStatusResponse) -> Option<String> {
    let mut members = active(status).filter(|_| status.linearizable);
    members.find(|member| member.id == status.leader_member_id).map(pod_of)
}

fn in_the_right_order(seen: &Testimony, leaders: &[String]) -> Result<()> {
    say(format!("stopped {:?}, while the leader was {leaders:?}", seen.stopped));
    ensure!(seen.most_down <= 1, "{} pods did not serve at one time", seen.most_down);
    ensure!(
        seen.stopped.len() == MEMBERS,
        "pods were stopped {} times: {:?}",
        seen.stopped.len(),
        seen.stopped
    );
    for (number, (stopped, leader)) in (1..).zip(seen.stopped.iter().zip(leaders)) {
        ensure!(
            (stopped == leader) == (number == MEMBERS),
            "pod number {number} was {stopped}, while {leader} led the meta group"
        );
    }
    Ok(())
}

pub async fn bad_image(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let resource = trial.resource();
    let writer = trial.writer().await?;
    let witness = Witness::start(&trial.pods(), MEMBERS).await?;
    resource.edit(&json!({"spec": {"image": NO_IMAGE}})).await?;
    let blocked = resource.wait_until("halt of the roll", ROLL_LIMIT, not_halted).await?;
    let (rule, message) = blocked.blocked_by().context("it was blocked")?;
    say(format!("{rule}: {message}"));
    resource.wait_for("Ready", "False", WHOLE_LIMIT).await?;
    resource.wait_for("Degraded", "True", WHOLE_LIMIT).await?;
    operator::wait_for_another_look(&resource).await?;
    let halted = witness.testimony().stopped;
    ensure!(halted.len() == 1, "the roll went on to {halted:?}");
    ensure!(
        message.contains(&halted[0]) && message.contains("Image"),
        "the message names neither {} nor its image: {message}",
        halted[0]
    );
    operator::kill(trial).await?;
    resource.edit(&json!({"spec": {"image": null}})).await?;
    resource.wait_for("MembersUpToDate", "True", ROLL_LIMIT).await?;
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    only_one_was_touched(trial, &before, &halted[0]).await?;
    ensure!(
        witness.testimony().most_down == 1,
        "{} pods did not serve at one time",
        witness.testimony().most_down
    );
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish_unharmed(writer, "the bad image").await?;
    trial.verify_writes().await
}

fn not_halted(state: &State) -> Option<String> {
    match state.blocked_by() {
        Some((rule, message)) if rule == "PodNotReady" && message.contains("Image") => None,
        Some((rule, message)) => Some(format!("blocked by {rule}: {message}")),
        None => Some("nothing blocks".into()),
    }
}

async fn only_one_was_touched(trial: &mut Trial, before: &inventory::Inventory, name: &str) -> Result<()> {
    let after = inventory::take(trial).await?;
    let touched = after
        .pods
        .iter()
        .filter(|(name, uid)| before.pods.get(*name) != Some(uid));
    let touched: Vec<&String> = touched.map(|(name, _)| name).collect();
    ensure!(touched == [name], "pods that were made anew: {touched:?}");
    after.has_members_of(before)
}
