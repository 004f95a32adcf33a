//! Shortens what a caller writes: each kind of operation and of query converts into the message that carries it, and a row
//! into what it holds.

use crate::cluster::Search;
use crate::v1::{
    CreateEdge, CreateNode, DeleteEdge, DeleteNode, Edge, EdgesOf, FindEdges, FindNodes, GetEdges, GetNodes, Node,
    NodeRef, Operation, OrderBy, PropertyFilter, Query, Row, ShortestPath, Traverse, UpdateEdge, UpdateNode, node_ref,
    operation, property_filter, query, row,
};

macro_rules! kinds {
    ($message:ident in $module:ident: $($kind:ident),*) => {$(
        impl From<$kind> for $message {
            fn from(kind: $kind) -> Self {
                $message { kind: Some($module::Kind::$kind(kind)) }
            }
        }
    )*};
}

macro_rules! searches {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Search {
            fn from(kind: $kind) -> Self {
                Query::from(kind).into()
            }
        }
    )*};
}

kinds!(Operation in operation: CreateNode, UpdateNode, DeleteNode, CreateEdge, UpdateEdge, DeleteEdge);
kinds!(Query in query: GetNodes, GetEdges, FindNodes, FindEdges, EdgesOf, Traverse, ShortestPath);
searches!(
    GetNodes,
    GetEdges,
    FindNodes,
    FindEdges,
    EdgesOf,
    Traverse,
    ShortestPath
);

impl NodeRef {
    /// A node that exists.
    pub fn id(id: u64) -> Self {
        NodeRef {
            kind: Some(node_ref::Kind::Id(id)),
        }
    }

    /// The node that an earlier operation of the same transaction creates.
    pub fn operation(index: u32) -> Self {
        NodeRef {
            kind: Some(node_ref::Kind::Operation(index)),
        }
    }
}

impl PropertyFilter {
    pub fn new(key: impl Into<String>, test: property_filter::Test) -> Self {
        PropertyFilter {
            key: key.into(),
            test: Some(test),
        }
    }
}

impl OrderBy {
    pub fn ascending(property: impl Into<String>) -> Self {
        OrderBy {
            property: property.into(),
            descending: false,
        }
    }

    pub fn descending(property: impl Into<String>) -> Self {
        OrderBy {
            property: property.into(),
            descending: true,
        }
    }
}

impl Row {
    /// The node, where the row is one.
    pub fn into_node(self) -> Option<Node> {
        match self.kind {
            Some(row::Kind::Node(node)) => Some(node),
            Some(row::Kind::Edge(_)) | None => None,
        }
    }

    /// The edge, where the row is one.
    pub fn into_edge(self) -> Option<Edge> {
        match self.kind {
            Some(row::Kind::Edge(edge)) => Some(edge),
            Some(row::Kind::Node(_)) | None => None,
        }
    }
}
