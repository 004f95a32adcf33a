//! What changed between two statuses that a person wants to hear of: these become Kubernetes events.
//!
//! They are told from the written statuses, so that an event never announces what did not come true.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::crd::{
    ConditionStatus, ConditionType, KotobaClusterStatus, MemberState, MemberSummary, OperationType, truth_of,
};

/// An event to be, about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub severity: Severity,
    pub reason: &'static str,
    pub note: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

/// A condition that comes to have this status, and this reason where one is named.
struct Transition {
    type_: ConditionType,
    status: ConditionStatus,
    reason: Option<&'static str>,
    from: From,
    severity: Severity,
    notice: &'static str,
}

/// What the condition must have been for the change to be worth telling.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Anything,
    /// It was in the status, with whatever answer: the first status of a cluster is no change.
    Listed,
    /// It had the other answer; coming back from Unknown is no news.
    Opposite,
}

const fn transition(
    (type_, status, reason): (ConditionType, ConditionStatus, Option<&'static str>),
    severity: Severity,
    notice: &'static str,
) -> Transition {
    Transition {
        type_,
        status,
        reason,
        from: From::Anything,
        severity,
        notice,
    }
}

const fn coming(from: From, transition: Transition) -> Transition {
    Transition { from, ..transition }
}

const TRANSITIONS: [Transition; 18] = {
    use ConditionStatus::{False, True};
    use ConditionType::{
        Available, Balanced, ClusterIdConsistent, Degraded, Initialized, Progressing, QuorumAtRisk, VolumesHealthy,
    };
    use Severity::{Normal, Warning};
    [
        transition((Initialized, True, None), Normal, "Bootstrapped"),
        transition((Initialized, False, Some("ForeignData")), Warning, "ForeignData"),
        transition(
            (Initialized, False, Some("BootstrapFailed")),
            Warning,
            "BootstrapFailed",
        ),
        transition((Balanced, False, Some("Moving")), Normal, "RebalanceStarted"),
        coming(
            From::Opposite,
            transition((Balanced, True, None), Normal, "RebalanceFinished"),
        ),
        transition((Progressing, False, Some("ScaleInRefused")), Warning, "ScaleInRefused"),
        transition((Progressing, False, Some("InvalidSpec")), Warning, "InvalidSpec"),
        transition((Progressing, True, Some("Stalled")), Warning, "Stalled"),
        transition((Progressing, False, Some("Paused")), Normal, "Paused"),
        transition((Progressing, False, Some("Suspended")), Normal, "Suspended"),
        transition((VolumesHealthy, False, Some("ResizeFailed")), Warning, "ResizeFailed"),
        transition((Degraded, True, Some("NodeLost")), Warning, "NodeLost"),
        transition((VolumesHealthy, False, Some("LostVolume")), Warning, "LostVolume"),
        transition((ClusterIdConsistent, False, None), Warning, "ClusterIdMismatch"),
        coming(From::Listed, transition((Available, True, None), Normal, "Available")),
        coming(
            From::Listed,
            transition((Available, False, None), Warning, "NotAvailable"),
        ),
        transition((Degraded, True, None), Warning, "Degraded"),
        transition((QuorumAtRisk, True, None), Warning, "QuorumAtRisk"),
    ]
};

/// Tells what changed. Before the first status there is nothing to compare with, and nothing is told.
pub fn notices(before: &KotobaClusterStatus, after: &KotobaClusterStatus) -> Vec<Notice> {
    let transitions = TRANSITIONS
        .iter()
        .filter_map(|transition| of_condition(transition, before, after));
    transitions
        .chain(joined(before, after))
        .chain(leaving(before, after))
        .chain(failed(before, after))
        .collect()
}

fn of_condition(transition: &Transition, before: &KotobaClusterStatus, after: &KotobaClusterStatus) -> Option<Notice> {
    let condition = matching(&after.conditions, transition)?;
    let type_ = transition.type_;
    let comes_from = match transition.from {
        From::Anything => true,
        From::Listed => before
            .conditions
            .iter()
            .any(|condition| condition.type_ == type_.as_str()),
        From::Opposite => truth_of(&before.conditions, type_) == opposite(transition.status),
    };
    if !comes_from || matching(&before.conditions, transition).is_some() {
        return None;
    }
    Some(Notice {
        severity: transition.severity,
        reason: transition.notice,
        note: condition.message.clone(),
    })
}

fn opposite(status: ConditionStatus) -> ConditionStatus {
    match status {
        ConditionStatus::True => ConditionStatus::False,
        ConditionStatus::False => ConditionStatus::True,
        ConditionStatus::Unknown => ConditionStatus::Unknown,
    }
}

fn matching<'a>(conditions: &'a [Condition], transition: &Transition) -> Option<&'a Condition> {
    conditions.iter().find(|condition| {
        condition.type_ == transition.type_.as_str()
            && condition.status == transition.status.as_str()
            && transition.reason.is_none_or(|reason| condition.reason == reason)
    })
}

/// Members that have an id now and had none; the first ones are told of by `Bootstrapped`.
fn joined(before: &KotobaClusterStatus, after: &KotobaClusterStatus) -> Vec<Notice> {
    if before.members.iter().all(|member| member.member_id.is_none()) {
        return Vec::new();
    }
    let is_new = |id: i64| before.members.iter().all(|member| member.member_id != Some(id));
    let of = |member: &MemberSummary| {
        let id = member.member_id.filter(|id| is_new(*id))?;
        Some(Notice {
            severity: Severity::Normal,
            reason: "MemberJoined",
            note: format!("pod {} is member {id}", member.slot),
        })
    };
    after.members.iter().filter_map(of).collect()
}

/// Members that begin to leave, stay after all, or are gone.
fn leaving(before: &KotobaClusterStatus, after: &KotobaClusterStatus) -> Vec<Notice> {
    let normal = |reason, note| Notice {
        severity: Severity::Normal,
        reason,
        note,
    };
    let state = |status: &KotobaClusterStatus, id: i64| {
        let mut members = status.members.iter();
        members
            .find(|member| member.member_id == Some(id))
            .map(|member| member.state)
    };
    let of = |member: &MemberSummary| {
        let id = member.member_id?;
        match (member.state == MemberState::Draining, state(after, id)) {
            (false, Some(MemberState::Draining)) => Some(normal(
                "MemberDraining",
                format!("everything is moved off member {id} ({})", member.slot),
            )),
            (true, Some(MemberState::Active | MemberState::Joining)) => {
                Some(normal("DrainCancelled", format!("member {id} ({}) stays", member.slot)))
            }
            (true, None | Some(MemberState::Removed)) => Some(normal(
                "MemberRemoved",
                format!("member {id} ({}) was empty and is removed", member.slot),
            )),
            (true | false, _) => None,
        }
    };
    before
        .members
        .iter()
        .filter_map(of)
        .chain(operations(before, after))
        .collect()
}

/// Operations that begin and end, by their names.
fn operations(before: &KotobaClusterStatus, after: &KotobaClusterStatus) -> Vec<Notice> {
    let of = |status: &KotobaClusterStatus| status.operation.as_ref().map(|operation| operation.type_);
    let (was, is) = (of(before), of(after));
    if was == is {
        return Vec::new();
    }
    let normal = |reason, note: String| Notice {
        severity: Severity::Normal,
        reason,
        note,
    };
    let ended = was.and_then(|type_| match type_ {
        OperationType::ScaleIn => Some(normal(
            "ScaledIn",
            format!("the cluster has {} members", after.members.len()),
        )),
        OperationType::Roll => Some(normal(
            "RollFinished",
            "all pods that had to be are made anew".to_owned(),
        )),
        OperationType::Replace => Some(normal(
            "Replaced",
            "another member has taken the place of the lost one".to_owned(),
        )),
        OperationType::Bootstrap
        | OperationType::ScaleOut
        | OperationType::Rebalance
        | OperationType::ResizeVolumes => None,
    });
    let begun = is.and_then(|type_| match type_ {
        OperationType::Roll => Some(normal("RollStarted", "pods are made anew, one at a time".to_owned())),
        OperationType::Replace => Some(normal(
            "ReplacementStarted",
            "another member takes the place of a lost one".to_owned(),
        )),
        OperationType::Bootstrap
        | OperationType::ScaleOut
        | OperationType::Rebalance
        | OperationType::ScaleIn
        | OperationType::ResizeVolumes => None,
    });
    ended.into_iter().chain(begun).collect()
}

fn failed(before: &KotobaClusterStatus, after: &KotobaClusterStatus) -> Option<Notice> {
    let failure = |status: &KotobaClusterStatus| {
        let blocked = status.operation.as_ref()?.blocked_by.clone()?;
        matches!(blocked.predicate.as_str(), "StepFailed" | "StepRefused").then_some(blocked.message)
    };
    let message = failure(after)?;
    (failure(before).as_ref() != Some(&message)).then_some(Notice {
        severity: Severity::Warning,
        reason: "StepFailed",
        note: message,
    })
}
