//! What a request has to read before its operations can be done, in as few rounds as possible.
//!
//! Round one: every node record, locator and range of halves, all at once. Round two: records of edges whose
//! locator came back, and further pages of ranges.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::Ids;
use super::overlay::Overlay;
use super::{Error, MAX_DETACHED_EDGES, Operation};
use crate::id::EntityId;
use crate::key;
use crate::read::{self, Answer, Read};
use crate::record::Locator;

/// Halves in one page of a detaching delete: a supernode at the limit takes seven rounds, a page about one megabyte.
const SCAN_PAGE_PAIRS: usize = 16_384;

/// Something that was asked, remembered until its answer comes.
#[derive(Debug)]
pub enum Load {
    Node(EntityId),
    /// The next page is read too where the scan is `whole`.
    Halves {
        whole: bool,
    },
    Locator(EntityId),
    Edge {
        id: EntityId,
        locator: Locator,
    },
}

/// What an operation needs to know of nodes and edges that exist.
#[derive(Default)]
struct Wanted {
    nodes: BTreeSet<EntityId>,
    /// Nodes whose halves are needed: all of them (true), or only whether there is one.
    halves: BTreeMap<EntityId, bool>,
    edges: BTreeSet<EntityId>,
}

/// The reads of round one.
pub fn first_round(operations: &[Operation], ids: &Ids) -> Result<Vec<(Load, Read)>, Error> {
    let mut wanted = Wanted::default();
    let removes_edges = operations.iter().any(removes_edges);
    for (at, operation) in operations.iter().enumerate() {
        wanted.note(at, operation, ids, removes_edges)?;
    }
    let nodes = wanted.nodes.into_iter().map(|id| {
        let key = key::node(id);
        (Load::Node(id), Read::Get { key })
    });
    let halves = wanted.halves.into_iter().flat_map(scans_of);
    let edges = wanted.edges.into_iter().map(|id| {
        let key = key::locator(id);
        (Load::Locator(id), Read::Get { key })
    });
    Ok(nodes.chain(halves).chain(edges).collect())
}

/// Whether a node may lose edges by this operation, so that one edge that is stored does not yet mean that the
/// node has one when its turn comes.
fn removes_edges(operation: &Operation) -> bool {
    match operation {
        Operation::DeleteNode { detach, .. } => *detach,
        Operation::DeleteEdge { .. } => true,
        Operation::CreateNode { .. }
        | Operation::UpdateNode { .. }
        | Operation::CreateEdge { .. }
        | Operation::UpdateEdge { .. } => false,
    }
}

fn scans_of((node, whole): (EntityId, bool)) -> [(Load, Read); 2] {
    let ranges = [key::out_halves(node, None), key::in_halves(node, None)];
    ranges.map(|range| {
        let read = Read::Scan {
            from: range.from,
            to: range.to,
            limit: Some(if whole { SCAN_PAGE_PAIRS } else { 1 }),
            keys_only: true,
        };
        (Load::Halves { whole }, read)
    })
}

impl Wanted {
    fn note(&mut self, at: usize, operation: &Operation, ids: &Ids, whole: bool) -> Result<(), Error> {
        match operation {
            Operation::CreateNode { .. } | Operation::CreateEdge { .. } => {}
            Operation::UpdateNode { node, .. } => {
                self.nodes.extend(ids.stored_node(at, *node)?);
            }
            Operation::DeleteNode { node, .. } => {
                let stored = ids.stored_node(at, *node)?;
                self.nodes.extend(stored);
                self.halves.extend(stored.map(|id| (id, whole)));
            }
            Operation::UpdateEdge { edge, .. } | Operation::DeleteEdge { edge, .. } => {
                self.edges.extend(ids.stored_edge(at, *edge)?);
            }
        }
        Ok(())
    }
}

/// Takes one answer in; gives what has to be read because of it.
pub fn absorb(overlay: &mut Overlay, load: Load, answer: Answer) -> Result<Vec<(Load, Read)>, Error> {
    match load {
        Load::Node(id) => {
            let record = answer.into_value()?.map(|bytes| read::node_record(id, &bytes));
            overlay.load_node(id, record.transpose()?);
            Ok(Vec::new())
        }
        Load::Halves { whole } => absorb_halves(overlay, whole, answer),
        Load::Locator(id) => match answer.into_value()? {
            Some(bytes) => Ok(vec![edge_of_locator(id, &bytes)?]),
            None => Ok(Vec::new()),
        },
        Load::Edge { id, locator } => {
            let value = answer.into_value()?;
            let bytes = value.ok_or_else(|| read::Error::missing(&locator.out_half(id)))?;
            let record = read::edge_record(id, &locator, &bytes)?;
            overlay.load_edge(id, locator, Some(record));
            Ok(Vec::new())
        }
    }
}

fn edge_of_locator(id: EntityId, bytes: &[u8]) -> Result<(Load, Read), read::Error> {
    let locator = read::locator(id, bytes)?;
    let key = locator.out_half(id);
    Ok((Load::Edge { id, locator }, Read::Get { key }))
}

fn absorb_halves(overlay: &mut Overlay, whole: bool, answer: Answer) -> Result<Vec<(Load, Read)>, Error> {
    let (pairs, more) = answer.into_pairs()?;
    for (key, _) in &pairs {
        let (id, locator) = read::edge_of_half(key)?;
        overlay.load_edge(id, locator, None);
    }
    if overlay.edge_count() > MAX_DETACHED_EDGES {
        return Err(Error::TooManyEdges);
    }
    // One half is enough to refuse a delete without detach, but a page without any says nothing of the next.
    let more = if whole || pairs.is_empty() { more } else { Vec::new() };
    let next = more.into_iter();
    Ok(next.map(|read| (Load::Halves { whole }, read)).collect())
}
