//! Writes: a request of operations that applies whole or not at all, turned into one mutation of the store.
//!
//! [`Batch`] is a machine without I/O: [`Batch::advance`] says what to read, the caller reads it in the
//! transaction's snapshot (those reads are the transaction's read set) and feeds the answers back, until the
//! [`Mutation`] is done. Creating reads nothing: fresh ids cannot exist, and ends of edges become conditions.

mod apply;
mod batch;
mod error;
mod load;
mod mutation;
mod overlay;

use std::collections::BTreeSet;

pub use batch::{Batch, Step};
pub use error::Error;
pub use mutation::{Condition, ConditionKind, Mutation, OperationResult};

use crate::cid::VersionCid;
use crate::id::EntityId;
use crate::value::Properties;

/// Operations of one request: it bounds the keys that one transaction holds.
pub const MAX_OPERATIONS: usize = 1_000;
/// Edges that the detaching deletes of one request remove; a larger node is emptied in several requests.
pub const MAX_DETACHED_EDGES: usize = 100_000;
/// Keys and values of one mutation: it has to fit a few log entries of the partitions it touches.
pub const MAX_MUTATION_BYTES: usize = 32 << 20;

/// A node or an edge that an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityRef {
    /// One that exists.
    Id(EntityId),
    /// The one that an earlier operation of the same request creates, by its index.
    Operation(usize),
}

/// One change of the graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    CreateNode {
        labels: BTreeSet<String>,
        properties: Properties,
    },
    /// What is not named stays, but `replace` drops every property that `set` does not name. Null removes one.
    ///
    /// Here and below: refused where a version is `expected` and the entity has another.
    UpdateNode {
        node: EntityRef,
        set: Properties,
        add_labels: BTreeSet<String>,
        remove_labels: BTreeSet<String>,
        replace: bool,
        expected: Option<VersionCid>,
    },
    /// Refused where the node has edges, unless `detach` deletes them with it.
    DeleteNode {
        node: EntityRef,
        detach: bool,
        expected: Option<VersionCid>,
    },
    CreateEdge {
        edge_type: String,
        source: EntityRef,
        target: EntityRef,
        properties: Properties,
    },
    /// As [`Operation::UpdateNode`].
    UpdateEdge {
        edge: EntityRef,
        set: Properties,
        replace: bool,
        expected: Option<VersionCid>,
    },
    DeleteEdge {
        edge: EntityRef,
        expected: Option<VersionCid>,
    },
}

impl Operation {
    /// Whether a node or an edge comes of it, which takes a sequence.
    pub fn creates(&self) -> bool {
        match self {
            Operation::CreateNode { .. } | Operation::CreateEdge { .. } => true,
            Operation::UpdateNode { .. }
            | Operation::DeleteNode { .. }
            | Operation::UpdateEdge { .. }
            | Operation::DeleteEdge { .. } => false,
        }
    }
}
