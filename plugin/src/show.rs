//! The resource's status as records. Pure.

use kotoba_operator::crd::{ConditionType, KotobaCluster, KotobaClusterStatus, PartitionSummary};
use kotoba_proto::v1::{MemberProgress, MemberState};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::explain::Finding;
use crate::output::{Record, word};

/// How a cluster is, on a few lines.
pub fn summary(cluster: &KotobaCluster) -> Record {
    let status = cluster.status.clone().unwrap_or_default();
    let partitions = status.partitions.as_ref().map(partitions_line);
    Record::default()
        .field(
            "cluster",
            format!("{}/{}", cluster.namespace().unwrap_or_default(), cluster.name_any()),
        )
        .field("cluster_id", status.cluster_id.clone())
        .field("ready", ready(&status))
        .field(
            "members",
            format!("{} of {} serve", status.ready_replicas, cluster.spec.replicas),
        )
        .field("leader", status.leader.clone())
        .field("partitions", partitions)
        .field("operation", operation(&status))
        .field("waits_for", waits_for(&status))
        .field(
            "observed",
            status.last_observed_time.as_ref().map(|time| time.0.to_string()),
        )
}

/// The same for programs.
pub fn whole(cluster: &KotobaCluster) -> Value {
    json!({
        "namespace": cluster.namespace(),
        "name": cluster.name_any(),
        "generation": cluster.metadata.generation,
        "replicas": cluster.spec.replicas,
        "status": cluster.status,
    })
}

fn ready(status: &KotobaClusterStatus) -> Option<String> {
    let ready = status
        .conditions
        .iter()
        .find(|one| one.type_ == ConditionType::Ready.as_str())?;
    Some(format!("{} ({}): {}", ready.status, ready.reason, ready.message))
}

fn operation(status: &KotobaClusterStatus) -> Option<String> {
    let operation = status.operation.as_ref()?;
    let since = operation.started_at.0;
    let done = operation.progress.map_or(String::new(), |progress| {
        format!(", {} of {} done", progress.done, progress.total)
    });
    let moved = operation.progressed_at.as_ref();
    let moved = moved.map_or(String::new(), |time| format!(", last moved {}", time.0));
    Some(format!(
        "{}, at {}, since {since}{done}{moved}",
        word(&operation.type_),
        operation.phase
    ))
}

fn waits_for(status: &KotobaClusterStatus) -> Option<String> {
    let blocked = status.operation.as_ref()?.blocked_by.as_ref()?;
    Some(format!("{}: {}", blocked.predicate, blocked.message))
}

fn partitions_line(partitions: &PartitionSummary) -> String {
    let troubles = [
        (partitions.no_leader, "without leader"),
        (partitions.under_replicated, "under-replicated"),
        (
            i32::try_from(partitions.quorum_critical.len()).unwrap_or(i32::MAX),
            "one loss from losing their majority",
        ),
        (partitions.moving, "moves open"),
    ];
    let told = troubles.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, trouble)| format!("{count} {trouble}")).collect();
    match told.is_empty() {
        true => format!("{}, all well", partitions.total),
        false => format!("{}: {}", partitions.total, told.join(", ")),
    }
}

pub fn conditions(cluster: &KotobaCluster) -> Vec<Record> {
    let status = cluster.status.clone().unwrap_or_default();
    let record = |condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| {
        Record::default()
            .field("condition", condition.type_.as_str())
            .field("status", condition.status.as_str())
            .field("reason", condition.reason.as_str())
            .field("since", condition.last_transition_time.0.to_string())
            .field("message", condition.message.as_str())
    };
    status.conditions.iter().map(record).collect()
}

pub fn members(cluster: &KotobaCluster) -> Vec<Record> {
    let status = cluster.status.clone().unwrap_or_default();
    let leader = status.leader.as_deref();
    let members = status.members.iter().map(|member| {
        Record::default()
            .field("slot", member.slot.as_str())
            .field("id", member.member_id)
            .field("state", word(&member.state))
            .field("health", word(&member.health))
            .field("zone", member.zone.clone())
            .field("replicas", member.replicas)
            .field("leaders", member.leaders)
            .field(
                "meta_leader",
                if leader == Some(member.slot.as_str()) {
                    "yes"
                } else {
                    ""
                },
            )
    });
    members.collect()
}

pub fn partitions(cluster: &KotobaCluster) -> Record {
    let status = cluster.status.clone().unwrap_or_default();
    let partitions = status.partitions.unwrap_or_default();
    let moves = status.operation.map(|operation| operation.moves_finished);
    Record::default()
        .field("total", partitions.total)
        .field("without_leader", partitions.no_leader)
        .field("under_replicated", partitions.under_replicated)
        .field("moves_open", partitions.moving)
        .field("moves_finished", moves)
        .field("quorum_critical", partitions.quorum_critical)
}

/// How far a member is on its way out.
pub fn progress(progress: &MemberProgress) -> Record {
    let state = match progress.state() {
        MemberState::Unspecified => "unknown",
        MemberState::Joining => "joining",
        MemberState::Active => "active",
        MemberState::Draining => "draining",
        MemberState::Removed => "removed",
    };
    Record::default()
        .field("member_id", progress.member_id)
        .field("state", state)
        .field("replicas", progress.replicas)
        .field("leaders", progress.leaders)
        .field("drained", progress.drained)
        .field("waiting_for", progress.waiting_for.as_str())
}

pub fn finding(finding: &Finding) -> Record {
    Record::default()
        .field("says", finding.says.as_str())
        .field("to_do", finding.to_do.clone().map_or(Value::Null, Value::from))
}

#[cfg(test)]
mod tests;
