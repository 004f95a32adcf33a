//! The conditions, each derived by one function. `Unknown` is said of what was not observed; nothing is assumed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::View;
use super::verdict::Verdict;
use super::volumes;
use super::{hosts, operation, progress};
use crate::apply::{Done, StepOutcome};
use crate::crd::{ConditionStatus, ConditionType, Health, MemberState, MemberSummary};
use crate::observe::Catalogue;
use crate::plan::{Activity, Predicate};

const UNSEEN: &str = "Kubernetes has not seen the last change of the pod template yet";
/// How many names a message lists before it only counts them; a message is read on one line of `kubectl get`.
const MAX_NAMED: usize = 5;

/// All conditions, in their order.
pub(super) fn all(view: &View<'_>) -> Vec<Condition> {
    let verdict = |type_| match type_ {
        ConditionType::Ready => ready(view),
        ConditionType::Available => available(view),
        ConditionType::Progressing => progressing(view),
        ConditionType::Degraded => degraded(view),
        ConditionType::Initialized => initialized(view),
        ConditionType::Balanced => balanced(view),
        ConditionType::QuorumAtRisk => quorum_at_risk(view),
        ConditionType::MembersUpToDate => members_up_to_date(view),
        ConditionType::VolumesHealthy => volumes::healthy(view),
        ConditionType::ClusterIdConsistent => cluster_id_consistent(view),
    };
    ConditionType::ALL
        .into_iter()
        .map(|type_| verdict(type_).into_condition(type_, view.cluster.generation))
        .collect()
}

/// The summary: what is asked for is there, serves, and nothing is left to do.
fn ready(view: &View<'_>) -> Verdict {
    let (available, progressing, degraded) = (available(view), progressing(view), degraded(view));
    for still in [Predicate::Paused, Predicate::Suspended] {
        if let Some(message) = view.waits_for(still) {
            return Verdict::no(still.as_str(), message);
        }
    }
    let refused = view.plan.waits.as_ref().filter(|wait| wait.predicate.needs_person());
    if available.status == ConditionStatus::False {
        return Verdict::no("NotAvailable", available.message);
    }
    if let StepOutcome::Refused(_) = &view.applied.step {
        return Verdict::no("StepRefused", progressing.message);
    }
    if let Some(wait) = refused {
        return Verdict::no(wait.predicate.as_str(), wait.message.clone());
    }
    if degraded.status == ConditionStatus::True {
        return Verdict::no("Degraded", degraded.message);
    }
    if progressing.status == ConditionStatus::True {
        return Verdict::no("Progressing", progressing.message);
    }
    for part in [available, degraded, progressing] {
        if part.status == ConditionStatus::Unknown {
            return Verdict::unknown(part.reason, part.message);
        }
    }
    let wanted = view.cluster.replicas;
    Verdict::yes("AllGood", format!("{wanted} of {wanted} members serve"))
}

fn available(view: &View<'_>) -> Verdict {
    if let Some(message) = view.waits_for(Predicate::Suspended) {
        return Verdict::no("Suspended", message);
    }
    if view.cluster_id.is_none() {
        return Verdict::no("Bootstrapping", "the database is not founded yet");
    }
    match view.observed.database.catalogue() {
        Some(catalogue) => served_by(catalogue),
        None => unserved(view),
    }
}

fn served_by(catalogue: &Catalogue) -> Verdict {
    if !catalogue.linearizable {
        return Verdict::no("NoQuorum", "the meta group has no leader that a majority follows");
    }
    if catalogue.leaderless > 0 {
        let message = format!(
            "{} of {} partitions have no leader",
            catalogue.leaderless, catalogue.partitions
        );
        return Verdict::no("PartitionsLeaderless", message);
    }
    let silent = catalogue
        .members
        .iter()
        .filter(|member| member.health != Health::Alive)
        .count();
    if silent > 0 || catalogue.under_replicated > 0 {
        let message = format!("all partitions have a leader; members that do not answer: {silent}");
        return Verdict::yes("QuorumReduced", message);
    }
    Verdict::yes(
        "QuorumHealthy",
        format!("all {} partitions have a leader", catalogue.partitions),
    )
}

/// Without an answer, a pod that Kubernetes calls ready means that only the operator cannot reach it.
fn unserved(view: &View<'_>) -> Verdict {
    let ready = (0..view.plan.slots).any(|slot| view.observed.pod(slot).is_some_and(|pod| pod.ready));
    if ready {
        return Verdict::unreachable();
    }
    let missing = (0..view.plan.slots).map(|slot| view.cluster.name.pod(slot)).collect();
    Verdict::no(
        "WaitingForQuorum",
        format!("no member is ready; waiting for {}", listing(missing)),
    )
}

fn progressing(view: &View<'_>) -> Verdict {
    let waits = view.plan.waits.as_ref();
    let message = view
        .failure()
        .map(|failure| format!("{failure}; it is tried again"))
        .or_else(|| waits.map(|wait| wait.message.clone()))
        .unwrap_or_else(|| doing(view));
    if let Some(wait) = waits.filter(|wait| wait.predicate.needs_person()) {
        let reason = match wait.predicate {
            told @ (Predicate::ScaleInRefused | Predicate::Paused | Predicate::Suspended) => told.as_str(),
            Predicate::NameTaken
            | Predicate::PodsStarting
            | Predicate::ForeignData
            | Predicate::ClusterIdMismatch
            | Predicate::DuplicateMemberId
            | Predicate::DatabaseSilent
            | Predicate::NoQuorum
            | Predicate::MemberJoining
            | Predicate::MembersDown
            | Predicate::MovesOpen
            | Predicate::LostVolume
            | Predicate::Draining
            | Predicate::DrainedByHand
            | Predicate::PodsStopping
            | Predicate::ReplacementUnsafe
            | Predicate::PodNotReady
            | Predicate::NotInSync
            | Predicate::MinReadySeconds
            | Predicate::ResizePending
            | Predicate::RemovedDisk => "Blocked",
        };
        return Verdict::no(reason, message);
    }
    if let StepOutcome::Refused(refusal) = &view.applied.step {
        return Verdict::no("StepRefused", format!("{refusal}; nothing was touched"));
    }
    if let Some(operation) = &view.operation
        && let Some(since) = progress::stalled(operation, view.observed.now)
    {
        return Verdict::yes("Stalled", format!("nothing has moved since {}: {message}", since.0));
    }
    match view.plan.activity {
        Activity::AtRest if waits.is_some() => Verdict::unknown("Unreachable", message),
        // What is wanted may be another template, and then pods are to be made anew.
        Activity::AtRest if is_unseen(view) => Verdict::yes("Reconciling", UNSEEN),
        Activity::AtRest => Verdict::no("Reconciled", message),
        Activity::Bootstrapping => Verdict::yes("Bootstrapping", message),
        Activity::ScalingOut => Verdict::yes("ScalingOut", message),
        Activity::Rebalancing => Verdict::yes("Rebalancing", message),
        Activity::ScalingIn => Verdict::yes("ScalingIn", message),
        Activity::Replacing => Verdict::yes("Replacing", message),
        Activity::Rolling => Verdict::yes("RollingUpdate", message),
        Activity::ResizingVolumes => Verdict::yes("ResizingVolumes", message),
    }
}

fn is_unseen(view: &View<'_>) -> bool {
    let set = view.observed.stateful_set.as_ref();
    view.applied.set_is_unseen || set.is_none_or(|set| !set.seen)
}

/// What the pass did, or what is left when it had nothing to do.
fn doing(view: &View<'_>) -> String {
    let pod = |slot: u32| view.cluster.name.pod(slot);
    let joined = view.members.iter().filter(|member| member.member_id.is_some()).count();
    match &view.applied.step {
        StepOutcome::Done(Done::Bootstrapped) => {
            format!("the database is founded with {} members", view.plan.slots)
        }
        StepOutcome::Done(Done::Joined { slot, member_id }) => {
            let (pod, wanted) = (view.cluster.name.pod(*slot), view.cluster.replicas);
            format!("{pod} joins as member {member_id}; {joined} of {wanted} have joined")
        }
        StepOutcome::Done(Done::RebalanceStarted { moves }) => {
            format!("partitions go to their places in {moves} moves")
        }
        StepOutcome::Done(Done::DrainStarted { slot, member_id }) => {
            format!("everything is moved off member {member_id} ({})", pod(*slot))
        }
        StepOutcome::Done(Done::DrainCancelled { slot, member_id }) => {
            format!("member {member_id} ({}) stays", pod(*slot))
        }
        StepOutcome::Done(Done::Removing { slot, member_id }) => {
            format!("member {member_id} ({}) is empty and is removed", pod(*slot))
        }
        StepOutcome::Done(Done::ClaimDeleted { slot }) => {
            format!(
                "the volume {} is deleted: no member needs it",
                view.cluster.name.claim(*slot)
            )
        }
        StepOutcome::Done(Done::PodDeleted { slot }) => format!("pod {} is made anew", pod(*slot)),
        StepOutcome::Done(Done::PodResized { slot }) => {
            format!("pod {} is given other CPU and memory where it runs", pod(*slot))
        }
        StepOutcome::Done(Done::ResizeRefused { slot, why }) => {
            format!(
                "pod {} is made anew, because Kubernetes does not change it where it runs: {why}",
                pod(*slot)
            )
        }
        StepOutcome::Done(Done::StatefulSetDeleted) => {
            "the StatefulSet is made anew around its pods, with a claim template of the new size".to_owned()
        }
        StepOutcome::None | StepOutcome::Failed(_) | StepOutcome::Refused(_) => match view.plan.activity {
            Activity::Bootstrapping => "the database is founded; its members are not seen yet".to_owned(),
            Activity::AtRest
            | Activity::ScalingOut
            | Activity::Rebalancing
            | Activity::ScalingIn
            | Activity::Replacing
            | Activity::Rolling => "as the spec wants it".to_owned(),
            Activity::ResizingVolumes => "larger volumes are asked for".to_owned(),
        },
    }
}

fn degraded(view: &View<'_>) -> Verdict {
    if view.cluster_id.is_none() {
        return Verdict::not_initialized();
    }
    let lost = slots_with(view, |member| member.state == MemberState::Lost);
    if !lost.is_empty() {
        return Verdict::yes(
            "LostVolume",
            format!("an empty disk where a member with data was: {}", listing(lost)),
        );
    }
    if let Some(message) = view.waits_for(Predicate::Suspended) {
        return Verdict::unknown("Suspended", message);
    }
    if let Some(message) = hosts::lost(view) {
        return Verdict::yes("NodeLost", message);
    }
    let down = members_down(view);
    if !down.is_empty() {
        return Verdict::yes("MembersDown", format!("not serving: {}", listing(down)));
    }
    let Some(catalogue) = view.current() else {
        return unobserved(view);
    };
    let unheard = catalogue.members.iter().filter(|member| member.health != Health::Alive);
    let unheard: Vec<String> = unheard
        .map(|member| format!("member {} ({})", member.id, member.name))
        .collect();
    if !unheard.is_empty() {
        return Verdict::yes("MembersDown", format!("not heard: {}", listing(unheard)));
    }
    if catalogue.under_replicated > 0 {
        let message = format!(
            "{} partitions have fewer copies than they should",
            catalogue.under_replicated
        );
        return Verdict::yes("UnderReplicated", message);
    }
    Verdict::no("AsIntended", "every partition has all its copies")
}

/// Members that should serve and do not, by Kubernetes' word or by the database's. One that joins does not count yet.
fn members_down(view: &View<'_>) -> Vec<String> {
    let name = &view.cluster.name;
    slots_with(view, |member| {
        let pod_ready = name
            .slot_of(&member.slot)
            .and_then(|slot| view.observed.pod(slot))
            .is_some_and(|pod| pod.ready);
        let heard = matches!(member.health, Health::Alive | Health::Unknown);
        let serves = matches!(
            member.state,
            MemberState::Active | MemberState::Draining | MemberState::Unknown
        );
        member.member_id.is_some() && serves && !(pod_ready && heard)
    })
}

fn initialized(view: &View<'_>) -> Verdict {
    if let Some(cluster_id) = view.cluster_id {
        return Verdict::yes("Bootstrapped", format!("cluster {cluster_id}"));
    }
    if let Some(message) = view.waits_for(Predicate::ForeignData) {
        return Verdict::no("ForeignData", message);
    }
    match &view.applied.step {
        StepOutcome::Failed(message) | StepOutcome::Refused(message) => Verdict::no("BootstrapFailed", message.clone()),
        StepOutcome::None | StepOutcome::Done(_) => Verdict::no("Pending", progressing(view).message),
    }
}

fn balanced(view: &View<'_>) -> Verdict {
    let Some(catalogue) = observed_catalogue(view) else {
        return unobserved(view);
    };
    let state = &catalogue.rebalance;
    if state.balanced {
        return Verdict::yes("Balanced", "every partition is where it should be");
    }
    let mut message = format!(
        "{} moves open, {} planned, {} finished",
        state.moves_open, state.moves_planned, state.moves_finished
    );
    if !state.waiting_for.is_empty() {
        message = format!("{message}; {}", state.waiting_for);
    }
    let reason = if state.moves_open > 0 { "Moving" } else { "Waiting" };
    Verdict::no(reason, message)
}

fn quorum_at_risk(view: &View<'_>) -> Verdict {
    let Some(catalogue) = observed_catalogue(view) else {
        return unobserved(view);
    };
    if catalogue.quorum_critical.is_empty() {
        return Verdict::no("Safe", "every partition can lose one more member");
    }
    let partitions = catalogue.quorum_critical.iter().map(u32::to_string).collect();
    let message = format!("one more loss stops the partitions {}", listing(partitions));
    Verdict::yes("QuorumCritical", message)
}

fn observed_catalogue<'a>(view: &View<'a>) -> Option<&'a Catalogue> {
    view.cluster_id.and(view.current())
}

fn unobserved(view: &View<'_>) -> Verdict {
    match (view.cluster_id, view.observed.database.catalogue()) {
        (None, _) => Verdict::not_initialized(),
        (Some(_), None) => Verdict::unreachable(),
        (Some(_), Some(_)) => Verdict::unknown("NoQuorum", "the database answered without a majority behind it"),
    }
}

fn members_up_to_date(view: &View<'_>) -> Verdict {
    let set = view.observed.stateful_set.as_ref();
    let is_known = set.is_some_and(|set| set.present_recipe().is_some());
    if !is_known || view.applied.set_is_unseen {
        return Verdict::unknown("NotObserved", UNSEEN);
    }
    let mut outdated = operation::outdated(view);
    outdated.reverse();
    if outdated.is_empty() {
        return Verdict::yes("UpToDate", "all pods are as the spec wants them");
    }
    let outdated = listing(outdated.iter().map(|(slot, _)| view.cluster.name.pod(*slot)).collect());
    if view.cluster.update.paused {
        let message = format!("{outdated} are not as the spec wants them, and spec.update.paused is true");
        return Verdict::no("WaitingForUser", message);
    }
    Verdict::no("Outdated", format!("{outdated} are not as the spec wants them"))
}

fn cluster_id_consistent(view: &View<'_>) -> Verdict {
    for (predicate, reason) in [
        (Predicate::ForeignData, "Mismatch"),
        (Predicate::ClusterIdMismatch, "Mismatch"),
        (Predicate::DuplicateMemberId, "DuplicateMemberId"),
    ] {
        if let Some(message) = view.waits_for(predicate) {
            return Verdict::no(reason, message);
        }
    }
    if view.cluster_id.is_none() {
        return Verdict::not_initialized();
    }
    let answered = view.observed.identities().count();
    if answered == 0 {
        return Verdict::unknown("Unreachable", "no process answered");
    }
    Verdict::yes(
        "Consistent",
        format!("processes that answered: {answered}, none with another cluster's id"),
    )
}

fn slots_with(view: &View<'_>, picks: impl Fn(&MemberSummary) -> bool) -> Vec<String> {
    let picked = view.members.iter().filter(|member| picks(member));
    picked.map(|member| member.slot.clone()).collect()
}

pub(super) fn listing(mut names: Vec<String>) -> String {
    let more = names.len().saturating_sub(MAX_NAMED);
    names.truncate(MAX_NAMED);
    let listed = names.join(", ");
    if more == 0 {
        listed
    } else {
        format!("{listed} and {more} more")
    }
}
