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
    ScaleInRefused,
}

impl Predicate {
    /// All of them, so that whoever reads a name finds the rule.
    pub const ALL: [Predicate; 12] = [
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
            | Predicate::ScaleInRefused => true,
            Predicate::PodsStarting
            | Predicate::DatabaseSilent
            | Predicate::NoQuorum
            | Predicate::MemberJoining
            | Predicate::MembersDown
            | Predicate::MovesOpen => false,
        }
    }
}
