//! What is being done now and what it waits for, in the words of `status.operation`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::View;
use super::progress;
use crate::apply::StepOutcome;
use crate::crd::{BlockedBy, MemberState, MemberSummary, Operation, OperationType, ReclaimPolicy};
use crate::plan::{Activity, Drift, Predicate, Step, Wait, drift};

/// Lines of a plan: those of the first six members.
const MAX_PLAN: usize = 18;

pub(super) fn of(view: &View<'_>, now: &Time) -> Option<Operation> {
    let type_ = match view.plan.activity {
        Activity::AtRest => return None,
        Activity::Bootstrapping => OperationType::Bootstrap,
        Activity::ScalingOut => OperationType::ScaleOut,
        Activity::Rebalancing => OperationType::Rebalance,
        Activity::ScalingIn => OperationType::ScaleIn,
        Activity::Replacing => OperationType::Replace,
        Activity::Rolling => OperationType::Roll,
        Activity::ResizingVolumes => OperationType::ResizeVolumes,
    };
    let before = view.observed.recorded.operation.as_ref();
    let before = before.filter(|operation| operation.type_ == type_);
    let started_at = before.map_or(now, |operation| &operation.started_at);
    let (progress, progressed_at) = progress::since(before, progress::left(view), now);
    let moves = view.current().map(|catalogue| &catalogue.rebalance);
    let mut operation = Operation {
        type_,
        phase: phase(view).to_owned(),
        target: target(view),
        plan: left_to_do(view),
        cancellable: cancellable(view),
        blocked_by: blocked_by(view),
        started_at: started_at.clone(),
        progress: Some(progress),
        progressed_at: Some(progressed_at),
        moves_open: moves.map_or(0, |moves| i32::try_from(moves.moves_open).unwrap_or(i32::MAX)),
        moves_finished: moves.map_or(0, |moves| i64::try_from(moves.moves_finished).unwrap_or(i64::MAX)),
    };
    if progress::stalled(&operation, now.0).is_some() {
        let wait = view.plan.waits.as_ref();
        operation.blocked_by = operation.blocked_by.or_else(|| wait.map(blocked));
    }
    Some(operation)
}

fn phase(view: &View<'_>) -> &'static str {
    match (&view.plan.step, &view.plan.waits) {
        (Some(Step::Bootstrap(_)), _) => "FoundDatabase",
        (Some(Step::Join(_)), _) => "JoinMember",
        (Some(Step::Rebalance { .. }), _) => "StartMoves",
        (Some(Step::Drain(_)), _) => "DrainMember",
        (Some(Step::CancelDrain(_)), _) => "KeepMember",
        (Some(Step::Remove(_)), _) => "RemoveMember",
        (Some(Step::DeleteClaim(_)), _) => "ReclaimVolume",
        (Some(Step::DeletePod(_)), _) => "StopPod",
        (Some(Step::ResizePod(_)), _) => "ResizePod",
        (Some(Step::RecreateStatefulSet(_)), _) => "ReplaceTemplate",
        (None, Some(wait)) => phase_of_wait(wait.predicate),
        (None, None) => "Confirm",
    }
}

fn phase_of_wait(predicate: Predicate) -> &'static str {
    match predicate {
        Predicate::PodsStarting => "StartPods",
        Predicate::MemberJoining => "JoinMember",
        Predicate::MovesOpen => "MovePartitions",
        Predicate::Draining => "DrainMember",
        Predicate::PodsStopping => "StopPod",
        Predicate::ResizePending => "ResizePod",
        Predicate::ScaleInRefused => "Refused",
        Predicate::NameTaken
        | Predicate::ForeignData
        | Predicate::ClusterIdMismatch
        | Predicate::DuplicateMemberId
        | Predicate::LostVolume
        | Predicate::DrainedByHand
        | Predicate::Paused
        | Predicate::Suspended
        | Predicate::RemovedDisk => "Blocked",
        Predicate::DatabaseSilent
        | Predicate::NoQuorum
        | Predicate::MembersDown
        | Predicate::ReplacementUnsafe
        | Predicate::PodNotReady
        | Predicate::NotInSync
        | Predicate::MinReadySeconds => "WaitForMembers",
    }
}

/// The pod that the step, or the wait for its effect, is about.
fn target(view: &View<'_>) -> Option<String> {
    let slot = match &view.plan.step {
        Some(Step::Join(step)) => step.slot,
        Some(Step::Drain(step) | Step::CancelDrain(step) | Step::Remove(step)) => step.slot,
        Some(Step::DeleteClaim(step)) => step.slot,
        Some(Step::DeletePod(step)) => step.slot,
        Some(Step::ResizePod(step)) => step.slot,
        Some(Step::Bootstrap(_) | Step::Rebalance { .. } | Step::RecreateStatefulSet(_)) => return None,
        None => return draining(view).map(|member| member.slot.clone()),
    };
    Some(view.cluster.name.pod(slot))
}

fn draining<'a>(view: &View<'a>) -> Option<&'a MemberSummary> {
    let mut members = view.members.iter().rev();
    members.find(|member| member.state == MemberState::Draining)
}

/// Members may be kept until they are removed, pods that are not members yet be left out.
fn cancellable(view: &View<'_>) -> bool {
    match view.plan.activity {
        Activity::ScalingOut => true,
        Activity::ScalingIn => surplus(view).next().is_some(),
        Activity::Rolling => true,
        Activity::AtRest
        | Activity::Bootstrapping
        | Activity::Rebalancing
        | Activity::Replacing
        | Activity::ResizingVolumes => false,
    }
}

/// Members in slots that are not wanted, those that go first in front.
fn surplus<'a>(view: &View<'a>) -> impl Iterator<Item = (u32, &'a MemberSummary)> {
    let wanted = view.cluster.replicas;
    let slots = (wanted..view.plan.slots).rev();
    let members = view.members;
    slots
        .filter_map(move |slot| Some((slot, members.get(slot as usize)?)))
        .filter(|(_, member)| member.member_id.is_some() && member.state != MemberState::Removed)
}

/// The rest of the way, as far as a person can read it.
fn left_to_do(view: &View<'_>) -> Vec<String> {
    let steps: Vec<String> = match view.plan.activity {
        Activity::ScalingIn => surplus(view)
            .flat_map(|(slot, member)| way_out(view, slot, member))
            .collect(),
        Activity::Rolling => outdated(view)
            .into_iter()
            .map(|(slot, drift)| {
                let pod = view.cluster.name.pod(slot);
                match drift {
                    Drift::Template | Drift::Fits => format!("make pod {pod} anew"),
                    Drift::Compute | Drift::Resizing(_) => format!("give pod {pod} other CPU and memory where it runs"),
                }
            })
            .collect(),
        Activity::AtRest
        | Activity::Bootstrapping
        | Activity::ScalingOut
        | Activity::Rebalancing
        | Activity::Replacing
        | Activity::ResizingVolumes => Vec::new(),
    };
    steps.into_iter().take(MAX_PLAN).collect()
}

fn way_out(view: &View<'_>, slot: u32, member: &MemberSummary) -> [String; 3] {
    let id = member.member_id.unwrap_or_default();
    let claim = view.cluster.name.claim(slot);
    let volume = match view.cluster.reclaim.on_scale_in {
        ReclaimPolicy::Retain => format!("keep the volume {claim}"),
        ReclaimPolicy::Delete => format!("delete the volume {claim}"),
    };
    [
        format!(
            "move {} partition copies off member {id} ({})",
            member.replicas, member.slot
        ),
        format!("remove member {id} and stop pod {}", member.slot),
        volume,
    ]
}

/// Pods that are not as they would be made now, the highest first.
pub(super) fn outdated(view: &View<'_>) -> Vec<(u32, Drift)> {
    let slots = (0..view.plan.slots).rev();
    let drifts = slots.filter_map(|slot| Some((slot, drift(view.observed, slot)?)));
    drifts.filter(|(_, drift)| *drift != Drift::Fits).collect()
}

fn blocked_by(view: &View<'_>) -> Option<BlockedBy> {
    if let Some(failure) = view.failure() {
        let predicate = match &view.applied.step {
            StepOutcome::Refused(_) => "StepRefused",
            StepOutcome::Failed(_) | StepOutcome::Done(_) | StepOutcome::None => "StepFailed",
        };
        return Some(BlockedBy {
            predicate: predicate.to_owned(),
            message: failure.to_owned(),
        });
    }
    let wait = view.plan.waits.as_ref()?;
    // Open moves are progress, not an obstacle, as long as they move.
    (wait.predicate != Predicate::MovesOpen).then(|| blocked(wait))
}

fn blocked(wait: &Wait) -> BlockedBy {
    BlockedBy {
        predicate: wait.predicate.as_str().to_owned(),
        message: wait.message.clone(),
    }
}
