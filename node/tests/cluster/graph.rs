//! Operations and queries, as short as a test wants to write them.

use std::collections::BTreeMap;

use kotoba_proto::ContentId;
use kotoba_proto::v1::{
    CreateEdge, CreateNode, DeleteEdge, DeleteNode, Direction, Edge, EdgesOf, FindEdges, FindNodes, GetEdges, GetNodes,
    Node, NodeRef, Operation, PropertyEquals, Query, Row, Traverse, UpdateEdge, UpdateNode, Value, row,
};

pub type Properties = BTreeMap<String, Value>;

pub fn properties<const N: usize>(entries: [(&str, Value); N]) -> Properties {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

pub fn create_node<const N: usize>(label: &str, entries: [(&str, Value); N]) -> Operation {
    let labels = vec![label.to_owned()];
    let properties = properties(entries);
    CreateNode { labels, properties }.into()
}

pub fn update_node<const N: usize>(id: u64, entries: [(&str, Value); N]) -> Operation {
    let update = UpdateNode {
        id,
        set_properties: properties(entries),
        ..UpdateNode::default()
    };
    update.into()
}

pub fn delete_node(id: u64, detach: bool) -> Operation {
    DeleteNode {
        id,
        detach,
        ..DeleteNode::default()
    }
    .into()
}

pub fn create_edge(edge_type: &str, source: u64, target: u64) -> Operation {
    create_edge_between(edge_type, NodeRef::id(source), NodeRef::id(target))
}

pub fn create_edge_between(edge_type: &str, source: NodeRef, target: NodeRef) -> Operation {
    let edge = CreateEdge {
        r#type: edge_type.to_owned(),
        source: Some(source),
        target: Some(target),
        properties: Properties::new(),
    };
    edge.into()
}

pub fn update_edge<const N: usize>(id: u64, entries: [(&str, Value); N]) -> Operation {
    let update = UpdateEdge {
        id,
        set_properties: properties(entries),
        ..UpdateEdge::default()
    };
    update.into()
}

pub fn delete_edge(id: u64) -> Operation {
    DeleteEdge {
        id,
        ..DeleteEdge::default()
    }
    .into()
}

pub fn get_nodes(ids: impl IntoIterator<Item = u64>) -> Query {
    let ids = ids.into_iter().collect();
    GetNodes { ids }.into()
}

pub fn get_edges(ids: impl IntoIterator<Item = u64>) -> Query {
    let ids = ids.into_iter().collect();
    GetEdges { ids }.into()
}

pub fn find_nodes<const N: usize>(label: &str, wanted: [(&str, Value); N]) -> Query {
    let find = FindNodes {
        label: label.to_owned(),
        r#where: equals(wanted),
        ..FindNodes::default()
    };
    find.into()
}

pub fn find_edges(edge_type: &str) -> Query {
    let find = FindEdges {
        r#type: edge_type.to_owned(),
        ..FindEdges::default()
    };
    find.into()
}

pub fn edges_of(node: u64, direction: Direction) -> Query {
    let edges = EdgesOf {
        node,
        direction: direction.into(),
        ..EdgesOf::default()
    };
    edges.into()
}

pub fn traverse(start: u64, direction: Direction, depths: (u32, u32)) -> Query {
    let traverse = Traverse {
        start: vec![start],
        direction: direction.into(),
        min_depth: depths.0,
        max_depth: depths.1,
        ..Traverse::default()
    };
    traverse.into()
}

fn equals<const N: usize>(wanted: [(&str, Value); N]) -> Vec<PropertyEquals> {
    let filter = |(key, value): (&str, Value)| PropertyEquals {
        key: key.to_owned(),
        value: Some(value),
    };
    wanted.into_iter().map(filter).collect()
}

/// The nodes of an answer, by id.
pub fn nodes(rows: Vec<Row>) -> BTreeMap<u64, Node> {
    let node = |row: Row| match row.kind {
        Some(row::Kind::Node(node)) => (node.id, node),
        other => panic!("not a node: {other:?}"),
    };
    rows.into_iter().map(node).collect()
}

/// The edges of an answer, by id.
pub fn edges(rows: Vec<Row>) -> BTreeMap<u64, Edge> {
    let edge = |row: Row| match row.kind {
        Some(row::Kind::Edge(edge)) => (edge.id, edge),
        other => panic!("not an edge: {other:?}"),
    };
    rows.into_iter().map(edge).collect()
}

pub fn cid(bytes: &bytes::Bytes) -> ContentId {
    bytes.clone().into()
}
