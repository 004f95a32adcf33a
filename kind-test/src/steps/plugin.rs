//! The kubectl plugin over a real API server: what it shows, and a drain by hand that is taken back, through its own
//! port-forward. The operator leaves such a drain alone.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::operator;
use super::scale::SCALED;
use crate::inventory;
use crate::kubectl::Kubectl;
use crate::kubernetes::resource::State;
use crate::say::say;
use crate::trial::Trial;

const WHOLE_LIMIT: Duration = Duration::from_secs(300);
const DRAIN_LIMIT: Duration = Duration::from_secs(300);
/// Moves there and back.
const BALANCED_LIMIT: Duration = Duration::from_secs(600);

pub async fn plugin(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(SCALED, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let plugin = Kubectl::plugin(trial)?;
    let cluster = trial.installation.cluster;
    shows(&plugin, &format!("status {cluster}"), &["AllGood", "5 of 5 serve"]).await?;
    shows(&plugin, &format!("members {cluster}"), &["Active", "zone-a"]).await?;
    shows(&plugin, &format!("partitions {cluster}"), &["Total"]).await?;
    plugin.is_refused(&format!("drain {cluster} nobody"), "nobody").await?;
    let slot = format!("{cluster}-{}", SCALED - 1);
    let resource = trial.resource();
    plugin.run(&format!("drain {cluster} {slot}")).await?;
    let drained = resource
        .wait_until("drain by hand", DRAIN_LIMIT, |state| not_drained(state, &slot))
        .await;
    let told = shows(
        &plugin,
        &format!("explain {cluster}"),
        &["is drained, and not by the operator"],
    )
    .await;
    // Whatever was seen: the next step needs five members.
    plugin.run(&format!("cancel {cluster} {slot}")).await?;
    drained?;
    told?;
    resource
        .wait_until("end of the drain", DRAIN_LIMIT, |state| {
            let is = state.member(&slot).map(|member| member["state"].clone());
            (is != Some("Active".into())).then(|| format!("{slot} is {is:?}"))
        })
        .await?;
    trial.wait_until_whole(SCALED, BALANCED_LIMIT).await?;
    operator::wait_for_another_look(&resource).await?;
    resource.wait_for("Balanced", "True", BALANCED_LIMIT).await?;
    let after = inventory::take(trial).await?;
    ensure!(before == after, "there was {before:?} and is {after:?}");
    trial.verify_writes().await
}

/// The operator tells of the drain when nothing moves any more; it neither cancels nor ends it.
fn not_drained(state: &State, slot: &str) -> Option<String> {
    let is = state.member(slot).map(|member| member["state"].clone());
    let (rule, message) = state.blocked_by().unwrap_or_default();
    let progressing = state
        .condition("Progressing")
        .map_or_else(String::new, |one| one.message);
    let is_told = rule == "DrainedByHand" || progressing.contains("is drained, and not by the operator");
    (is != Some("Draining".into()) || !is_told).then(|| format!("{slot} is {is:?}; {rule}: {message}; {progressing}"))
}

async fn shows(plugin: &Kubectl, typed: &str, parts: &[&str]) -> Result<()> {
    let shown = plugin.run(typed).await?;
    say(format!("kubectl kotoba {typed}:\n{shown}"));
    for part in parts {
        ensure!(shown.contains(part), "`{typed}` does not show {part:?}: {shown}");
    }
    Ok(())
}
