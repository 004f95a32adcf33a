//! Random requests that mostly hit what exists, and also what was deleted, never was, or is made on the way.

use std::collections::BTreeSet;
use std::ops::Range;

use kotoba_graph::id::EntityId;
use kotoba_graph::operation::{EntityRef, Operation};
use kotoba_graph::value::{Properties, Value};
use proptest::prelude::*;

use crate::model::Model;

pub const LABELS: [&str; 3] = ["A", "B", "A\0"];
pub const TYPES: [&str; 3] = ["K", "L", "K\0"];
const KEYS: [&str; 3] = ["p", "q", "$"];

/// An operation before its nodes and edges are chosen.
#[derive(Clone, Debug)]
pub struct Draft {
    kind: u8,
    picks: [u16; 2],
    labels: [BTreeSet<String>; 2],
    edge_type: String,
    properties: Properties,
    flag: bool,
}

pub fn names(of: [&'static str; 3]) -> impl Strategy<Value = String> {
    prop::sample::select(of.to_vec()).prop_map(String::from)
}

/// Few values, equal ones of different types among them.
pub fn values() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        Value::from(1),
        Value::from(1.0),
        Value::from(f64::NAN),
        Value::from("x"),
        Value::List(vec![Value::from(1), Value::from("x")]),
    ])
}

pub fn properties() -> impl Strategy<Value = Properties> {
    prop::collection::btree_map(names(KEYS), values(), 0..3)
}

/// What a [`Draft`] becomes, by its number.
pub const ANY: Range<u8> = 0..14;
pub const NEW_NODE: Range<u8> = 0..3;
pub const NEW_EDGE: Range<u8> = 6..11;

pub fn drafts(kinds: Range<u8>, count: Range<usize>) -> impl Strategy<Value = Vec<Draft>> {
    let labels = || prop::collection::btree_set(names(LABELS), 0..3);
    let draft = (
        kinds,
        any::<[u16; 2]>(),
        [labels(), labels()],
        names(TYPES),
        properties(),
        any::<bool>(),
    );
    let draft = draft.prop_map(|(kind, picks, labels, edge_type, properties, flag)| Draft {
        kind,
        picks,
        labels,
        edge_type,
        properties,
        flag,
    });
    prop::collection::vec(draft, count)
}

/// Chooses nodes and edges among those of the model and those that the request creates before.
pub fn request(drafts: Vec<Draft>, model: &Model) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut nodes: Vec<_> = model.nodes.keys().copied().map(EntityRef::Id).collect();
    let mut edges: Vec<_> = model.edges.keys().copied().map(EntityRef::Id).collect();
    for (at, draft) in drafts.into_iter().enumerate() {
        let operation = draft.finish(&nodes, &edges);
        match operation {
            Operation::CreateNode { .. } => nodes.push(EntityRef::Operation(at)),
            Operation::CreateEdge { .. } => edges.push(EntityRef::Operation(at)),
            Operation::UpdateNode { .. }
            | Operation::DeleteNode { .. }
            | Operation::UpdateEdge { .. }
            | Operation::DeleteEdge { .. } => {}
        }
        operations.push(operation);
    }
    operations
}

impl Draft {
    fn finish(self, nodes: &[EntityRef], edges: &[EntityRef]) -> Operation {
        let node = |at: usize| choose(nodes, self.picks[at]);
        let edge = choose(edges, self.picks[0]);
        let [labels, other_labels] = self.labels;
        match self.kind {
            0..=2 => Operation::CreateNode {
                labels,
                properties: self.properties,
            },
            3..=4 => Operation::UpdateNode {
                node: node(0),
                set: self.properties,
                remove_labels: &other_labels - &labels,
                add_labels: labels,
                replace: self.flag,
                expected: None,
            },
            5 => Operation::DeleteNode {
                node: node(0),
                detach: self.flag,
                expected: None,
            },
            6..=10 => Operation::CreateEdge {
                edge_type: self.edge_type,
                source: node(0),
                target: node(1),
                properties: self.properties,
            },
            11..=12 => Operation::UpdateEdge {
                edge,
                set: self.properties,
                replace: self.flag,
                expected: None,
            },
            _ => Operation::DeleteEdge { edge, expected: None },
        }
    }
}

/// One pick in 32 is an id that never was.
fn choose(known: &[EntityRef], pick: u16) -> EntityRef {
    let pick = usize::from(pick);
    if known.is_empty() || pick.is_multiple_of(32) {
        return EntityRef::Id(EntityId::for_node(1 << 40));
    }
    // Younger entities are picked more often, so that requests build on themselves.
    let from = if pick.is_multiple_of(3) { known.len() * 2 / 3 } else { 0 };
    known[from + pick % (known.len() - from)]
}
