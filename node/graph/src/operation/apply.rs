//! Each operation as a change of the overlay.

use std::collections::BTreeSet;

use super::batch::Ids;
use super::overlay::Overlay;
use super::{EntityRef, Error, Operation, OperationResult};
use crate::cid::VersionCid;
use crate::id::EntityId;
use crate::limits;
use crate::record::{EdgeRecord, Locator, NodeRecord};
use crate::value::Properties;

/// Does operation `at`, after all earlier ones.
pub fn apply(overlay: &mut Overlay, ids: &Ids, at: usize, operation: Operation) -> Result<OperationResult, Error> {
    let mut work = Work { overlay, ids, at };
    match operation {
        Operation::CreateNode { labels, properties } => work.create_node(labels, properties),
        Operation::UpdateNode {
            node,
            set,
            add_labels,
            remove_labels,
            replace,
            expected,
        } => {
            work.expect_node(node, expected)?;
            work.update_node(node, set, replace, add_labels, &remove_labels)
        }
        Operation::DeleteNode { node, detach, expected } => {
            work.expect_node(node, expected)?;
            work.delete_node(node, detach)
        }
        Operation::CreateEdge {
            edge_type,
            source,
            target,
            properties,
        } => work.create_edge(edge_type, source, target, properties),
        Operation::UpdateEdge {
            edge,
            set,
            replace,
            expected,
        } => {
            work.expect_edge(edge, expected)?;
            work.update_edge(edge, set, replace)
        }
        Operation::DeleteEdge { edge, expected } => {
            work.expect_edge(edge, expected)?;
            work.delete_edge(edge)
        }
    }
}

struct Work<'a> {
    overlay: &'a mut Overlay,
    ids: &'a Ids,
    at: usize,
}

impl Work<'_> {
    fn create_node(&mut self, labels: BTreeSet<String>, properties: Properties) -> Result<OperationResult, Error> {
        let id = self.ids.created(self.at);
        self.put_node(id, labels, properties)
    }

    fn update_node(
        &mut self,
        node: EntityRef,
        set: Properties,
        replace: bool,
        add_labels: BTreeSet<String>,
        remove_labels: &BTreeSet<String>,
    ) -> Result<OperationResult, Error> {
        let id = self.ids.node(self.at, node)?;
        let record = self.node(id)?;
        let mut labels = &record.labels - remove_labels;
        labels.extend(add_labels);
        let properties = changed(&record.properties, set, replace);
        self.put_node(id, labels, properties)
    }

    fn delete_node(&mut self, node: EntityRef, detach: bool) -> Result<OperationResult, Error> {
        let id = self.ids.node(self.at, node)?;
        let cid = self.node(id)?.cid;
        let edges = self.overlay.edges_of(id);
        if !edges.is_empty() && !detach {
            return Err(Error::HasEdges { operation: self.at, id });
        }
        for edge in edges {
            self.overlay.delete_edge(edge);
        }
        self.overlay.delete_node(id);
        Ok(OperationResult { id, cid })
    }

    fn create_edge(
        &mut self,
        edge_type: String,
        source: EntityRef,
        target: EntityRef,
        properties: Properties,
    ) -> Result<OperationResult, Error> {
        let id = self.ids.created(self.at);
        let locator = Locator {
            edge_type,
            source: self.end(source)?,
            target: self.end(target)?,
        };
        let record = EdgeRecord::new(id, &locator, properties).map_err(|error| self.refused(error))?;
        let cid = record.cid;
        self.overlay.create_edge(id, locator, record);
        Ok(OperationResult { id, cid })
    }

    fn update_edge(&mut self, edge: EntityRef, set: Properties, replace: bool) -> Result<OperationResult, Error> {
        let id = self.ids.edge(self.at, edge)?;
        let (locator, record) = self.edge(id)?;
        let properties = changed(&record.properties, set, replace);
        let record = EdgeRecord::new(id, locator, properties).map_err(|error| self.refused(error))?;
        let cid = record.cid;
        self.overlay.update_edge(id, record);
        Ok(OperationResult { id, cid })
    }

    fn delete_edge(&mut self, edge: EntityRef) -> Result<OperationResult, Error> {
        let id = self.ids.edge(self.at, edge)?;
        let (_, record) = self.edge(id)?;
        let cid = record.cid;
        self.overlay.delete_edge(id);
        Ok(OperationResult { id, cid })
    }

    fn put_node(
        &mut self,
        id: EntityId,
        labels: BTreeSet<String>,
        properties: Properties,
    ) -> Result<OperationResult, Error> {
        let record = NodeRecord::new(id, labels, properties).map_err(|error| self.refused(error))?;
        let cid = record.cid;
        self.overlay.put_node(id, record);
        Ok(OperationResult { id, cid })
    }

    /// Compare-and-set: the version that the client has seen must be the newest.
    fn expect_node(&self, node: EntityRef, expected: Option<VersionCid>) -> Result<(), Error> {
        let id = self.ids.node(self.at, node)?;
        self.expect(id, expected, || Ok(self.node(id)?.cid))
    }

    fn expect_edge(&self, edge: EntityRef, expected: Option<VersionCid>) -> Result<(), Error> {
        let id = self.ids.edge(self.at, edge)?;
        self.expect(id, expected, || Ok(self.edge(id)?.1.cid))
    }

    fn expect(
        &self,
        id: EntityId,
        expected: Option<VersionCid>,
        actual: impl FnOnce() -> Result<VersionCid, Error>,
    ) -> Result<(), Error> {
        let Some(expected) = expected else { return Ok(()) };
        match actual()? {
            actual if actual == expected => Ok(()),
            actual => Err(Error::OtherVersion {
                operation: self.at,
                id,
                expected,
                actual,
            }),
        }
    }

    fn node(&self, id: EntityId) -> Result<&NodeRecord, Error> {
        self.overlay
            .node(id)
            .ok_or(Error::NodeNotFound { operation: self.at, id })
    }

    fn edge(&self, id: EntityId) -> Result<(&Locator, &EdgeRecord), Error> {
        self.overlay
            .edge(id)
            .ok_or(Error::EdgeNotFound { operation: self.at, id })
    }

    fn end(&mut self, node: EntityRef) -> Result<EntityId, Error> {
        let id = self.ids.node(self.at, node)?;
        if !self.overlay.require_node(id, self.at) {
            return Err(Error::NodeNotFound { operation: self.at, id });
        }
        Ok(id)
    }

    fn refused(&self, source: limits::Error) -> Error {
        Error::Entity {
            operation: self.at,
            source,
        }
    }
}

/// The properties after an update; a null stays here and is dropped by the record.
fn changed(before: &Properties, set: Properties, replace: bool) -> Properties {
    let mut properties = if replace { Properties::new() } else { before.clone() };
    properties.extend(set);
    properties
}
