//! The graph as plain maps, with operations done one after the other: slow, short and obviously right.

use std::collections::{BTreeMap, BTreeSet};

use kotoba_graph::id::EntityId;
use kotoba_graph::key;
use kotoba_graph::operation::{EntityRef, Operation, OperationResult};
use kotoba_graph::record::{EdgeRecord, Locator, NodeRecord};
use kotoba_graph::value::Properties;

use crate::store::Store;

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub nodes: BTreeMap<EntityId, NodeRecord>,
    pub edges: BTreeMap<EntityId, (Locator, EdgeRecord)>,
}

/// Why the model refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NodeNotFound,
    EdgeNotFound,
    HasEdges,
}

impl Model {
    /// Does a request; where an operation is refused, says which one and why.
    pub fn run(
        &mut self,
        operations: &[Operation],
        next_sequence: &mut u64,
    ) -> Result<Vec<OperationResult>, (usize, Refusal)> {
        let mut after = self.clone();
        let mut results: Vec<OperationResult> = Vec::new();
        for (at, operation) in operations.iter().enumerate() {
            let resolve = |reference: &EntityRef| match reference {
                EntityRef::Id(id) => *id,
                EntityRef::Operation(to) => results[*to].id,
            };
            let result = after
                .run_one(operation, resolve, next_sequence)
                .map_err(|refusal| (at, refusal))?;
            results.push(result);
        }
        *self = after;
        Ok(results)
    }

    fn run_one(
        &mut self,
        operation: &Operation,
        resolve: impl Fn(&EntityRef) -> EntityId,
        next_sequence: &mut u64,
    ) -> Result<OperationResult, Refusal> {
        match operation {
            Operation::CreateNode { labels, properties } => {
                let id = EntityId::for_node(take(next_sequence));
                Ok(self.put_node(id, labels.clone(), properties.clone()))
            }
            Operation::UpdateNode {
                node,
                set,
                add_labels,
                remove_labels,
                replace,
                ..
            } => {
                let id = resolve(node);
                let before = self.nodes.get(&id).ok_or(Refusal::NodeNotFound)?;
                let labels = before.labels.iter().chain(add_labels);
                let labels = labels.filter(|label| !remove_labels.contains(*label));
                let labels = labels.cloned().collect();
                let properties = merged(&before.properties, set, *replace);
                Ok(self.put_node(id, labels, properties))
            }
            Operation::DeleteNode { node, detach, .. } => self.delete_node(resolve(node), *detach),
            Operation::CreateEdge {
                edge_type,
                source,
                target,
                properties,
            } => {
                let locator = Locator {
                    edge_type: edge_type.clone(),
                    source: resolve(source),
                    target: resolve(target),
                };
                let id = EntityId::for_edge(take(next_sequence), locator.source.slot());
                let exists = |node| self.nodes.contains_key(node);
                if !exists(&locator.source) || !exists(&locator.target) {
                    return Err(Refusal::NodeNotFound);
                }
                Ok(self.put_edge(id, locator, properties.clone()))
            }
            Operation::UpdateEdge { edge, set, replace, .. } => {
                let id = resolve(edge);
                let (locator, before) = self.edges.get(&id).ok_or(Refusal::EdgeNotFound)?;
                let properties = merged(&before.properties, set, *replace);
                Ok(self.put_edge(id, locator.clone(), properties))
            }
            Operation::DeleteEdge { edge, .. } => {
                let id = resolve(edge);
                let (_, record) = self.edges.remove(&id).ok_or(Refusal::EdgeNotFound)?;
                let cid = record.cid;
                Ok(OperationResult { id, cid })
            }
        }
    }

    fn put_node(&mut self, id: EntityId, labels: BTreeSet<String>, properties: Properties) -> OperationResult {
        let record = NodeRecord::new(id, labels, properties).unwrap();
        let cid = record.cid;
        self.nodes.insert(id, record);
        OperationResult { id, cid }
    }

    fn put_edge(&mut self, id: EntityId, locator: Locator, properties: Properties) -> OperationResult {
        let record = EdgeRecord::new(id, &locator, properties).unwrap();
        let cid = record.cid;
        self.edges.insert(id, (locator, record));
        OperationResult { id, cid }
    }

    fn delete_node(&mut self, id: EntityId, detach: bool) -> Result<OperationResult, Refusal> {
        let cid = self.nodes.get(&id).ok_or(Refusal::NodeNotFound)?.cid;
        let touches = |locator: &Locator| locator.source == id || locator.target == id;
        if !detach && self.edges.values().any(|(locator, _)| touches(locator)) {
            return Err(Refusal::HasEdges);
        }
        self.edges.retain(|_, (locator, _)| !touches(locator));
        self.nodes.remove(&id);
        Ok(OperationResult { id, cid })
    }

    /// Every key that the graph must be stored as, and no other.
    pub fn stored(&self) -> Store {
        let mut store = Store::default();
        for (id, record) in &self.nodes {
            store.0.insert(key::node(*id), record.encode());
            for label in &record.labels {
                store.0.insert(key::label(label, *id), Vec::new());
            }
        }
        for (id, (locator, record)) in &self.edges {
            store.0.insert(key::locator(*id), locator.encode());
            store.0.insert(locator.out_half(*id), record.encode());
            store.0.insert(locator.in_half(*id), Vec::new());
        }
        store
    }
}

fn take(next_sequence: &mut u64) -> u64 {
    *next_sequence += 1;
    *next_sequence
}

fn merged(before: &Properties, set: &Properties, replace: bool) -> Properties {
    let kept = before.iter().filter(|_| !replace).chain(set);
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}
