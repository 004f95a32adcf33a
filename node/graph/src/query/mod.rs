//! Reads: a query turned into reads of the store and a stream of rows.
//!
//! [`Plan`] is a machine without I/O: each [`Plan::advance`] takes the answers to the last step's reads and gives
//! the rows that are known now, and what to read next. Memory is bounded by pages, whatever the graph's size.

mod check;
mod gather;
mod plan;
mod traverse;

use std::collections::BTreeSet;

pub use plan::{Plan, QueryStep};

use crate::id::EntityId;
use crate::record::{EdgeRecord, Locator, NodeRecord};
use crate::value::Value;
use crate::{limits, read};

/// Ids that one query names.
pub const MAX_IDS: usize = 10_000;
/// Edge types that one query names; each is a scan of its own per node.
pub const MAX_TYPES: usize = 64;
/// Property filters of one query.
pub const MAX_FILTERS: usize = 64;
/// Depth of a traversal; deeper than any use we know, and a bound on its rounds.
pub const MAX_DEPTH: u32 = 32;
/// Nodes that one traversal remembers: about 16 MB.
pub const MAX_VISITED: usize = 1_000_000;
/// Most pairs of one page of a scan.
pub const PAGE_PAIRS: usize = 1_024;
/// Most gets of one step.
pub const GETS_PER_STEP: usize = 1_024;
/// Most scans of one step: with [`PAGE_PAIRS`] it bounds the pairs in memory to about 260,000 keys.
pub const SCANS_PER_STEP: usize = 256;

/// A question to the graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// One row per distinct id that exists, in the order of the ids.
    GetNodes { ids: Vec<EntityId> },
    /// One row per distinct id that exists, in the order of the ids.
    GetEdges { ids: Vec<EntityId> },
    /// All nodes with the label (`None`: all nodes) whose properties equal all filters.
    FindNodes {
        label: Option<String>,
        filters: Vec<PropertyEquals>,
        limit: Option<u64>,
    },
    /// All edges of the type (`None`: all edges) whose properties equal all filters.
    FindEdges {
        edge_type: Option<String>,
        filters: Vec<PropertyEquals>,
        limit: Option<u64>,
    },
    /// The edges of one node, each once; no types: all types.
    EdgesOf {
        node: EntityId,
        direction: Direction,
        types: BTreeSet<String>,
        limit: Option<u64>,
    },
    /// Breadth first from the start nodes that exist: each node once, at its smallest depth. The start has depth 0.
    Traverse {
        start: Vec<EntityId>,
        direction: Direction,
        types: BTreeSet<String>,
        min_depth: u32,
        /// 1 to [`MAX_DEPTH`].
        max_depth: u32,
        limit: Option<u64>,
    },
}

/// Which of a node's edges are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Both,
    Out,
    In,
}

/// Holds where the property exists and openCypher's `=` is true.
#[derive(Clone, Debug, PartialEq)]
pub struct PropertyEquals {
    pub key: String,
    pub value: Value,
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub entity: Entity,
    /// Of a traversal; else 0.
    pub depth: u32,
}

/// A node or an edge as a query gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Entity {
    Node {
        id: EntityId,
        record: NodeRecord,
    },
    Edge {
        id: EntityId,
        locator: Locator,
        record: EdgeRecord,
    },
}

/// A query cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a query names {0} ids: give it at most {MAX_IDS}")]
    Ids(usize),
    #[error("a query names {0} edge types: give it at most {MAX_TYPES}")]
    Types(usize),
    #[error("a query has {0} property filters: give it at most {MAX_FILTERS}")]
    Filters(usize),
    #[error("a traversal goes from depth {min} to {max}: let it end at 1 to {MAX_DEPTH}, not before it begins")]
    Depth { min: u32, max: u32 },
    #[error("the query is refused")]
    Name(#[from] limits::Error),
    #[error("a traversal reached more than {MAX_VISITED} nodes: lower its depth, name edge types or give it a limit")]
    Visited,
    #[error(transparent)]
    Read(#[from] read::Error),
}
