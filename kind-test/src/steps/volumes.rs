//! Disks: one is lost for good and another member takes the place of its member; all of them grow.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kotoba_proto::v1::{MemberState, MemberStatus};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::create::MEMBERS;
use super::operator;
use crate::database::status::identities;
use crate::inventory::{self, Inventory};
use crate::kubernetes::pods::{delete_volume_claim, volume_claims};
use crate::kubernetes::resource::State;
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

const WHOLE_LIMIT: Duration = Duration::from_secs(300);
/// A pod's end and start, and the time after which a silent member counts as failed.
const LOST_LIMIT: Duration = Duration::from_secs(300);
/// Every partition has a copy to be moved.
const REPLACED_LIMIT: Duration = Duration::from_secs(600);
const GROWTH_LIMIT: Duration = Duration::from_secs(180);
const WRITES_AFTER: usize = 40;
/// The least that the resource may say.
const AUTOMATIC_AFTER_SECONDS: u32 = 60;
const REPLACE: &str = "kotoba.dev/replace-member";

/// Nobody is sure that a lost disk does not come back, so a person says it.
pub async fn lost(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let resource = trial.resource();
    let told = trial.events().told("LostVolume").await?.len();
    let writer = trial.writer().await?;
    let (name, id) = lose_last(trial, &before).await?;
    let to_do = lost_volume_message(trial).await?;
    say(&to_do);
    let names_it = format!("{REPLACE}: \"{id}\"");
    ensure!(to_do.contains(&names_it), "it does not say what to do: {to_do}");
    trial.events().wait_for_more("LostVolume", told, LOST_LIMIT).await?;
    resource.annotate(REPLACE, Some(&id.to_string())).await?;
    operator::kill(trial).await?;
    wait_for_successor(trial, &before, &name, id).await?;
    resource.annotate(REPLACE, None).await?;
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish_unharmed(writer, "the loss of a volume").await?;
    trial.verify().await
}

/// As [`lost`], where the resource says that nobody needs to be asked; the operator has forgotten since when it waits.
pub async fn replaced(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let resource = trial.resource();
    let mode = |mode| json!({"spec": {"replacement": mode}});
    let automatic = mode(json!({"mode": "Automatic", "afterSeconds": AUTOMATIC_AFTER_SECONDS}));
    resource.edit(&automatic).await?;
    let writer = trial.writer().await?;
    let (name, id) = lose_last(trial, &before).await?;
    operator::kill(trial).await?;
    wait_for_successor(trial, &before, &name, id).await?;
    resource.edit(&mode(json!(null))).await?;
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish_unharmed(writer, "the loss of another volume").await?;
    trial.verify().await
}

/// Deletes the disk of the last pod with the pod, and waits till the conditions say so; gives its name and its member.
async fn lose_last(trial: &Trial, before: &Inventory) -> Result<(String, u64)> {
    let name = format!("{}-{}", trial.installation.cluster, MEMBERS - 1);
    let (id, disk) = before.members.get(&name).context("the last pod has no member")?.clone();
    delete_volume_claim(&trial.kube, trial.installation.namespace, &format!("data-{name}")).await?;
    trial.pods().delete(&name, None).await?;
    say(format!(
        "deleted the disk of {name}, which is member {id} on disk {disk}"
    ));
    let degraded = ("Degraded", "True", "LostVolume");
    trial.resource().wait_for_reason(degraded, LOST_LIMIT).await?;
    Ok((name, id))
}

/// Waits till another member is whole in the slot of a lost one, which is gone; the other pods go on.
async fn wait_for_successor(trial: &mut Trial, before: &Inventory, name: &str, id: u64) -> Result<()> {
    let resource = trial.resource();
    resource
        .wait_until("successor", REPLACED_LIMIT, |state| not_followed(state, name, id))
        .await?;
    trial.wait_until_whole(MEMBERS, REPLACED_LIMIT).await?;
    resource.wait_for("VolumesHealthy", "True", WHOLE_LIMIT).await?;
    let status = trial.status().await?;
    let stays = |member: &&MemberStatus| member.id == id && member.state() != MemberState::Removed;
    let old = status.members.iter().find(stays);
    ensure!(old.is_none(), "the old member was not removed: {old:?}");
    only_one_is_another(trial, before, name).await
}

async fn lost_volume_message(trial: &Trial) -> Result<String> {
    let lost = ("VolumesHealthy", "False", "LostVolume");
    let resource = trial.resource();
    resource.wait_for_reason(lost, LOST_LIMIT).await?;
    // The condition comes with the empty disk; what to do comes when nothing else is in the way.
    let missing = |state: &State| {
        let message = state.condition("VolumesHealthy")?.message;
        (!message.contains(REPLACE)).then_some(message)
    };
    let state = resource.wait_until("what to do", LOST_LIMIT, missing).await?;
    Ok(state
        .condition("VolumesHealthy")
        .map_or_else(String::new, |one| one.message))
}

fn not_followed(state: &State, slot: &str, old: u64) -> Option<String> {
    let member = state.member(slot)?;
    let (id, is) = (&member["memberId"], &member["state"]);
    (id.as_u64() == Some(old) || is != "Active").then(|| format!("{slot} is member {id}, {is}"))
}

async fn only_one_is_another(trial: &mut Trial, before: &Inventory, name: &str) -> Result<()> {
    let after = inventory::take(trial).await?;
    let changed =
        |one: &str| (before.pods.get(one), before.members.get(one)) != (after.pods.get(one), after.members.get(one));
    let changed: Vec<&String> = before.pods.keys().filter(|one| changed(one)).collect();
    ensure!(
        changed == [name],
        "changed: {changed:?}; there was {before:?} and is {after:?}"
    );
    let id = |inventory: &Inventory| inventory.members.get(name).map(|(id, _)| *id);
    ensure!(
        id(&after) > id(before),
        "member {:?} came after {:?}",
        id(&after),
        id(before)
    );
    Ok(())
}

/// The disks are asked to be larger: refused where their class cannot; then done around the pods, which go on.
pub async fn grow(trial: &mut Trial) -> Result<()> {
    let status = trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let resource = trial.resource();
    let class = StorageClasses::of(trial).await?;
    let can_grow = class.can_grow().await?;
    if !can_grow && !trial.platform.is_ours() {
        say("the storage class of this Kubernetes cannot enlarge volumes: nothing to be tested");
        return Ok(());
    }
    let writer = trial.writer().await?;
    let size = larger(&resource.state().await?)?;
    resource.edit(&json!({"spec": {"storage": {"size": size}}})).await?;
    if !can_grow {
        let refused = ("VolumesHealthy", "False", "ResizeFailed");
        let message = resource.wait_for_reason(refused, GROWTH_LIMIT).await?;
        say(&message);
        ensure!(!message.contains("Status {"), "it is not for people: {message}");
        class.let_grow(true).await?;
    }
    let enlarged = async {
        operator::kill(trial).await?;
        enlarge(trial, &size, !can_grow).await
    };
    let enlarged = enlarged.await;
    if !can_grow {
        class.let_grow(false).await?;
    }
    enlarged?;
    resource.wait_for("VolumesHealthy", "True", GROWTH_LIMIT).await?;
    let again = trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    resource.wait_for("MembersUpToDate", "True", GROWTH_LIMIT).await?;
    let after = inventory::take(trial).await?;
    ensure!(
        before.pods == after.pods,
        "pods were {:?} and are {:?}",
        before.pods,
        after.pods
    );
    ensure!(
        before.set.0 != after.set.0,
        "the StatefulSet is the old one, whose new claims would be too small"
    );
    ensure!(identities(&status) == identities(&again), "the members have changed");
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish_unharmed(writer, "the growth of the disks").await?;
    trial.verify_writes().await
}

fn larger(state: &State) -> Result<String> {
    let now = state.spec()["storage"]["size"].as_str().unwrap_or_default();
    let number = now.strip_suffix("Gi").and_then(|number| number.parse::<u32>().ok());
    let number = number.with_context(|| format!("the size {now} is not in Gi"))?;
    Ok(format!("{}Gi", number + 1))
}

/// Waits till every claim asks for the size; then does what the driver of such a class would do, where there is none.
async fn enlarge(trial: &Trial, size: &str, by_hand: bool) -> Result<()> {
    let namespace = trial.installation.namespace;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(trial.kube.clone(), namespace);
    let pods = trial.pods().list().await?;
    for claim in pods.keys().map(|pod| format!("data-{pod}")) {
        let volume = until("larger claim", GROWTH_LIMIT, || async {
            let claim = claims.get(&claim).await?;
            Ok(match asked_size(&claim) {
                Some((asked, volume)) if asked == size => Seen::Done(volume),
                other => Seen::Waiting(format!("{claim:?} asks for {other:?}", claim = claim.metadata.name)),
            })
        })
        .await?;
        if by_hand {
            resize(&trial.kube, &claims, (&claim, &volume), size).await?;
        }
    }
    Ok(())
}

fn asked_size(claim: &PersistentVolumeClaim) -> Option<(String, String)> {
    let spec = claim.spec.as_ref()?;
    let requests = spec.resources.as_ref()?.requests.as_ref()?;
    Some((requests.get("storage")?.0.clone(), spec.volume_name.clone()?))
}

/// A directory has no size, so writing it down is all that there is to be done.
async fn resize(
    client: &Client,
    claims: &Api<PersistentVolumeClaim>,
    (claim, volume): (&str, &str),
    size: &str,
) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let capacity = json!({"storage": size});
    let of_volume = Patch::Merge(json!({"spec": {"capacity": capacity}}));
    let patched = volumes.patch(volume, &PatchParams::default(), &of_volume).await;
    patched.with_context(|| format!("enlarging the volume {volume}"))?;
    let of_claim = Patch::Merge(json!({"status": {"capacity": capacity}}));
    let patched = claims.patch_status(claim, &PatchParams::default(), &of_claim).await;
    patched
        .map(drop)
        .with_context(|| format!("enlarging the claim {claim}"))
}

/// The class of the members' volumes.
struct StorageClasses {
    api: Api<StorageClass>,
    name: String,
}

impl StorageClasses {
    async fn of(trial: &Trial) -> Result<Self> {
        let namespace = trial.installation.namespace;
        let claims: BTreeMap<String, String> = volume_claims(&trial.kube, namespace).await?;
        let claim = claims.keys().next().context("there are no claims")?;
        let api: Api<PersistentVolumeClaim> = Api::namespaced(trial.kube.clone(), namespace);
        let claim = api.get(claim).await.context("reading a claim")?;
        let name = claim.spec.and_then(|spec| spec.storage_class_name);
        Ok(StorageClasses {
            api: Api::all(trial.kube.clone()),
            name: name.context("the claim has no storage class")?,
        })
    }

    async fn can_grow(&self) -> Result<bool> {
        let class = self.api.get(&self.name).await.context("reading the storage class")?;
        Ok(class.allow_volume_expansion == Some(true))
    }

    async fn let_grow(&self, allowed: bool) -> Result<()> {
        let patch = Patch::Merge(json!({"allowVolumeExpansion": allowed}));
        let patched = self.api.patch(&self.name, &PatchParams::default(), &patch).await;
        patched.map(drop).context("changing the storage class")
    }
}
