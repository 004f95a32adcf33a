//! What a request does to the store, with nothing left to decide.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::cid::VersionCid;
use crate::id::EntityId;

/// The writes of one transaction, and what must hold when it commits besides its reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// New values; `None` deletes. Empty where the request undoes itself: then only the conditions matter.
    pub writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub conditions: Vec<Condition>,
    /// One per operation, in order.
    pub results: Vec<OperationResult>,
}

/// Something that must be so at the commit timestamp, without having been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub key: Vec<u8>,
    pub kind: ConditionKind,
    /// Whether every transaction that could break it reads a range, in the same partition, in which this mutation
    /// writes a key; then no refresh is needed. Of a node: its delete reads the ranges of its halves.
    pub guarded: bool,
    /// The operation that needs it, and the node it is about, for the error.
    pub operation: usize,
    pub id: EntityId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionKind {
    Exists,
    /// For unique indexes.
    Absent,
}

/// What one operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationResult {
    pub id: EntityId,
    /// The new version's; of a deletion, that of the version that was deleted.
    pub cid: VersionCid,
}

impl Condition {
    /// The refusal of the request where this condition does not hold.
    pub fn broken(&self) -> Error {
        Error::NodeNotFound {
            operation: self.operation,
            id: self.id,
        }
    }
}

impl Mutation {
    /// Bytes of all keys and values.
    pub fn size_bytes(&self) -> usize {
        let value_bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        self.writes
            .iter()
            .map(|(key, value)| key.len() + value_bytes(value))
            .sum()
    }
}
