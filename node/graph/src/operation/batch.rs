//! The machine: assigns ids, asks for what must be known, does the operations in order.

use std::collections::BTreeMap;

use super::load::{self, Load};
use super::overlay::Overlay;
use super::{EntityRef, Error, MAX_MUTATION_BYTES, MAX_OPERATIONS, Mutation, Operation, apply};
use crate::id::{EntityId, Slot};
use crate::read::{Answer, Read, match_up};

/// A request under way.
#[derive(Debug)]
pub struct Batch {
    operations: Vec<Operation>,
    ids: Ids,
    overlay: Overlay,
    asked: Vec<Load>,
    started: bool,
}

/// What a batch wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Independent reads: answer each at its position.
    Read(Vec<Read>),
    Done(Mutation),
}

impl Batch {
    /// Checks what can be checked without reading, and gives every created entity its id.
    ///
    /// New nodes live in the slot that is named; where none is, anywhere. `sequences` gives one that was never given before; it
    /// is called once per creation, in order.
    pub fn new(
        operations: Vec<Operation>,
        slot: Option<Slot>,
        sequences: &mut dyn FnMut() -> u64,
    ) -> Result<Self, Error> {
        if !(1..=MAX_OPERATIONS).contains(&operations.len()) {
            return Err(Error::OperationCount(operations.len()));
        }
        let mut ids = Ids::default();
        for (at, operation) in operations.iter().enumerate() {
            check(at, operation, &ids)?;
            ids.assign(at, operation, slot, sequences)?;
        }
        Ok(Batch {
            operations,
            ids,
            overlay: Overlay::default(),
            asked: Vec::new(),
            started: false,
        })
    }

    /// Takes the answers to the reads of the last step, first none. Not to be called again after `Done`.
    pub fn advance(&mut self, answers: Vec<Answer>) -> Result<Step, Error> {
        let mut wanted = Vec::new();
        if !self.started {
            self.started = true;
            wanted = load::first_round(&self.operations, &self.ids)?;
        }
        for (load, answer) in match_up(std::mem::take(&mut self.asked), answers)? {
            wanted.extend(load::absorb(&mut self.overlay, load, answer)?);
        }
        if wanted.is_empty() {
            return self.finish().map(Step::Done);
        }
        let (asked, reads) = wanted.into_iter().unzip();
        self.asked = asked;
        Ok(Step::Read(reads))
    }

    fn finish(&mut self) -> Result<Mutation, Error> {
        let operations = std::mem::take(&mut self.operations);
        let mut results = Vec::with_capacity(operations.len());
        for (at, operation) in operations.into_iter().enumerate() {
            results.push(apply::apply(&mut self.overlay, &self.ids, at, operation)?);
        }
        let writes = self.overlay.writes();
        let mutation = Mutation {
            conditions: self.overlay.conditions(&writes),
            writes,
            results,
        };
        match mutation.size_bytes() {
            bytes if bytes > MAX_MUTATION_BYTES => Err(Error::TooLarge(bytes)),
            _ => Ok(mutation),
        }
    }
}

/// What needs no id and no read. Contents are checked when they are whole, by the record they become.
fn check(at: usize, operation: &Operation, ids: &Ids) -> Result<(), Error> {
    match operation {
        Operation::CreateNode { .. } | Operation::CreateEdge { .. } => Ok(()),
        Operation::UpdateNode {
            node,
            add_labels,
            remove_labels,
            ..
        } => {
            ids.node(at, *node)?;
            match add_labels.intersection(remove_labels).next() {
                Some(label) => Err(Error::LabelTwice {
                    operation: at,
                    label: label.clone(),
                }),
                None => Ok(()),
            }
        }
        Operation::DeleteNode { node, .. } => ids.node(at, *node).map(drop),
        Operation::UpdateEdge { edge, .. } | Operation::DeleteEdge { edge, .. } => ids.edge(at, *edge).map(drop),
    }
}

/// The ids that a request creates, by the index of the operation.
#[derive(Debug, Default)]
pub struct Ids {
    nodes: BTreeMap<usize, EntityId>,
    edges: BTreeMap<usize, EntityId>,
}

impl Ids {
    fn assign(
        &mut self,
        at: usize,
        operation: &Operation,
        slot: Option<Slot>,
        sequences: &mut dyn FnMut() -> u64,
    ) -> Result<(), Error> {
        match operation {
            Operation::CreateNode { .. } => {
                let node = match slot {
                    Some(slot) => EntityId::for_node_in(slot, sequences()),
                    None => EntityId::for_node(sequences()),
                };
                self.nodes.insert(at, node);
            }
            Operation::CreateEdge { source, target, .. } => {
                let source = self.node(at, *source)?;
                self.node(at, *target)?;
                let edge = EntityId::for_edge(sequences(), source.slot());
                self.edges.insert(at, edge);
            }
            Operation::UpdateNode { .. }
            | Operation::DeleteNode { .. }
            | Operation::UpdateEdge { .. }
            | Operation::DeleteEdge { .. } => {}
        }
        Ok(())
    }

    /// The id of a node that operation `at` names.
    pub fn node(&self, at: usize, reference: EntityRef) -> Result<EntityId, Error> {
        resolve(&self.nodes, at, reference, "node")
    }

    /// The id of an edge that operation `at` names.
    pub fn edge(&self, at: usize, reference: EntityRef) -> Result<EntityId, Error> {
        resolve(&self.edges, at, reference, "edge")
    }

    /// The id of a node that operation `at` names, unless this request creates it.
    pub fn stored_node(&self, at: usize, reference: EntityRef) -> Result<Option<EntityId>, Error> {
        stored(self.node(at, reference)?, reference)
    }

    /// The id of an edge that operation `at` names, unless this request creates it.
    pub fn stored_edge(&self, at: usize, reference: EntityRef) -> Result<Option<EntityId>, Error> {
        stored(self.edge(at, reference)?, reference)
    }

    /// The id that operation `at` created.
    pub fn created(&self, at: usize) -> EntityId {
        let id = self.nodes.get(&at).or_else(|| self.edges.get(&at));
        *id.expect("every creation got its id when the batch was made")
    }
}

fn stored(id: EntityId, reference: EntityRef) -> Result<Option<EntityId>, Error> {
    Ok(match reference {
        EntityRef::Id(_) => Some(id),
        EntityRef::Operation(_) => None,
    })
}

fn resolve(
    created: &BTreeMap<usize, EntityId>,
    at: usize,
    reference: EntityRef,
    wanted: &'static str,
) -> Result<EntityId, Error> {
    match reference {
        EntityRef::Id(id) => Ok(id),
        EntityRef::Operation(to) => {
            // While ids are assigned only earlier operations have one, and every reference is resolved then.
            let id = created.get(&to).copied();
            id.ok_or(Error::Reference {
                operation: at,
                to,
                wanted,
            })
        }
    }
}
