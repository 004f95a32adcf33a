//! Shortens what a caller writes: each kind of operation and of query converts into the message that carries it.

use crate::v1::{
    CreateEdge, CreateNode, DeleteEdge, DeleteNode, EdgesOf, FindEdges, FindNodes, GetEdges, GetNodes, NodeRef,
    Operation, Query, Traverse, UpdateEdge, UpdateNode, node_ref, operation, query,
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

kinds!(Operation in operation: CreateNode, UpdateNode, DeleteNode, CreateEdge, UpdateEdge, DeleteEdge);
kinds!(Query in query: GetNodes, GetEdges, FindNodes, FindEdges, EdgesOf, Traverse);

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
