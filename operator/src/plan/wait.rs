//! Why a plan waits: a rule with a name, and a sentence for the person who reads the status.

/// The rule that holds an operation back, and what it means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    pub predicate: Predicate,
    pub message: String,
}

/// The rules. Their names are part of the API: they stand in `status.operation.blockedBy.predicate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicate {
    NameTaken,
    PodsStarting,
    ForeignData,
    ClusterIdMismatch,
    DuplicateMemberId,
    DatabaseSilent,
    NoQuorum,
    MemberJoining,
    MembersDown,
    MovesOpen,
    LostVolume,
    /// Partitions are moved off a member that leaves.
    Draining,
    /// A member in a wanted slot is drained, and not by the operator.
    DrainedByHand,
    PodsStopping,
    /// A lost member is not replaced while others do not answer.
    ReplacementUnsafe,
    /// A pod is not made anew while another is not ready.
    PodNotReady,
    /// Nor while a partition lacks a leader or a copy.
    NotInSync,
    MinReadySeconds,
    /// A pod was given other CPU and memory, and Kubernetes has yet to do it.
    ResizePending,
    Paused,
    Suspended,
    /// A slot has the disk of a removed member.
    RemovedDisk,
    ScaleInRefused,
}

impl Predicate {
    /// All of them, so that whoever reads a name finds the rule.
    pub const ALL: [Predicate; 23] = [
        Predicate::NameTaken,
        Predicate::PodsStarting,
        Predicate::ForeignData,
        Predicate::ClusterIdMismatch,
        Predicate::DuplicateMemberId,
        Predicate::DatabaseSilent,
        Predicate::NoQuorum,
        Predicate::MemberJoining,
        Predicate::MembersDown,
        Predicate::MovesOpen,
        Predicate::LostVolume,
        Predicate::Draining,
        Predicate::DrainedByHand,
        Predicate::PodsStopping,
        Predicate::ReplacementUnsafe,
        Predicate::PodNotReady,
        Predicate::NotInSync,
        Predicate::MinReadySeconds,
        Predicate::ResizePending,
        Predicate::Paused,
        Predicate::Suspended,
        Predicate::RemovedDisk,
        Predicate::ScaleInRefused,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Predicate::NameTaken => "NameTaken",
            Predicate::PodsStarting => "PodsStarting",
            Predicate::ForeignData => "ForeignData",
            Predicate::ClusterIdMismatch => "ClusterIdMismatch",
            Predicate::DuplicateMemberId => "DuplicateMemberId",
            Predicate::DatabaseSilent => "DatabaseSilent",
            Predicate::NoQuorum => "NoQuorum",
            Predicate::MemberJoining => "MemberJoining",
            Predicate::MembersDown => "MembersDown",
            Predicate::MovesOpen => "MovesOpen",
            Predicate::LostVolume => "LostVolume",
            Predicate::Draining => "Draining",
            Predicate::DrainedByHand => "DrainedByHand",
            Predicate::PodsStopping => "PodsStopping",
            Predicate::RemovedDisk => "RemovedDisk",
            Predicate::ReplacementUnsafe => "ReplacementUnsafe",
            Predicate::PodNotReady => "PodNotReady",
            Predicate::NotInSync => "NotInSync",
            Predicate::MinReadySeconds => "MinReadySeconds",
            Predicate::ResizePending => "ResizePending",
            Predicate::Paused => "Paused",
            Predicate::Suspended => "Suspended",
            Predicate::ScaleInRefused => "ScaleInRefused",
        }
    }

    /// Waiting longer does not help: a person has to act.
    pub fn needs_person(self) -> bool {
        match self {
            Predicate::NameTaken
            | Predicate::ForeignData
            | Predicate::ClusterIdMismatch
            | Predicate::DuplicateMemberId
            | Predicate::LostVolume
            | Predicate::DrainedByHand
            | Predicate::RemovedDisk
            | Predicate::Paused
            | Predicate::Suspended
            | Predicate::ScaleInRefused => true,
            Predicate::PodsStarting
            | Predicate::DatabaseSilent
            | Predicate::NoQuorum
            | Predicate::MemberJoining
            | Predicate::MembersDown
            | Predicate::MovesOpen
            | Predicate::Draining
            | Predicate::ReplacementUnsafe
            | Predicate::PodNotReady
            | Predicate::NotInSync
            | Predicate::MinReadySeconds
            | Predicate::ResizePending
            | Predicate::PodsStopping => false,
        }
    }
}
