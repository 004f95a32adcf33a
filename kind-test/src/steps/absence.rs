//! The operator is gone while a member fails, and comes back; it comes back with other settings. The database needs it
//! for neither, and no pod is touched.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::create::MEMBERS;
use super::operator;
use crate::database::status::{identities, pod_of};
use crate::database::{Database, member::Member};
use crate::images::{Image, Images};
use crate::inventory;
use crate::kubernetes::pods::{ABRUPT_SECONDS, uid};
use crate::say::say;
use crate::trial::Trial;
use crate::wait::{Seen, until};

const WHOLE_LIMIT: Duration = Duration::from_secs(240);
/// Silence counts as a failure after seconds; then there are elections.
const FAIL_OVER_LIMIT: Duration = Duration::from_secs(60);
/// With a majority in place nobody should wait longer than for elections and one client's deadline.
const GAP_LIMIT: Duration = Duration::from_secs(20);
const WRITES_AFTER: usize = 40;

pub async fn gone(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let replicas = operator::stop(trial).await?;
    let outcome = fail_over(trial).await;
    let before = inventory::take(trial).await;
    operator::start(trial, replicas).await?;
    outcome?;
    operator::wait_for_another_look(&trial.resource()).await?;
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let (before, after) = (before?, inventory::take(trial).await?);
    ensure!(before == after, "there was {before:?} and is {after:?}");
    trial.verify_writes().await
}

/// A member that leads partitions dies, others lead them, it comes back: all without an operator.
async fn fail_over(trial: &mut Trial) -> Result<()> {
    let status = trial.status().await?;
    let before = identities(&status);
    let victim = status.members.iter().max_by_key(|member| member.leaders);
    let victim = victim.context("there are no members")?;
    let (id, name) = (victim.id, pod_of(victim));
    let led: Vec<u32> = led_by(&status, id);
    ensure!(!led.is_empty(), "{name} leads no partition");
    let writer = trial.writer().await?;
    let old = trial.pods().delete(&name, Some(ABRUPT_SECONDS)).await?;
    say(format!("killed {name}, which led {} partitions", led.len()));
    let address = trial.address().await?;
    until("other leaders", FAIL_OVER_LIMIT, || async {
        let status = Member::connect(&address)?.status().await?;
        let waiting = |partition: &&kotoba_proto::v1::PartitionStatus| {
            led.contains(&partition.id) && [0, id].contains(&partition.leader_member_id)
        };
        Ok(match status.partitions.iter().filter(waiting).count() {
            0 => Seen::Done(()),
            left => Seen::Waiting(format!("{left} partitions have none")),
        })
    })
    .await?;
    let old = BTreeMap::from([(name, old)]);
    trial.pods().wait_for_successors(&old, WHOLE_LIMIT).await?;
    let after = identities(&trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?);
    ensure!(before == after, "members were {before:?} and are {after:?}");
    writer.wait_for_more(WRITES_AFTER).await?;
    let report = trial.finish_unharmed(writer, "a failover without an operator").await?;
    ensure!(
        report.longest_gap <= GAP_LIMIT,
        "no write was acknowledged for {:.1} s though a majority was there",
        report.longest_gap.as_secs_f64()
    );
    Ok(())
}

fn led_by(status: &kotoba_proto::v1::GetStatusResponse, id: u64) -> Vec<u32> {
    let led = status.partitions.iter().filter(|one| one.leader_member_id == id);
    led.map(|partition| partition.id).collect()
}

/// Another default image is what a new release of the chart brings.
pub async fn upgraded(trial: &mut Trial) -> Result<()> {
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let before = inventory::take(trial).await?;
    let images = trial.images()?.clone();
    let newer = Images {
        node: Image {
            tag: "another".to_owned(),
            ..images.node.clone()
        },
        ..images.clone()
    };
    let changed = with_operator_of(trial, &newer).await;
    let during = inventory::take(trial).await;
    with_operator_of(trial, &images).await?;
    changed?;
    trial.wait_until_whole(MEMBERS, WHOLE_LIMIT).await?;
    let after = inventory::take(trial).await?;
    let during = during?;
    ensure!(
        before == during && during == after,
        "there was {before:?}, then {during:?}, and is {after:?}"
    );
    Ok(())
}

/// Installs the chart with these images, and waits till an operator of it has looked at the cluster.
async fn with_operator_of(trial: &Trial, images: &Images) -> Result<()> {
    let old = trial.operator_pods().list().await?;
    let old: Vec<String> = old.values().map(uid).collect();
    trial.helm().install(images).await.context("upgrading the chart")?;
    operator::wait_till_gone(trial, &old).await?;
    super::install::wait_for_operator(trial).await?;
    say(format!("the operator's default image is {}", images.node.name()));
    operator::wait_for_another_look(&trial.resource()).await
}
