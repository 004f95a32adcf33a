//! What is being done now and what it waits for, in the words of `status.operation`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::View;
use crate::crd::{BlockedBy, Operation, OperationType};
use crate::plan::{Activity, Predicate, Step};

pub(super) fn of(view: &View<'_>, now: &Time) -> Option<Operation> {
    let type_ = match view.plan.activity {
        Activity::AtRest => return None,
        Activity::Bootstrapping => OperationType::Bootstrap,
        Activity::ScalingOut => OperationType::ScaleOut,
        Activity::Rebalancing => OperationType::Rebalance,
        Activity::ScaleInRefused => OperationType::ScaleIn,
    };
    let before = view.observed.recorded.operation.as_ref();
    let started_at = before
        .filter(|operation| operation.type_ == type_)
        .map_or(now, |operation| &operation.started_at);
    let moves = view.current().map(|catalogue| &catalogue.rebalance);
    Some(Operation {
        type_,
        phase: phase(view).to_owned(),
        blocked_by: blocked_by(view),
        started_at: started_at.clone(),
        moves_open: moves.map_or(0, |moves| i32::try_from(moves.moves_open).unwrap_or(i32::MAX)),
        moves_finished: moves.map_or(0, |moves| i64::try_from(moves.moves_finished).unwrap_or(i64::MAX)),
    })
}

fn phase(view: &View<'_>) -> &'static str {
    match (&view.plan.step, &view.plan.waits) {
        (Some(Step::Bootstrap(_)), _) => "FoundDatabase",
        (Some(Step::Join(_)), _) => "JoinMember",
        (Some(Step::Rebalance { .. }), _) => "StartMoves",
        (None, Some(wait)) => phase_of_wait(wait.predicate),
        (None, None) => "Confirm",
    }
}

fn phase_of_wait(predicate: Predicate) -> &'static str {
    match predicate {
        Predicate::PodsStarting => "StartPods",
        Predicate::MemberJoining => "JoinMember",
        Predicate::MovesOpen => "MovePartitions",
        Predicate::ScaleInRefused => "Refused",
        Predicate::NameTaken
        | Predicate::ForeignData
        | Predicate::ClusterIdMismatch
        | Predicate::DuplicateMemberId
        | Predicate::LostVolume => "Blocked",
        Predicate::DatabaseSilent | Predicate::NoQuorum | Predicate::MembersDown => "WaitForMembers",
    }
}

fn blocked_by(view: &View<'_>) -> Option<BlockedBy> {
    if let Some(failure) = view.failure() {
        return Some(BlockedBy {
            predicate: "StepFailed".to_owned(),
            message: failure.to_owned(),
        });
    }
    let wait = view.plan.waits.as_ref()?;
    // Open moves are progress, not an obstacle.
    (wait.predicate != Predicate::MovesOpen).then(|| BlockedBy {
        predicate: wait.predicate.as_str().to_owned(),
        message: wait.message.clone(),
    })
}
