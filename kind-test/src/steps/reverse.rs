//! Edits that are taken back while the operator is at work: what counts is the last one.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::create::MEMBERS;
use super::operator;
use super::scale::SCALED;
use crate::database::status::{identities, summary};
use crate::database::{Database, member::Member};
use crate::inventory;
use crate::kubernetes::pods::{delete_volume_claim, volume_claims};
use crate::kubernetes::resource::State;
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

/// Pods, disks, and the first member taken in.
const BEGIN_LIMIT: Duration = Duration::from_secs(300);
/// Moves there and back, one pod after the other made anew.
const DONE_LIMIT: Duration = Duration::from_secs(900);
const WRITES_AFTER: usize = 40;
const DRAIN_CANCELLED: &str = "DrainCancelled";

/// Five to three, and back to five while the highest member is drained.
pub async fn scale_in(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(SCALED, BEGIN_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let (resource, events) = (trial.resource(), trial.events());
    let cancelled = events.told(DRAIN_CANCELLED).await?.len();
    let writer = trial.writer().await?;
    resource.scale(MEMBERS as u32).await?;
    wait_for_a_drain(trial).await?;
    resource.scale(SCALED as u32).await?;
    let notes = events.wait_for_more(DRAIN_CANCELLED, cancelled, BEGIN_LIMIT).await?;
    say(format!("{DRAIN_CANCELLED}: {notes:?}"));
    operator::kill(trial).await?;
    trial.wait_until_whole(SCALED, DONE_LIMIT).await?;
    resource.wait_for("Balanced", "True", DONE_LIMIT).await?;
    let after = inventory::take(trial).await?;
    ensure!(
        (&before.pods, &before.members) == (&after.pods, &after.members),
        "there was {before:?} and is {after:?}"
    );
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish_unharmed(writer, "five to three, taken back").await?;
    trial.verify_writes().await
}

/// Waits till the highest member is drained.
pub(super) async fn wait_for_a_drain(trial: &Trial) -> Result<()> {
    let last = format!("{}-{}", trial.installation.cluster, SCALED - 1);
    let drained = |state: &State| not_in_state(state, &last, "Draining");
    let resource = trial.resource();
    let drain = resource.wait_until("beginning of a drain", BEGIN_LIMIT, drained);
    drain.await.map(drop)
}

fn not_in_state(state: &State, slot: &str, wanted: &str) -> Option<String> {
    match state.member(slot).map(|member| &member["state"]) {
        Some(is) if is == wanted => None,
        Some(is) => Some(format!("{slot} is {is}")),
        None => Some(format!("{slot} is not listed")),
    }
}

/// Three to five; with a fourth member in, more processor time is asked for; and back to three before the fifth is whole.
pub async fn config_in_the_middle(trial: &mut Trial) -> Result<()> {
    let before = identities(&trial.wait_until_whole(MEMBERS, BEGIN_LIMIT).await?);
    let pods = inventory::take(trial).await?.pods;
    free_higher_slots(trial).await?;
    let resource = trial.resource();
    let writer = trial.writer().await?;
    let reclaim = |policy: Option<&str>| json!({"spec": {"storage": {"reclaim": {"onScaleIn": policy}}}});
    resource.edit(&reclaim(Some("Delete"))).await?;
    resource.scale(SCALED as u32).await?;
    wait_for_a_fourth(trial).await?;
    let cpu = other_cpu(&resource.state().await?);
    let edit = json!({"spec": {"resources": {"requests": {"cpu": cpu}}}});
    resource.edit(&edit).await?;
    let taken_up = |state: &State| {
        let observed = state.status()["observedGeneration"].as_i64();
        (observed != Some(state.generation())).then(|| format!("the status is of generation {observed:?}"))
    };
    resource.wait_until("look at the edit", BEGIN_LIMIT, taken_up).await?;
    resource.scale(MEMBERS as u32).await?;
    operator::kill(trial).await?;
    wait_for_pods(trial, MEMBERS).await?;
    resource.wait_for("MembersUpToDate", "True", DONE_LIMIT).await?;
    let status = trial.wait_until_whole(MEMBERS, DONE_LIMIT).await?;
    wait_for_own_claims(trial).await?;
    resource.edit(&reclaim(None)).await?;
    say(summary(&status));
    let after = identities(&status);
    ensure!(before == after, "members were {before:?} and are {after:?}");
    for (name, pod) in trial.pods().list().await? {
        let asked = requested_cpu(&pod);
        ensure!(
            asked.as_deref() == Some(cpu),
            "{name} asks for {asked:?}, not for {cpu}"
        );
    }
    // Ours changes the processor time of pods that run; an older Kubernetes has them made anew.
    let now = inventory::take(trial).await?.pods;
    ensure!(
        !trial.platform.is_ours() || pods == now,
        "pods were {pods:?} and are {now:?}"
    );
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish_unharmed(writer, "three to five, edited, to three").await?;
    trial.verify().await
}

/// The disks of members that were removed are kept, and nothing can use them any more.
async fn free_higher_slots(trial: &Trial) -> Result<()> {
    let namespace = trial.installation.namespace;
    let claims = volume_claims(&trial.kube, namespace).await?;
    let used: Vec<String> = trial.pods().list().await?.into_keys().collect();
    let is_used = |claim: &String| used.iter().any(|pod| *claim == format!("data-{pod}"));
    for claim in claims.into_keys().filter(|claim| !is_used(claim)) {
        delete_volume_claim(&trial.kube, namespace, &claim).await?;
        say(format!("deleted {claim}, the disk of a removed member"));
    }
    Ok(())
}

/// Waits till only the members that are left have disks.
async fn wait_for_own_claims(trial: &Trial) -> Result<()> {
    let own: Vec<String> = trial
        .pods()
        .list()
        .await?
        .keys()
        .map(|pod| format!("data-{pod}"))
        .collect();
    until("end of the other disks", DONE_LIMIT, || async {
        let claims = volume_claims(&trial.kube, trial.installation.namespace).await?;
        let claims: Vec<String> = claims.into_keys().collect();
        Ok(match claims == own {
            true => Seen::Done(()),
            false => Seen::Waiting(format!("there are {claims:?}")),
        })
    })
    .await
}

async fn wait_for_a_fourth(trial: &mut Trial) -> Result<()> {
    let address = trial.address().await?;
    until("fourth member", BEGIN_LIMIT, || async {
        let status = Member::connect(&address)?.status().await?;
        Ok(match identities(&status).len() {
            count if count > MEMBERS => Seen::Done(()),
            count => Seen::Waiting(format!("{count} are active")),
        })
    })
    .await
}

/// Last of all: a pod goes when its member was removed.
async fn wait_for_pods(trial: &Trial, wanted: usize) -> Result<()> {
    let pods = trial.pods();
    until("end of the other pods", DONE_LIMIT, || async {
        let left = pods.list().await?.len();
        Ok(match left == wanted {
            true => Seen::Done(()),
            false => Seen::Waiting(format!("{left} pods are left")),
        })
    })
    .await
}

/// Neither the default nor what is asked for now, so that the step can be run again.
fn other_cpu(state: &State) -> &'static str {
    match state.spec()["resources"]["requests"]["cpu"].as_str() {
        Some("110m") => "120m",
        Some(_) | None => "110m",
    }
}

fn requested_cpu(pod: &k8s_openapi::api::core::v1::Pod) -> Option<String> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let requests = container.resources.as_ref()?.requests.as_ref()?;
    requests.get("cpu").map(|quantity| quantity.0.clone())
}
