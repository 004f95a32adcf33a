//! Reads: a query turned into reads of the store and a stream of rows.
//!
//! [`Plan`] is a machine without I/O: each [`Plan::advance`] takes the answers to the last step's reads and gives
//! the rows that are known now, and what to read next. Memory is bounded by pages, whatever the graph's size.

mod budget;
mod check;
mod cursor;
mod error;
mod fetch;
mod filter;
mod gather;
mod order;
mod path;
mod plan;
mod scans;
mod top;
mod traverse;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use budget::row_bytes;
pub use cursor::{Cursor, CursorError, Position};
pub use error::Error;
pub use filter::{Filter, NodeFilter, Test};
pub use order::OrderBy;
pub use plan::{Plan, QueryStep, Terms};

use crate::id::EntityId;
use crate::record::{EdgeRecord, Locator, NodeRecord};

/// Ids that one query names.
pub const MAX_IDS: usize = 10_000;
/// Edge types that one query names; each is a scan of its own per node.
pub const MAX_TYPES: usize = 64;
/// Property filters of one query.
pub const MAX_FILTERS: usize = 64;
/// Properties that one query is ordered by; more than any use we know.
pub const MAX_ORDER: usize = 16;
/// Depth of a traversal and length of a path; deeper than any use we know, and a bound on its rounds.
pub const MAX_DEPTH: u32 = 32;
/// Nodes that one traversal or search for a path remembers: at most about 64 MB.
pub const MAX_VISITED: usize = 1_000_000;
/// Most pairs of one page of a scan.
pub const PAGE_PAIRS: usize = 1_024;
/// Most gets of one step; where values are large it is fewer, see [`budget`].
pub const GETS_PER_STEP: usize = 1_024;
/// Most scans of one step: with [`PAGE_PAIRS`] it bounds the pairs in memory to about 260,000 keys.
pub const SCANS_PER_STEP: usize = 256;
/// What rows that a query holds to order them may take unless its caller says otherwise.
pub const DEFAULT_MEMORY_BYTES: usize = 32 << 20;

/// A question to the graph. Its stored form names it in cursors: new variants and fields go to the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Query {
    /// One row per distinct id that exists, in the order of the ids.
    GetNodes {
        ids: Vec<EntityId>,
    },
    /// One row per distinct id that exists, in the order of the ids.
    GetEdges {
        ids: Vec<EntityId>,
    },
    /// All nodes with the label (`None`: all nodes) for which all filters hold.
    FindNodes {
        label: Option<String>,
        filters: Vec<Filter>,
        limit: Option<u64>,
    },
    /// All edges of the type (`None`: all edges) for which all filters hold.
    FindEdges {
        edge_type: Option<String>,
        filters: Vec<Filter>,
        limit: Option<u64>,
    },
    /// The edges of one node for which all filters hold, each once; no types: all types.
    EdgesOf {
        node: EntityId,
        direction: Direction,
        types: BTreeSet<String>,
        filters: Vec<Filter>,
        limit: Option<u64>,
    },
    Traverse(Traversal),
    ShortestPath(PathQuery),
}

/// Breadth first from the start nodes that exist: each node once, at its smallest depth. The start has depth 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traversal {
    pub start: Vec<EntityId>,
    pub direction: Direction,
    /// Only edges of these types are followed; none: all.
    pub types: BTreeSet<String>,
    /// Only edges for which all of these hold are followed.
    pub edges: Vec<Filter>,
    /// Only these nodes become rows.
    pub nodes: NodeFilter,
    /// Where a node that is no row by `nodes` is not walked through either. The start always is.
    pub prune: bool,
    /// At most this many edges of one node are looked at, of each direction and each type named, in the order of their
    /// keys: a bound on the work that one node with very many edges can make.
    pub fan_out: Option<u32>,
    pub min_depth: u32,
    /// 1 to [`MAX_DEPTH`].
    pub max_depth: u32,
    pub limit: Option<u64>,
}

/// One shortest path: node, edge, node and so on, each row with the number of edges up to it as its depth; no rows
/// where there is none of at most `max_depth` edges. From a node to itself it is that node.
///
/// Of several shortest paths it is always the same one in the same snapshot: of the nodes where the searches from both
/// ends meet the one with the smallest id, and from there to either end at each node the edge with the smallest id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PathQuery {
    pub from: EntityId,
    pub to: EntityId,
    /// As seen from `from`.
    pub direction: Direction,
    /// Only edges of these types; none: all.
    pub types: BTreeSet<String>,
    /// 1 to [`MAX_DEPTH`].
    pub max_depth: u32,
}

/// Which of a node's edges are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    #[default]
    Both,
    Out,
    In,
}

/// One row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub entity: Entity,
    /// Of a traversal or a path; else 0.
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

impl Query {
    /// The most rows that are asked for.
    pub fn limit(&self) -> Option<u64> {
        match self {
            Query::GetNodes { .. } | Query::GetEdges { .. } | Query::ShortestPath(_) => None,
            Query::FindNodes { limit, .. } | Query::FindEdges { limit, .. } | Query::EdgesOf { limit, .. } => *limit,
            Query::Traverse(traversal) => traversal.limit,
        }
    }

    fn limit_mut(&mut self) -> Option<&mut Option<u64>> {
        match self {
            Query::GetNodes { .. } | Query::GetEdges { .. } | Query::ShortestPath(_) => None,
            Query::FindNodes { limit, .. } | Query::FindEdges { limit, .. } | Query::EdgesOf { limit, .. } => {
                Some(limit)
            }
            Query::Traverse(traversal) => Some(&mut traversal.limit),
        }
    }
}

impl Direction {
    /// The same edges, seen from their other end.
    pub fn reversed(self) -> Self {
        match self {
            Direction::Both => Direction::Both,
            Direction::Out => Direction::In,
            Direction::In => Direction::Out,
        }
    }
}

impl Entity {
    pub fn id(&self) -> EntityId {
        match self {
            Entity::Node { id, .. } | Entity::Edge { id, .. } => *id,
        }
    }

    pub fn properties(&self) -> &crate::value::Properties {
        match self {
            Entity::Node { record, .. } => &record.properties,
            Entity::Edge { record, .. } => &record.properties,
        }
    }
}
