//! What a partition's log entries say, and what applying one answers.
//!
//! Both travel as one format byte followed by postcard. No command holds a clock reading that the state machine
//! would have taken itself: `now` comes in the entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::span::Span;
use super::writes;
use crate::ids::{MemberId, Timestamp};

/// Of commands, and of answers; a build that changes the shape of either writes another number.
const FORMAT: u8 = 2;

/// An ordered key; its first two bytes are the slot, big-endian.
pub type Key = Vec<u8>;
pub type Value = Vec<u8>;

/// A transaction, for ever: none is used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TxnId {
    pub member: MemberId,
    /// Which start of the member's process; larger at every start.
    pub incarnation: u64,
    pub counter: u64,
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.member, self.incarnation, self.counter)
    }
}

/// Who a transaction is and where its outcome is kept: enough for anyone to find it and to finish it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TxnHead {
    pub txn: TxnId,
    pub start_ts: Timestamp,
    /// One of the written keys. The partition that holds it keeps the outcome, also after a split.
    #[serde(with = "serde_bytes")]
    pub primary: Key,
    /// From when on anyone may roll it back; milliseconds since the epoch. Only for liveness, never for safety.
    pub deadline_ms: u64,
}

/// What a transaction does to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    Put(#[serde(with = "serde_bytes")] Value),
    /// As `Put`, but collected like a deletion once the version floor has passed it: for what need not last.
    PutTemporary(#[serde(with = "serde_bytes")] Value),
    Delete,
}

impl Op {
    /// Of the value.
    pub fn size_bytes(&self) -> usize {
        match self {
            Op::Put(value) | Op::PutTemporary(value) => value.len(),
            Op::Delete => 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionKind {
    Exists,
    Absent,
}

/// Something that must be true of a key where a transaction commits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Condition {
    #[serde(with = "serde_bytes")]
    pub key: Key,
    pub kind: ConditionKind,
    /// Set only if every transaction that can make it false reads, on this same partition, a range in which this
    /// transaction leaves an intent; it then needs no refresh at the commit timestamp.
    pub guarded: bool,
}

/// Puts intents on a partition that is not the primary, after checking everything; all or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    pub head: TxnHead,
    #[serde(with = "writes")]
    pub writes: BTreeMap<Key, Op>,
    /// What the transaction read on this partition, gaps of ranges included.
    pub reads: Vec<Span>,
    pub conditions: Vec<Condition>,
    /// One above the largest snapshot the leader has served: such readers need not ask about the intents.
    pub min_commit_hint: Timestamp,
}

/// What an asker does to a transaction that has no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Push {
    None,
    /// Rolls it back if its deadline is past.
    AbortExpired,
    /// Rolls it back.
    Abort,
    /// Makes it commit above this snapshot.
    MinCommit(Timestamp),
}

/// Asks for a transaction's outcome, at the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckTxn {
    pub head: TxnHead,
    /// Milliseconds since the epoch, by the proposer's clock.
    pub now_ms: u64,
    pub push: Push,
}

/// A final outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decided {
    Committed(Timestamp),
    Aborted,
}

/// Checks and commits what a transaction does at its primary, in one phase: the commit point. Where it writes other
/// partitions, too, those were prepared before its timestamp was taken, and the primary takes part last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitOnePhase {
    pub head: TxnHead,
    pub commit_ts: Timestamp,
    /// The term of the leadership under which the written keys were latched.
    pub epoch: u64,
    #[serde(with = "writes")]
    pub writes: BTreeMap<Key, Op>,
    pub reads: Vec<Span>,
    pub conditions: Vec<Condition>,
    /// Slots of other partitions, in which intents wait for this outcome.
    pub prepared: BTreeSet<u16>,
}

/// Slots in which nothing is left to resolve of a committed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    pub txn: TxnId,
    pub slots: BTreeSet<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    Prepare(Prepare),
    CheckTxn(CheckTxn),
    /// Turns a transaction's intents into versions, or drops them.
    ResolveIntents {
        txn: TxnId,
        decided: Decided,
    },
    /// What is resolved of some transactions; the record of one may go when no slot of it is left. At the primary.
    Forget(Vec<Resolved>),
    CommitOnePhase(CommitOnePhase),
    /// No one-phase commit at or below this is applied after it. Proposers give an issued timestamp.
    CloseTs {
        closed: Timestamp,
    },
    /// Outcomes of transactions that started at or below may be dropped; at most `max_records` are looked at.
    RecordFloor {
        floor: Timestamp,
        max_records: u32,
    },
    /// Versions hidden below may be dropped; at most `max_versions` are looked at.
    VersionFloor {
        floor: Timestamp,
        max_versions: u32,
    },
    /// Every replica notes its state digest as of this entry, so that those of one index can be compared.
    NoteDigest,
}

/// Why a transaction was refused; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// (a) A written key has a version above the start timestamp.
    WriteConflict { key: Key },
    /// (b) Something read has changed since.
    ReadConflict { key: Key },
    /// (c), (d') Another transaction, maybe undecided, is in the way.
    Intent { key: Key, holder: TxnHead },
    /// (d) A condition is false.
    ConditionFailed { key: Key, kind: ConditionKind },
    /// (d''') A condition's key changed above the commit timestamp.
    ConditionConflict { key: Key },
    /// The transaction started below what this partition still knows.
    TooOld,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrepareAnswer {
    Prepared,
    Refused(Refusal),
}

/// What a primary knows of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TxnStatus {
    Committed(Timestamp),
    Aborted,
    /// Below the record floor: final, and if committed then resolved everywhere.
    Gone,
    Pending,
    /// Undecided, and if it commits then above this snapshot.
    PendingAbove(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnePhaseAnswer {
    /// Also when an earlier attempt committed, then at its timestamp.
    Committed(Timestamp),
    /// Rolled back by someone else.
    Aborted,
    /// Refused for good: the tombstone is in the log.
    Refused(Refusal),
    /// No record, and below the record floor: an earlier attempt may have ended in any way.
    TooOld,
    /// Nothing happened; latch again and take another timestamp.
    Retry,
}

/// What applying a command answers to whoever proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Prepare(PrepareAnswer),
    CheckTxn(TxnStatus),
    Resolved,
    Forgotten,
    OnePhase(OnePhaseAnswer),
    Closed(Timestamp),
    /// How far the floor came, and the unfinished transaction that stops it.
    RecordFloor {
        floor: Timestamp,
        blocked_by: Option<TxnHead>,
    },
    VersionFloor {
        floor: Timestamp,
        /// Another command would drop more below it, as this one ended at its bound. What an intent holds does not count.
        more: bool,
    },
    DigestNoted,
}

/// Bytes that are no command or answer of this build's format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("partition log format {0} is not known to this build, which knows {FORMAT}: start a newer build")]
    Unknown(u8),
    #[error("a partition log entry is empty")]
    Empty,
    #[error("a partition log entry is damaged")]
    Damaged(#[source] postcard::Error),
}

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        decode(bytes)
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

/// Room for what most commands take: growing into it step by step copies them several times.
const MOST_BYTES: usize = 1_024;

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MOST_BYTES);
    bytes.push(FORMAT);
    postcard::to_extend(value, bytes).expect("writing to memory cannot fail, and every field has a postcard form")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    match bytes.split_first() {
        None => Err(FormatError::Empty),
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(FormatError::Damaged),
        Some((&other, _)) => Err(FormatError::Unknown(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_frozen() {
        let txn = TxnId {
            member: MemberId(3),
            incarnation: 1,
            counter: 300,
        };
        let head = TxnHead {
            txn,
            start_ts: Timestamp(200),
            primary: b"\0\x09p".to_vec(),
            deadline_ms: 1,
        };
        let long = vec![0xAB; 200];
        let writes = [
            (b"\0\x09p".to_vec(), Op::Put(long.clone())),
            (b"q".to_vec(), Op::Delete),
            (vec![], Op::PutTemporary(vec![])),
        ];
        let prepare = Command::Prepare(Prepare {
            head,
            writes: BTreeMap::from(writes),
            reads: vec![
                Span::Key(b"k".to_vec()),
                Span::Range {
                    from: b"a".to_vec(),
                    to: b"b".to_vec(),
                },
                Span::Slots {
                    first: 1,
                    last: 2,
                    suffix_from: vec![7],
                    suffix_to: vec![],
                },
            ],
            conditions: vec![Condition {
                key: b"c".to_vec(),
                kind: ConditionKind::Absent,
                guarded: true,
            }],
            min_commit_hint: Timestamp(5),
        });
        let bytes = prepare.encode();
        let head: &[u8] = &[2, 0, 3, 1, 172, 2, 200, 1, 3, 0, 9, b'p', 1];
        let writes: &[u8] = &[3, 0, 1, 0, 3, 0, 9, b'p', 0, 200, 1];
        let rest: &[u8] = &[
            1, b'q', 2, 3, 0, 1, b'k', 1, 1, b'a', 1, b'b', 2, 1, 2, 1, 7, 0, 1, 1, b'c', 1, 1, 5,
        ];
        let expected = [head, writes, &long, rest].concat();
        assert_eq!(bytes, expected);
        assert_eq!(Command::decode(&bytes), Ok(prepare));
        for cut in 1..bytes.len() {
            assert!(Command::decode(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}
