//! The database as its users see it: the one narrow door through which the tests write and read.
//!
//! `member::Member` is the real one over the client library; `fake::Fake` is a model that the checkers are tested on.

pub mod member;
pub mod status;

#[cfg(test)]
pub mod fake;

use std::future::Future;

use kotoba_proto::cluster::OperationOutcome;
use kotoba_proto::v1::{
    Direction, Edge, EdgesOf, FindEdges, FindNodes, GetNodes, GetStatusResponse, Node, Operation, PropertyEquals,
    Query, Row, Traverse, Value, query, row,
};

/// Why a call gave no answer, as far as a writer must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is certain that nothing was applied.
    NotApplied(String),
    /// A write may have been applied.
    Unknown(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::NotApplied(reason) => write!(out, "{reason}"),
            Failure::Unknown(reason) => write!(out, "outcome unknown: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}

/// How new a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The newest state.
    Strong,
    /// Any replica that has this bookmark.
    After(u64),
}

/// All rows of a query.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub rows: Vec<Row>,
    /// Timestamp of the snapshot it was read at.
    pub snapshot: u64,
}

impl Answer {
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.rows.iter().filter_map(|row| match &row.kind {
            Some(row::Kind::Node(node)) => Some(node),
            Some(row::Kind::Edge(_)) | None => None,
        })
    }

    pub fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.rows.iter().filter_map(|row| match &row.kind {
            Some(row::Kind::Edge(edge)) => Some(edge),
            Some(row::Kind::Node(_)) | None => None,
        })
    }
}

/// A connection to a cluster.
pub trait Database: Clone + Send + Sync + 'static {
    /// One transaction; one outcome per operation, in order.
    fn execute(
        &self,
        operations: Vec<Operation>,
    ) -> impl Future<Output = Result<Vec<OperationOutcome>, Failure>> + Send;

    /// One query, to its end.
    fn ask(&self, query: query::Kind, read: Read) -> impl Future<Output = Result<Answer, Failure>> + Send;

    /// Number of rows of a query, in the newest state.
    fn count(&self, query: query::Kind) -> impl Future<Output = Result<u64, Failure>> + Send;

    fn status(&self) -> impl Future<Output = Result<GetStatusResponse, Failure>> + Send;
}

pub fn query(kind: query::Kind) -> Query {
    Query { kind: Some(kind) }
}

/// All nodes of a label whose properties equal these.
pub fn nodes_with(label: &str, equals: Vec<(&str, Value)>) -> query::Kind {
    query::Kind::FindNodes(FindNodes {
        label: label.to_owned(),
        r#where: equals
            .into_iter()
            .map(|(key, value)| PropertyEquals {
                key: key.to_owned(),
                value: Some(value),
            })
            .collect(),
        ..FindNodes::default()
    })
}

/// All edges of a type.
pub fn edges_of_type(kind: &str) -> query::Kind {
    query::Kind::FindEdges(FindEdges {
        r#type: kind.to_owned(),
        ..FindEdges::default()
    })
}

pub fn nodes_by_id(ids: Vec<u64>) -> query::Kind {
    query::Kind::GetNodes(GetNodes { ids })
}

/// The edges of a node in one direction.
pub fn edges_of(node: u64, direction: Direction, kind: &str) -> query::Kind {
    query::Kind::EdgesOf(EdgesOf {
        node,
        direction: direction.into(),
        types: vec![kind.to_owned()],
        ..EdgesOf::default()
    })
}

/// Everything that is reachable over edges of a type, whatever their direction.
pub fn reachable(start: u64, kind: &str, max_depth: u32) -> query::Kind {
    query::Kind::Traverse(Traverse {
        start: vec![start],
        direction: Direction::Both.into(),
        types: vec![kind.to_owned()],
        min_depth: 0,
        max_depth,
        ..Traverse::default()
    })
}
