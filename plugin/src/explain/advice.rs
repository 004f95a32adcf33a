//! What each rule and each condition means for a person. Every variant has a text, or this does not compile.

use kotoba_operator::crd::{ConditionStatus, ConditionType};
use kotoba_operator::plan::Predicate;

pub(super) const OPERATOR: &str = "see that an operator works for this namespace: `helm test` of its release, or \
    `kubectl get pods -A -l app.kubernetes.io/name=kotoba-operator`";
pub(super) const STEP_FAILED: &str =
    "if it stays: the message names the pod that refused or was silent; look at its log";
pub(super) const NO_LEADER: &str = "bring back the pods that are not ready (`kubectl kotoba members`): a majority of each partition's \
    members elects a leader by itself";
pub(super) const STALLED: &str = "look at what it waits for above, and at the log of the pod that leads the meta group \
    (`kubectl kotoba status`)";
const WAIT: &str = "";
const LOOK_AT_PODS: &str = "`kubectl kotoba members` shows which; `kubectl describe pod` says why it does not run";

/// Why something waits.
pub(super) struct OnPredicate {
    /// Goes on from "it waits, because".
    pub because: &'static str,
    /// Empty: it passes by itself.
    pub to_do: &'static str,
}

pub(super) fn on_predicate(predicate: Predicate) -> OnPredicate {
    let (because, to_do) = match predicate {
        Predicate::NameTaken => (
            "objects that it needs exist and belong to something else",
            "remove them, or make the cluster under another name",
        ),
        Predicate::PodsStarting => ("pods are starting", LOOK_AT_PODS),
        Predicate::ForeignData => (
            "a disk holds data of another cluster",
            "if the data is wanted, make a cluster under the name and in the namespace that it is from; if not, annotate the \
             PersistentVolumeClaim kotoba.dev/deletion-allowed=true, delete it, and then its pod",
        ),
        Predicate::ClusterIdMismatch => (
            "the database that answers is another one than was founded here",
            "change nothing before you know how its disks came here: compare status.clusterId with `kotoba who-am-i` in each pod",
        ),
        Predicate::DuplicateMemberId => (
            "two disks claim to be the same member",
            "one of them is a copy: delete the pod and the PersistentVolumeClaim of the copy, and keep the original",
        ),
        Predicate::DatabaseSilent => ("no member answers", LOOK_AT_PODS),
        Predicate::NoQuorum => (
            "the members that decide are not in the majority",
            "bring back the pods that are not ready; nothing is lost as long as their disks are there",
        ),
        Predicate::MemberJoining => ("one member is being taken in, and only one at a time is", WAIT),
        Predicate::MembersDown => (
            "members are down, and without them this could cost a majority",
            LOOK_AT_PODS,
        ),
        Predicate::MovesOpen => ("partitions are being moved", WAIT),
        Predicate::LostVolume => (
            "a member's disk is gone, and an empty one is in its place",
            "if the old disk can be had again, delete the pod and give the slot that disk; if not, annotate the cluster \
             kotoba.dev/replace-member with the id of the lost member, and the empty disk is taken in as a new one",
        ),
        Predicate::Draining => ("partitions are moved off a member that leaves", WAIT),
        Predicate::DrainedByHand => (
            "a member that is wanted is being drained by hand",
            "`kubectl kotoba cancel` keeps it; or lower spec.replicas",
        ),
        Predicate::PodsStopping => ("pods are stopping", WAIT),
        Predicate::ReplacementUnsafe => ("a lost member is not replaced while others do not answer", LOOK_AT_PODS),
        Predicate::PodNotReady => ("another pod is not ready", LOOK_AT_PODS),
        Predicate::NotInSync => ("a partition lacks a leader or a copy", WAIT),
        Predicate::MinReadySeconds => ("the last pod has not been ready for long enough", WAIT),
        Predicate::ResizePending => (
            "a pod was given other CPU and memory, which its Kubernetes node has yet to give it",
            "if it stays: make room on that node, set spec.resources back, or delete the pod, and another node may take it",
        ),
        Predicate::Paused => ("it is paused", "remove the annotation kotoba.dev/paused"),
        Predicate::Suspended => ("it is suspended", "set spec.suspend to false"),
        Predicate::RemovedDisk => (
            "a slot has the disk of a removed member",
            "annotate the PersistentVolumeClaim kotoba.dev/deletion-allowed=true, delete it, and then its pod",
        ),
        Predicate::ScaleInRefused => (
            "fewer members are wanted than there are, and that is not possible now",
            "set spec.replicas back, or mend what the message names",
        ),
    };
    OnPredicate { because, to_do }
}

/// A question that a condition answers.
pub(super) struct OnCondition {
    /// Goes on from "it is".
    pub question: &'static str,
    /// The answer that one wants to hear.
    pub good: ConditionStatus,
    pub to_do: &'static str,
}

pub(super) fn on_condition(type_: ConditionType) -> OnCondition {
    let (question, good, to_do) = match type_ {
        ConditionType::Ready => ("ready", ConditionStatus::True, WAIT),
        ConditionType::Available => ("available to clients as a whole", ConditionStatus::True, NO_LEADER),
        ConditionType::Progressing => ("changing", ConditionStatus::False, WAIT),
        ConditionType::Degraded => ("degraded", ConditionStatus::False, LOOK_AT_PODS),
        ConditionType::Initialized => ("founded", ConditionStatus::True, WAIT),
        ConditionType::Balanced => ("balanced", ConditionStatus::True, WAIT),
        ConditionType::QuorumAtRisk => (
            "one loss from losing a majority",
            ConditionStatus::False,
            "delete no pod and drain no Kubernetes node until the members that are down are back",
        ),
        ConditionType::MembersUpToDate => ("running as the spec wants it in all pods", ConditionStatus::True, WAIT),
        ConditionType::VolumesHealthy => (
            "healthy in its disks",
            ConditionStatus::True,
            "`kubectl describe pvc` says why a disk is not bound or does not grow",
        ),
        ConditionType::ClusterIdConsistent => (
            "one database on all its disks",
            ConditionStatus::True,
            "change nothing before you know how the foreign disk came here",
        ),
    };
    OnCondition { question, good, to_do }
}
