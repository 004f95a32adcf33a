//! What the meta group's log entries say, and what applying one answers.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::catalogue::{Health, MemberState, MoveStep};
use super::diverged::Evidence;
use crate::ids::{GroupId, MemberId, PartitionId, ReplicaId, Timestamp};

/// Of commands, answers and rows; a build that changes the shape of one writes another number.
pub(super) const FORMAT: u8 = 1;
/// Of commands that carry the time of their proposal.
const TIMED_FORMAT: u8 = 2;

/// A member of the first hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstMember {
    pub peer_address: String,
    pub client_address: String,
    pub zone: String,
    pub disk_id: String,
    pub name: String,
    pub meta_voter: bool,
}

/// One change of the catalogue. Times are milliseconds since the epoch, by the proposer's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Founds the cluster: members get the ids 1, 2, ... and as many meta replicas; partitions are placed.
    Found {
        cluster_id: String,
        members: Vec<FirstMember>,
        replication_factor: u32,
        partition_count: u32,
        max_parallel_moves: u32,
    },
    /// Takes in a process; the same disk again gets the same answer, and its addresses are brought up to date.
    Join {
        disk_id: String,
        peer_address: String,
        client_address: String,
        zone: String,
        name: String,
        version: String,
    },
    /// The member has caught up with the meta group and may hold replicas.
    ActivateMember {
        member: MemberId,
    },
    /// What a member says of itself at its start. Refused for another disk.
    DescribeMember {
        member: MemberId,
        disk_id: String,
        peer_address: String,
        client_address: String,
        version: String,
    },
    SetMetaVoter {
        member: MemberId,
        voter: bool,
    },
    SetHealth {
        member: MemberId,
        health: Health,
        now_ms: u64,
    },
    /// Moves everything off a member; refused where the rest could not hold it. Asked for again, it may add the removal.
    Drain {
        member: MemberId,
        then_remove: bool,
    },
    /// Possible until the removal; what has moved stays where it is.
    CancelDrain {
        member: MemberId,
    },
    /// Removes a member once nothing is left on it: one that is drained, or that has failed and holds nothing.
    AskRemoval {
        member: MemberId,
    },
    /// A member that has failed for too long: its replicas are placed elsewhere.
    CountAsGone {
        member: MemberId,
    },
    /// Plans moves for what is on draining and gone members, where that has none.
    PlanDepartures {
        now_ms: u64,
    },
    /// Compare-and-set on the drain whose end was proven. For ever.
    RemoveMember {
        member: MemberId,
        drain: u64,
    },
    /// The partition's first voters have a leader.
    MarkFounded {
        partition: PartitionId,
    },
    /// Plans the moves to where placement wants the replicas; the same job again while it is open.
    PlanRebalance {
        now_ms: u64,
    },
    /// Compare-and-set: a move that is not at `from` is left alone. `None` is its end.
    AdvanceMove {
        id: u64,
        from: MoveStep,
        to: Option<MoveStep>,
    },
    /// A retiring replica is deleted on its member.
    ForgetReplica {
        partition: PartitionId,
        replica: ReplicaId,
    },
    /// Logs `count` timestamps above all that were ever logged.
    ExtendTimestamps {
        count: u64,
    },
    /// Gives a member `count` entity sequences.
    LeaseSequences {
        count: u64,
    },
    /// Numbers a start of a member's process.
    NextIncarnation,
    /// The state of this replica is not that of its group: it is stopped and rebuilt from the leader's, where a majority
    /// of others is sound.
    ReportDiverged {
        partition: PartitionId,
        replica: ReplicaId,
        evidence: Evidence,
        now_ms: u64,
    },
    /// A diverged replica has the leader's state now.
    ReportRebuilt {
        partition: PartitionId,
        replica: ReplicaId,
    },
    /// Who was seen to lead in a newer term than the catalogue knows of; older news changes nothing.
    NoteLeaders {
        leaders: Vec<ElectedLeader>,
    },
}

/// The leader of a group, as its own members tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectedLeader {
    pub group: GroupId,
    pub member: MemberId,
    pub term: u64,
}

/// A command as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    pub command: Command,
    /// When it was proposed, in milliseconds since the epoch by the proposer's clock; 0 where that was not told.
    pub now_ms: u64,
}

/// A move as it was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedMove {
    pub partition: PartitionId,
    pub from: Option<MemberId>,
    pub to: Option<MemberId>,
}

/// What applying a command answers to whoever proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Done now or before.
    Done,
    /// Nothing was changed, for this reason.
    Refused(String),
    Joined {
        cluster_id: String,
        member: MemberId,
        state: MemberState,
    },
    Planned {
        job: u64,
        moves: Vec<PlannedMove>,
    },
    /// `from` up to, not including, `to`.
    Timestamps {
        from: Timestamp,
        to: Timestamp,
    },
    /// `from` up to, not including, `to`.
    Sequences {
        from: u64,
        to: u64,
    },
    Incarnation(u64),
    /// The member that speaks was removed, for ever.
    Removed,
}

/// Bytes that are no command, answer or row of this build's format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("catalogue format {0} is not known to this build, which knows {FORMAT}: start a newer build")]
    Unknown(u8),
    #[error("a catalogue entry is empty")]
    Empty,
    #[error("a catalogue entry is damaged")]
    Damaged(#[source] postcard::Error),
}

impl Command {
    /// For commands that bring no event: without the time.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// With the time for the events it brings.
    pub fn encode_at(&self, now_ms: u64) -> Vec<u8> {
        encode_as(TIMED_FORMAT, &(now_ms, self))
    }
}

impl Proposed {
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (now_ms, command) = match bytes.split_first() {
            Some((&TIMED_FORMAT, body)) => postcard::from_bytes(body).map_err(FormatError::Damaged)?,
            Some(_) | None => (0, decode(bytes)?),
        };
        Ok(Proposed { command, now_ms })
    }
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        decode(bytes)
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_as(FORMAT, value)
}

fn encode_as<T: Serialize>(format: u8, value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![format]).expect("memory takes every byte, and every field has a postcard form")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    match bytes.split_first() {
        None => Err(FormatError::Empty),
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(FormatError::Damaged),
        Some((&other, _)) => Err(FormatError::Unknown(other)),
    }
}
