//! The status: pure, and told from what was observed and applied, never from what was planned to come true.

mod conditions;
mod hosts;
mod members;
mod notices;
mod operation;
mod progress;
mod verdict;
mod volumes;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::SignedDuration;

use crate::apply::{Applied, StepOutcome};
use crate::crd::{
    Bootstrap, BootstrapState, ConditionStatus, ConditionType, Health, KotobaClusterStatus, MemberState, MemberSummary,
    Operation, PartitionSummary, set_conditions,
};
use crate::observe::{Catalogue, Observed};
use crate::plan::{Plan, Predicate, Step};
use crate::validate::{Invalid, ValidatedCluster};
pub use notices::{Notice, Severity, notices};

/// How often a status is written in which only the time of observation is new. Every write goes to every watcher.
const REFRESH_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// All that the parts of the status are made from.
struct View<'a> {
    cluster: &'a ValidatedCluster,
    observed: &'a Observed,
    plan: &'a Plan,
    applied: &'a Applied,
    members: &'a [MemberSummary],
    cluster_id: Option<&'a str>,
    /// What is being done, once that is derived.
    operation: Option<Operation>,
}

impl<'a> View<'a> {
    /// The catalogue, when it is sure to be current.
    fn current(&self) -> Option<&'a Catalogue> {
        self.observed
            .database
            .catalogue()
            .filter(|catalogue| catalogue.linearizable)
    }

    fn waits_for(&self, predicate: Predicate) -> Option<&'a str> {
        let wait = self.plan.waits.as_ref()?;
        (wait.predicate == predicate).then_some(wait.message.as_str())
    }

    fn failure(&self) -> Option<&'a str> {
        match &self.applied.step {
            StepOutcome::Failed(message) | StepOutcome::Refused(message) => Some(message),
            StepOutcome::None | StepOutcome::Done(_) => None,
        }
    }
}

/// Derives the status after a pass.
pub fn derive(
    cluster: &ValidatedCluster,
    observed: &Observed,
    plan: &Plan,
    applied: &Applied,
    now: &Time,
) -> KotobaClusterStatus {
    let before = &observed.recorded;
    let cluster_id = before.cluster_id.clone().or_else(|| plan.latch.clone());
    let mut members = members::summaries(cluster, observed, plan.slots, cluster_id.as_deref());
    members::date(&mut members, &before.members, now);
    members::note_refusals(&mut members, &before.members, applied);
    let mut view = View {
        cluster,
        observed,
        plan,
        applied,
        members: &members,
        cluster_id: cluster_id.as_deref(),
        operation: None,
    };
    view.operation = operation::of(&view, now);
    let conditions = conditions::all(&view);
    KotobaClusterStatus {
        observed_generation: Some(cluster.generation),
        last_observed_time: view
            .current()
            .map(|_| now.clone())
            .or_else(|| before.last_observed_time.clone()),
        replicas: count(observed.slots.values().filter(|slot| slot.pod.is_some())),
        ready_replicas: count(
            observed
                .slots
                .values()
                .filter(|slot| slot.pod.as_ref().is_some_and(|pod| pod.ready)),
        ),
        selector: Some(cluster.name.selector_text()),
        leader: leader(cluster, observed),
        default_image: default_image(cluster, observed),
        partitions: view.current().map(partitions),
        leaving: leaving(&view),
        bootstrap: bootstrap(&view),
        operation: view.operation,
        conditions: set_conditions(&before.conditions, conditions, now),
        cluster_id,
        members,
    }
}

/// Once noted it stays. In a cluster that an earlier operator made, what runs is it, unless the spec names that.
fn default_image(cluster: &ValidatedCluster, observed: &Observed) -> Option<String> {
    let running = observed.stateful_set.as_ref().and_then(|set| set.image.clone());
    let noted = observed.recorded.default_image.clone();
    noted
        .or(running.filter(|_| !cluster.image_is_named))
        .or_else(|| cluster.default_image.clone())
}

/// The status of a resource that cannot be acted on: what was said before stays, with the generation it was said of.
pub fn invalid(before: &KotobaClusterStatus, generation: i64, reason: &Invalid, now: &Time) -> KotobaClusterStatus {
    let mut conditions: Vec<Condition> = before.conditions.clone();
    for type_ in [ConditionType::Ready, ConditionType::Progressing] {
        conditions.retain(|condition| condition.type_ != type_.as_str());
        let verdict = verdict::Verdict::new(ConditionStatus::False, "InvalidSpec", reason.to_string());
        conditions.push(verdict.into_condition(type_, generation));
    }
    KotobaClusterStatus {
        observed_generation: Some(generation),
        conditions: set_conditions(&before.conditions, conditions, now),
        ..before.clone()
    }
}

/// Whether the new status is worth a write.
pub fn worth_writing(before: &KotobaClusterStatus, after: &KotobaClusterStatus) -> bool {
    let same_time = KotobaClusterStatus {
        last_observed_time: before.last_observed_time.clone(),
        ..after.clone()
    };
    if same_time != *before {
        return true;
    }
    match (&before.last_observed_time, &after.last_observed_time) {
        (Some(before), Some(after)) => after.0.duration_since(before.0) >= REFRESH_INTERVAL,
        (None, after) => after.is_some(),
        (Some(_), None) => false,
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

fn leader(cluster: &ValidatedCluster, observed: &Observed) -> Option<String> {
    let catalogue = observed.database.catalogue()?;
    let member = catalogue.member(catalogue.leader_member_id?)?;
    let by_disk = observed.identities().find_map(|(slot, identity)| {
        let leads = identity.membership.as_ref()?.member_id == member.id;
        leads.then(|| cluster.name.pod(slot))
    });
    Some(by_disk.unwrap_or_else(|| member.name.clone()))
}

fn partitions(catalogue: &Catalogue) -> PartitionSummary {
    let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    PartitionSummary {
        total: number(catalogue.partitions),
        under_replicated: number(catalogue.under_replicated),
        no_leader: number(catalogue.leaderless),
        moving: number(catalogue.rebalance.moves_open),
        quorum_critical: catalogue.quorum_critical.iter().copied().map(number).collect(),
    }
}

/// Of those noted, who is still on the way out, or could not be asked for.
fn leaving(view: &View<'_>) -> Vec<i64> {
    let Some(catalogue) = view.current() else {
        return view.observed.recorded.leaving.clone();
    };
    let about = match &view.plan.step {
        Some(Step::Drain(step)) => Some(step.member_id),
        Some(Step::Join(step)) => step.replaces,
        Some(
            Step::Bootstrap(_)
            | Step::Rebalance { .. }
            | Step::CancelDrain(_)
            | Step::Remove(_)
            | Step::DeleteClaim(_)
            | Step::DeletePod(_)
            | Step::ResizePod(_)
            | Step::RecreateStatefulSet(_),
        )
        | None => None,
    };
    let noted = view
        .observed
        .recorded
        .leaving
        .iter()
        .filter_map(|id| u64::try_from(*id).ok());
    let ids: BTreeSet<u64> = noted.chain(about).collect();
    let leaves = |id: &u64| {
        let member = catalogue.member(*id);
        about == Some(*id)
            || member.is_some_and(|member| member.state == MemberState::Draining || member.health == Health::Failed)
    };
    let left = ids.into_iter().filter(leaves);
    left.filter_map(|id| i64::try_from(id).ok()).collect()
}

fn bootstrap(view: &View<'_>) -> Option<Bootstrap> {
    let record = view
        .applied
        .bootstrap
        .as_ref()
        .or(view.observed.recorded.bootstrap.as_ref())?;
    let state = if view.cluster_id.is_some() {
        BootstrapState::Done
    } else {
        record.state
    };
    Some(Bootstrap {
        state,
        ..record.clone()
    })
}
