//! A model of the database in memory, which can be made to lie: the checkers are tested on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kotoba_proto::ContentId;
use kotoba_proto::cluster::OperationOutcome;
use kotoba_proto::v1::{
    CreateEdge, CreateNode, Direction, Edge, EdgesOf, GetStatusResponse, Node, NodeRef, Operation, Row, Traverse,
    node_ref, operation, query, row,
};

use super::{Answer, Database, Failure, Read};

#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Model>>);

#[derive(Default)]
struct Model {
    next: u64,
    nodes: BTreeMap<u64, Node>,
    edges: BTreeMap<u64, Edge>,
    hidden_incoming: BTreeSet<u64>,
}

impl Fake {
    pub fn lose_node(&self, id: u64) {
        self.0.lock().unwrap().nodes.remove(&id).unwrap();
    }

    pub fn lose_edge(&self, id: u64) {
        self.0.lock().unwrap().edges.remove(&id).unwrap();
    }

    pub fn hide_incoming(&self, edge: u64) {
        self.0.lock().unwrap().hidden_incoming.insert(edge);
    }

    pub fn change_cid(&self, node: u64) {
        self.0.lock().unwrap().nodes.get_mut(&node).unwrap().cid = Bytes::from_static(b"other");
    }

    pub fn set_property(&self, node: u64, key: &str, value: kotoba_proto::v1::Value) {
        let mut model = self.0.lock().unwrap();
        let node = model.nodes.get_mut(&node).unwrap();
        node.properties.insert(key.to_owned(), value);
    }

    pub fn duplicate(&self, node: u64) {
        let mut model = self.0.lock().unwrap();
        let copy = model.nodes[&node].clone();
        model.next += 1;
        let id = model.next;
        model.nodes.insert(id, Node { id, ..copy });
    }

    pub fn create_written(&self, serial: u64) {
        use crate::writer::{LABEL, SERIAL};
        let properties = [(SERIAL.to_owned(), (serial as i64).into())].into();
        self.0.lock().unwrap().create_node(CreateNode {
            labels: vec![LABEL.clone()],
            properties,
        });
    }

    /// The node with this label and property.
    pub fn find(&self, label: &str, key: &str, value: &kotoba_proto::v1::Value) -> u64 {
        let model = self.0.lock().unwrap();
        let found = model
            .nodes
            .values()
            .find(|node| node.labels.iter().any(|one| one == label) && node.properties.get(key) == Some(value));
        found.unwrap().id
    }

    pub fn any_edge(&self, kind: &str) -> u64 {
        let model = self.0.lock().unwrap();
        model.edges.values().find(|edge| edge.r#type == kind).unwrap().id
    }

    /// One transaction, without waiting.
    pub fn apply(&self, operations: Vec<Operation>) -> Vec<OperationOutcome> {
        let mut model = self.0.lock().unwrap();
        let mut outcomes: Vec<OperationOutcome> = Vec::new();
        for operation in operations {
            let id = match operation.kind.unwrap() {
                operation::Kind::CreateNode(node) => model.create_node(node),
                operation::Kind::CreateEdge(edge) => {
                    let end = |end: Option<NodeRef>| match end.unwrap().kind.unwrap() {
                        node_ref::Kind::Id(id) => id,
                        node_ref::Kind::Operation(index) => outcomes[index as usize].id,
                    };
                    let (source, target) = (end(edge.source), end(edge.target));
                    model.create_edge(edge, source, target)
                }
                other => panic!("the tests never send {other:?}"),
            };
            outcomes.push(OperationOutcome {
                id,
                cid: ContentId::from(cid(id)),
                bookmark: model.next,
            });
        }
        outcomes
    }
}

fn cid(id: u64) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

impl Model {
    fn create_node(&mut self, node: CreateNode) -> u64 {
        self.next += 1;
        let id = self.next;
        let node = Node {
            id,
            cid: cid(id),
            labels: node.labels,
            properties: node.properties,
        };
        self.nodes.insert(id, node);
        id
    }

    fn create_edge(&mut self, edge: CreateEdge, source: u64, target: u64) -> u64 {
        self.next += 1;
        let id = self.next;
        let edge = Edge {
            id,
            cid: cid(id),
            r#type: edge.r#type,
            source,
            target,
            properties: edge.properties,
        };
        self.edges.insert(id, edge);
        id
    }

    fn rows(&self, query: query::Kind) -> Vec<Row> {
        match query {
            query::Kind::FindNodes(find) => {
                let matches = |node: &&Node| {
                    (find.label.is_empty() || node.labels.contains(&find.label))
                        && find
                            .r#where
                            .iter()
                            .all(|one| node.properties.get(&one.key) == one.value.as_ref())
                };
                node_rows(self.nodes.values().filter(matches), 0)
            }
            query::Kind::GetNodes(get) => node_rows(get.ids.iter().filter_map(|id| self.nodes.get(id)), 0),
            query::Kind::FindEdges(find) => {
                let wanted = |edge: &&Edge| find.r#type.is_empty() || edge.r#type == find.r#type;
                edge_rows(self.edges.values().filter(wanted))
            }
            query::Kind::EdgesOf(of) => self.edges_of(&of),
            query::Kind::Traverse(traverse) => self.traverse(&traverse),
            query::Kind::GetEdges(_) | query::Kind::ShortestPath(_) => panic!("the tests never ask this"),
        }
    }

    fn edges_of(&self, of: &EdgesOf) -> Vec<Row> {
        let touches = |edge: &&Edge| {
            let out = edge.source == of.node;
            let into = edge.target == of.node && !self.hidden_incoming.contains(&edge.id);
            let wanted = match of.direction() {
                Direction::Both => out || into,
                Direction::Out => out,
                Direction::In => into,
            };
            wanted && (of.types.is_empty() || of.types.contains(&edge.r#type))
        };
        edge_rows(self.edges.values().filter(touches))
    }

    fn traverse(&self, traverse: &Traverse) -> Vec<Row> {
        let mut depth: BTreeMap<u64, u32> = traverse.start.iter().map(|id| (*id, 0)).collect();
        for step in 1..=traverse.max_depth {
            let border: Vec<u64> = depth
                .iter()
                .filter(|(_, at)| **at == step - 1)
                .map(|(id, _)| *id)
                .collect();
            for edge in self.edges.values().filter(|edge| traverse.types.contains(&edge.r#type)) {
                for (from, to) in [(edge.source, edge.target), (edge.target, edge.source)] {
                    if border.contains(&from) {
                        depth.entry(to).or_insert(step);
                    }
                }
            }
        }
        depth
            .iter()
            .flat_map(|(id, at)| node_rows(self.nodes.get(id).into_iter(), *at))
            .collect()
    }
}

fn node_rows<'a>(nodes: impl Iterator<Item = &'a Node>, depth: u32) -> Vec<Row> {
    nodes
        .map(|node| Row {
            kind: Some(row::Kind::Node(node.clone())),
            depth,
        })
        .collect()
}

fn edge_rows<'a>(edges: impl Iterator<Item = &'a Edge>) -> Vec<Row> {
    edges
        .map(|edge| Row {
            kind: Some(row::Kind::Edge(edge.clone())),
            depth: 0,
        })
        .collect()
}

impl Database for Fake {
    async fn execute(&self, operations: Vec<Operation>) -> Result<Vec<OperationOutcome>, Failure> {
        Ok(self.apply(operations))
    }

    async fn ask(&self, query: query::Kind, _read: Read) -> Result<Answer, Failure> {
        let model = self.0.lock().unwrap();
        Ok(Answer {
            rows: model.rows(query),
            snapshot: model.next,
        })
    }

    async fn count(&self, query: query::Kind) -> Result<u64, Failure> {
        Ok(self.0.lock().unwrap().rows(query).len() as u64)
    }

    async fn status(&self) -> Result<GetStatusResponse, Failure> {
        Ok(GetStatusResponse::default())
    }
}
