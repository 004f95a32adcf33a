//! Three members become five under a writer, five do not become fewer than there are copies, and become three again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use kotoba_proto::v1::GetStatusResponse;

use super::create::MEMBERS;
use super::operator;
use super::reverse::wait_for_a_drain;
use crate::database::status::{active, identities, summary};
use crate::database::{Database, member::Member};
use crate::kubernetes::pods::{uid, volume_claims};
use crate::say::say;
use crate::spread::{self, load};
use crate::trial::Trial;
use crate::wait::{Seen, until};
use crate::writer::lines;

pub const SCALED: usize = 5;
/// Fewer members than copies of each partition.
const TOO_FEW: usize = 2;
/// Pods, disks, and the first member taken in.
const BEGIN_LIMIT: Duration = Duration::from_secs(300);
/// Sixteen moves of a part of a hundred thousand records each, two at a time, on a small machine under load.
const BALANCED_LIMIT: Duration = Duration::from_secs(900);
const REFUSED_LIMIT: Duration = Duration::from_secs(120);
const WRITES_AFTER: usize = 40;
/// What the reason of the condition begins with.
const REFUSAL: &str = "ScaleIn";

pub async fn out(trial: &mut Trial) -> Result<()> {
    let before = identities(&trial.wait_until_whole(MEMBERS, BEGIN_LIMIT).await?);
    let writer = trial.writer().await?;
    trial.resource().scale(SCALED as u32).await?;
    kill_operator_midway(trial).await?;
    wait_until_done(trial).await?;
    let status = trial.wait_until_whole(SCALED, BALANCED_LIMIT).await?;
    let resource = trial.resource();
    resource.wait_for("Balanced", "True", BALANCED_LIMIT).await?;
    say(summary(&status));
    let after = identities(&status);
    let kept = before.iter().all(|(pod, identity)| after.get(pod) == Some(identity));
    ensure!(
        kept && after.len() == SCALED,
        "members were {before:?} and are {after:?}"
    );
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish(writer, "three to five").await?;
    trial.verify().await
}

/// Deletes the operator's pods once the database knows a fourth member and is not yet done.
async fn kill_operator_midway(trial: &mut Trial) -> Result<()> {
    let address = trial.address().await?;
    let status = until("beginning of the scale-out", BEGIN_LIMIT, || async {
        let status = Member::connect(&address)?.status().await?;
        Ok(if status.members.len() > MEMBERS {
            Seen::Done(status)
        } else {
            Seen::Waiting(format!("{} members are known", status.members.len()))
        })
    })
    .await?;
    ensure!(
        !is_done(&status),
        "the scale-out was over before the operator could be killed"
    );
    say(format!("in the middle: {}", summary(&status)));
    operator::kill(trial).await
}

/// The database says so itself: the conditions may be those of a moment before the last member joined.
async fn wait_until_done(trial: &mut Trial) -> Result<()> {
    let address = trial.address().await?;
    until("end of the rebalance", BALANCED_LIMIT, || async {
        let status = Member::connect(&address)?.status().await?;
        Ok(if is_done(&status) {
            Seen::Done(())
        } else {
            Seen::Waiting(summary(&status))
        })
    })
    .await
}

fn is_done(status: &GetStatusResponse) -> bool {
    let balanced = status.rebalance.as_ref().is_some_and(|rebalance| rebalance.balanced);
    active(status).count() == SCALED && balanced
}

pub async fn spread(trial: &mut Trial) -> Result<()> {
    let status = trial.status().await?;
    for (member, replicas) in load(&status) {
        let zone = active(&status).find(|one| one.id == member).map(|one| &one.zone);
        say(format!(
            "member {member} in {} has {replicas} replicas",
            zone.map_or("?", |zone| zone)
        ));
    }
    let faults = spread::faults(&status);
    ensure!(
        faults.is_empty(),
        "{} faults in the placement:{}",
        faults.len(),
        lines(&faults)
    );
    Ok(())
}

pub async fn in_refused(trial: &mut Trial) -> Result<()> {
    let resource = trial.resource();
    let before = everything(trial).await?;
    resource.scale(TOO_FEW as u32).await?;
    until("refusal of the scale-in", REFUSED_LIMIT, || async {
        let state = resource.state().await?;
        let current = |one: &crate::kubernetes::resource::Condition| {
            one.observed_generation == state.generation() && one.reason.starts_with(REFUSAL)
        };
        let said = state.conditions().into_iter().find(current);
        Ok(match said {
            Some(condition) => {
                say(condition.to_string());
                Seen::Done(())
            }
            None => Seen::Waiting(format!("no condition with a reason {REFUSAL}...")),
        })
    })
    .await?;
    ensure!(
        before == everything(trial).await?,
        "the refused scale-in changed pods or members"
    );
    resource.scale(SCALED as u32).await?;
    trial.wait_until_whole(SCALED, REFUSED_LIMIT).await?;
    ensure!(
        before == everything(trial).await?,
        "taking the scale-in back changed pods or members"
    );
    trial.verify().await
}

/// Five to three: the two highest members are drained, one after the other, and the disks stay.
pub async fn scale_in(trial: &mut Trial) -> Result<()> {
    let before = identities(&trial.wait_until_whole(SCALED, BEGIN_LIMIT).await?);
    let claims = volume_claims(&trial.kube, trial.installation.namespace).await?;
    let writer = trial.writer().await?;
    trial.resource().scale(MEMBERS as u32).await?;
    wait_for_a_drain(trial).await?;
    operator::kill(trial).await?;
    // Last of all: a pod goes when its member was removed.
    let pods = trial.pods();
    until("end of two pods", BALANCED_LIMIT, || async {
        let left = pods.list().await?.len();
        Ok(if left == MEMBERS {
            Seen::Done(())
        } else {
            Seen::Waiting(format!("{left} pods are left"))
        })
    })
    .await?;
    let status = trial.wait_until_whole(MEMBERS, BEGIN_LIMIT).await?;
    say(summary(&status));
    let after = identities(&status);
    let kept = after.iter().all(|(pod, identity)| before.get(pod) == Some(identity));
    ensure!(
        kept && after.len() == MEMBERS,
        "members were {before:?} and are {after:?}"
    );
    let left = volume_claims(&trial.kube, trial.installation.namespace).await?;
    ensure!(claims == left, "the volume claims were {claims:?} and are {left:?}");
    writer.wait_for_more(WRITES_AFTER).await?;
    trial.finish(writer, "five to three").await?;
    trial.verify().await
}

/// Pods by uid, and members by disk: what a refused step may not change.
async fn everything(trial: &mut Trial) -> Result<(BTreeMap<String, String>, BTreeMap<String, (u64, String)>)> {
    let pods = trial.pods().list().await?;
    let pods = pods.iter().map(|(name, pod)| (name.clone(), uid(pod))).collect();
    let status = trial.database().await?.status().await?;
    Ok((pods, identities(&status)))
}
