//! What the transaction layer asks of a partition's leader, and what comes back: one format byte, then postcard.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kotoba_graph::read::{Answer, Read};
use kotoba_state::ids::{MemberId, Timestamp};
use kotoba_state::partition::{
    CommitOnePhase, Condition, Decided, Key, Op, Prepare, PrepareAnswer, Push, Refusal, Resolved, Span, TxnHead, TxnId,
    TxnStatus,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Of requests and responses; members of one cluster may run two versions for the time of an upgrade.
const FORMAT: u8 = 4;

/// One step of the protocol at one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Answers all reads from one view, at a snapshot.
    Read {
        snapshot: Timestamp,
        reads: Vec<Read>,
        /// Of the answers; the first read is answered all the same.
        max_bytes: usize,
    },
    Refresh(Refresh),
    /// A whole transaction, or what is left of it when all partitions but this one, its primary, are prepared.
    OnePhase(OnePhase),
    /// At a partition that is not the primary.
    Prepare(Prepare),
    /// A transaction's outcome, at its primary.
    CheckTxn {
        head: TxnHead,
        push: Push,
    },
    Resolve {
        txn: TxnId,
        decided: Decided,
    },
    Forget(Vec<Resolved>),
    /// Closes an issued timestamp, so that any replica may serve snapshots up to it.
    Close {
        at: Timestamp,
    },
    /// As `Read`, of any replica that has reached the snapshot.
    ReadReplica {
        snapshot: Timestamp,
        reads: Vec<Read>,
        max_bytes: usize,
    },
    /// The kept versions of one key up to a snapshot, newest first.
    History {
        snapshot: Timestamp,
        #[serde(with = "serde_bytes")]
        key: Key,
        limit: u32,
    },
    /// Answers all reads from one view, as of now; what was acknowledged before is in the answers.
    ReadNewest {
        /// An issued timestamp.
        at_least: Timestamp,
        reads: Vec<Read>,
        /// As of `Read`.
        max_bytes: usize,
    },
    /// As `OnePhase`, answered where it can be as soon as the leader has the entry on its own disk.
    OnePhaseEventual(OnePhase),
}

/// Whether what was read still holds at a later timestamp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    pub head: TxnHead,
    pub commit_ts: Timestamp,
    pub spans: Vec<Span>,
    pub conditions: Vec<Condition>,
}

/// What a transaction does at its primary, checked and committed in one phase. Where it writes other partitions, too, those are
/// prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnePhase {
    pub head: TxnHead,
    #[serde(with = "kotoba_state::partition::writes")]
    pub writes: BTreeMap<Key, Op>,
    /// Read on this partition.
    pub reads: Vec<Span>,
    pub conditions: Vec<Condition>,
    /// Read, or required, on other partitions: refreshed there by the leader while it holds the latches.
    pub elsewhere: Vec<Elsewhere>,
    /// Slots of other partitions, in which intents wait for the outcome.
    pub prepared: BTreeSet<u16>,
}

impl OnePhase {
    /// The entry that commits it, latched in the term `epoch`.
    pub fn into_command(self, commit_ts: Timestamp, epoch: u64) -> CommitOnePhase {
        CommitOnePhase {
            head: self.head,
            commit_ts,
            epoch,
            writes: self.writes,
            reads: self.reads,
            conditions: self.conditions,
            prepared: self.prepared,
        }
    }
}

/// What must hold at the commit timestamp on a partition other than the primary, and is not sure to since it was prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// Any slot of that partition.
    pub slot: u16,
    pub spans: Vec<Span>,
    pub conditions: Vec<Condition>,
}

/// The answer to a request of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To the first of the reads, at least one: as many as fit into one message. The others are to be asked again.
    Read(Vec<Answer>),
    Refresh(RefreshReply),
    OnePhase(OnePhaseReply),
    Prepare(PrepareAnswer),
    Status(TxnStatus),
    Resolved,
    Forgotten,
    Closed,
    History {
        /// Without a value: deletions.
        versions: Vec<(Timestamp, Option<Bytes>)>,
        more: bool,
    },
    /// This replica cannot serve the snapshot yet: ask the leader.
    Behind,
    Newest(Newest),
    /// A transaction that may have ended is in the way, or what is newest was collected: read at a timestamp taken now.
    Undecided,
}

/// What was read is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// When the newest of all that was looked at was committed, deletions included, or the timestamp that was asked for where that
    /// is later: what was read has not changed since.
    pub since: Timestamp,
    /// As of [`Reply::Read`].
    pub answers: Vec<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshReply {
    Valid,
    /// What was read has changed, or someone undecided may change it.
    Changed,
    /// A condition is false at the commit timestamp.
    ConditionFailed(Key),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnePhaseReply {
    Committed(Timestamp),
    /// Refused for good; the tombstone is in the log.
    Refused(Refusal),
    /// Refused before anything was proposed.
    NotProposed(Refusal),
    /// Rolled back by someone else.
    Aborted,
    /// An earlier attempt may have ended in any way.
    TooOld,
}

/// The leader could not serve the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// Nothing was done.
    #[error("this replica does not lead its partition")]
    NotLeader { leader: Option<MemberId> },
    /// Nothing was done.
    #[error("the partition is busy: {0}")]
    Busy(String),
    /// It may have been done, or may still be.
    #[error("the outcome of a proposal is unknown")]
    Unknown,
    /// The snapshot is older than what the partition keeps.
    #[error("the snapshot is older than the versions that are kept: begin again")]
    TooOld,
    #[error("{0}")]
    TooLarge(String),
    /// The replica's disk, or a bug.
    #[error("the partition failed: {0}")]
    Broken(String),
    /// Nothing was done.
    #[error("{0}")]
    DiskFull(String),
}

/// What travels back.
pub type Response = Result<Reply, Failure>;

/// Bytes that are no message of this build's format.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("partition message format {0} is not known to this build, which knows {FORMAT}: upgrade it")]
    Format(u8),
    #[error("a partition message is empty or damaged")]
    Damaged,
}

/// Room for what most messages take: growing into it step by step copies them several times.
const MOST_BYTES: usize = 1_024;

pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MOST_BYTES);
    bytes.push(FORMAT);
    postcard::to_extend(message, bytes).expect("memory takes every byte, and every field has a postcard form")
}

pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Damaged),
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|_| DecodeError::Damaged),
        Some((&other, _)) => Err(DecodeError::Format(other)),
    }
}
