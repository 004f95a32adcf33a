//! The part of the graph that a request touches: what is stored, and what it is after the operations so far.

use std::collections::{BTreeMap, BTreeSet};

use super::{Condition, ConditionKind};
use crate::id::EntityId;
use crate::key;
use crate::record::{EdgeRecord, Locator, NodeRecord};

type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

#[derive(Debug, Default)]
pub struct Overlay {
    nodes: BTreeMap<EntityId, NodeState>,
    edges: BTreeMap<EntityId, EdgeState>,
    /// The edges in `edges` by their ends; deleted ones too.
    edges_of: BTreeMap<EntityId, BTreeSet<EntityId>>,
    /// Nodes that were not read but must exist, with the first operation that needs each.
    required: BTreeMap<EntityId, usize>,
}

#[derive(Debug)]
struct NodeState {
    stored: Option<NodeRecord>,
    current: Option<NodeRecord>,
}

#[derive(Debug)]
struct EdgeState {
    locator: Locator,
    stored: bool,
    current: EdgeContent,
}

#[derive(Debug)]
enum EdgeContent {
    /// It is in the store, and only its being there matters so far.
    Unread,
    Stored(EdgeRecord),
    New(EdgeRecord),
    Deleted,
}

impl Overlay {
    pub fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// Remembers what the store holds for a node.
    pub fn load_node(&mut self, id: EntityId, stored: Option<NodeRecord>) {
        let current = stored.clone();
        self.nodes.insert(id, NodeState { stored, current });
    }

    /// Remembers that the store holds an edge; its record may come later, or never.
    pub fn load_edge(&mut self, id: EntityId, locator: Locator, record: Option<EdgeRecord>) {
        let content = record.map_or(EdgeContent::Unread, EdgeContent::Stored);
        let keeps_record = matches!(content, EdgeContent::Unread) && self.edges.contains_key(&id);
        if !keeps_record {
            self.insert_edge(id, locator, true, content);
        }
    }

    fn insert_edge(&mut self, id: EntityId, locator: Locator, stored: bool, current: EdgeContent) {
        for end in [locator.source, locator.target] {
            self.edges_of.entry(end).or_default().insert(id);
        }
        let state = EdgeState {
            locator,
            stored,
            current,
        };
        self.edges.insert(id, state);
    }

    /// A node that was read or created, as it is now.
    pub fn node(&self, id: EntityId) -> Option<&NodeRecord> {
        self.nodes.get(&id)?.current.as_ref()
    }

    /// Whether a node exists as far as is known; one that was not read becomes a condition.
    pub fn require_node(&mut self, id: EntityId, operation: usize) -> bool {
        match self.nodes.get(&id) {
            Some(state) => state.current.is_some(),
            None => {
                self.required.entry(id).or_insert(operation);
                true
            }
        }
    }

    /// An edge that was read or created, as it is now.
    pub fn edge(&self, id: EntityId) -> Option<(&Locator, &EdgeRecord)> {
        let state = self.edges.get(&id)?;
        match &state.current {
            EdgeContent::Stored(record) | EdgeContent::New(record) => Some((&state.locator, record)),
            EdgeContent::Unread => {
                unreachable!("the record of every edge that an operation names is read first")
            }
            EdgeContent::Deleted => None,
        }
    }

    /// The edges of a node that was scanned, as they are now.
    pub fn edges_of(&self, node: EntityId) -> Vec<EntityId> {
        let ids = self.edges_of.get(&node).into_iter().flatten();
        ids.filter(|id| !matches!(self.edges[id].current, EdgeContent::Deleted))
            .copied()
            .collect()
    }

    pub fn put_node(&mut self, id: EntityId, record: NodeRecord) {
        let state = self.nodes.entry(id).or_insert(NodeState {
            stored: None,
            current: None,
        });
        state.current = Some(record);
    }

    pub fn delete_node(&mut self, id: EntityId) {
        if let Some(state) = self.nodes.get_mut(&id) {
            state.current = None;
        }
    }

    pub fn create_edge(&mut self, id: EntityId, locator: Locator, record: EdgeRecord) {
        self.insert_edge(id, locator, false, EdgeContent::New(record));
    }

    pub fn update_edge(&mut self, id: EntityId, record: EdgeRecord) {
        if let Some(state) = self.edges.get_mut(&id) {
            state.current = EdgeContent::New(record);
        }
    }

    pub fn delete_edge(&mut self, id: EntityId) {
        if let Some(state) = self.edges.get_mut(&id) {
            state.current = EdgeContent::Deleted;
        }
    }

    /// The difference between what is stored and what is now.
    pub fn writes(&self) -> Writes {
        let mut writes = Writes::new();
        for (id, state) in &self.nodes {
            state.write(*id, &mut writes);
        }
        for (id, state) in &self.edges {
            state.write(*id, &mut writes);
        }
        writes
    }

    /// What must hold for nodes that were not read.
    pub fn conditions(&self, writes: &Writes) -> Vec<Condition> {
        let required = self.required.iter();
        required
            .map(|(id, operation)| Condition {
                key: key::node(*id),
                kind: ConditionKind::Exists,
                guarded: writes_a_half(*id, writes),
                operation: *operation,
                id: *id,
            })
            .collect()
    }
}

/// Whether there is a write in a range that the node's delete reads. Without one (an edge that the same request
/// creates and deletes) nothing stops a concurrent delete of the node, and the condition needs a refresh.
fn writes_a_half(node: EntityId, writes: &Writes) -> bool {
    let ranges = [key::out_halves(node, None), key::in_halves(node, None)];
    ranges
        .into_iter()
        .any(|range| writes.range(range.from..range.to).next().is_some())
}

impl NodeState {
    fn write(&self, id: EntityId, writes: &mut Writes) {
        if self.stored.is_none() && self.current.is_none() {
            return;
        }
        let record = self.current.as_ref().map(NodeRecord::encode);
        writes.insert(key::node(id), record);
        let none = BTreeSet::new();
        let before = self.stored.as_ref().map_or(&none, |record| &record.labels);
        let after = self.current.as_ref().map_or(&none, |record| &record.labels);
        for label in before.difference(after) {
            writes.insert(key::label(label, id), None);
        }
        for label in after.difference(before) {
            writes.insert(key::label(label, id), Some(Vec::new()));
        }
    }
}

impl EdgeState {
    fn write(&self, id: EntityId, writes: &mut Writes) {
        match (&self.current, self.stored) {
            (EdgeContent::New(record), true) => {
                writes.insert(self.locator.out_half(id), Some(record.encode()));
            }
            (EdgeContent::New(record), false) => {
                writes.insert(self.locator.out_half(id), Some(record.encode()));
                writes.insert(self.locator.in_half(id), Some(Vec::new()));
                writes.insert(key::locator(id), Some(self.locator.encode()));
            }
            (EdgeContent::Deleted, true) => {
                writes.insert(self.locator.out_half(id), None);
                writes.insert(self.locator.in_half(id), None);
                writes.insert(key::locator(id), None);
            }
            (EdgeContent::Deleted, false) | (EdgeContent::Unread | EdgeContent::Stored(_), _) => {}
        }
    }
}
