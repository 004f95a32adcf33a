//! Operations of a request, and their results.

use std::collections::BTreeSet;

use kotoba_graph::cid::VersionCid;
use kotoba_graph::id::{EntityId, Slot};
use kotoba_graph::operation::{EntityRef, Operation, OperationResult};
use kotoba_graph::receipt::RequestId;
use kotoba_proto::v1;
use kotoba_proto::v1::operation::Kind;
use kotoba_state::ids::Timestamp;

use prost::Message;

use super::Invalid;
use super::value::properties_from;
use crate::gateway::operations::{Numbered, OperationRequest};
use crate::transaction::Acknowledgement;

/// A request as it was sent.
pub fn operation_request(sent: v1::ExecuteOperationRequest) -> Result<OperationRequest, Invalid> {
    if v1::Consistency::try_from(sent.consistency).is_err() {
        return Err(Invalid::new("consistency", "is of a kind this version does not know"));
    }
    let number = match sent.client_id.len() {
        0 => None,
        _ => Some(Numbered {
            id: RequestId {
                client: sent.client_id[..]
                    .try_into()
                    .map_err(|_| Invalid::new("client_id", "has to have 16 bytes"))?,
                sequence: sent.sequence,
            },
            home: sent.home_slot.map(slot).transpose()?,
            content: content_of(&sent.operations),
            bytes: sent.operations.iter().map(Message::encoded_len).sum(),
            repeated: sent.repeated,
            sent_after: (sent.sent_after > 0).then_some(Timestamp(sent.sent_after)),
        }),
    };
    let acknowledgement = match v1::Consistency::try_from(sent.consistency) {
        Ok(v1::Consistency::Strong | v1::Consistency::ReadYourWrites) => Acknowledgement::ByMajority,
        Ok(v1::Consistency::Eventual) => Acknowledgement::ByLeader,
        Err(_) => return Err(Invalid::new("consistency", "is of a kind this version does not know")),
    };
    Ok(OperationRequest {
        acknowledgement,
        operations: operations(sent.operations)?,
        number,
    })
}

fn slot(sent: u32) -> Result<Slot, Invalid> {
    let slot = u16::try_from(sent).ok().and_then(Slot::new);
    slot.ok_or_else(|| Invalid::new("home_slot", "has to be below 4096"))
}

/// Hash of the operations as they are encoded: maps are sorted, so equal operations give equal hashes.
fn content_of(operations: &[v1::Operation]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for operation in operations {
        hasher.update(&operation.encode_length_delimited_to_vec());
    }
    *hasher.finalize().as_bytes()
}

fn operations(sent: Vec<v1::Operation>) -> Result<Vec<Operation>, Invalid> {
    sent.into_iter()
        .enumerate()
        .map(|(at, sent)| operation(sent).map_err(|invalid| invalid.within(format_args!("operations[{at}]"))))
        .collect()
}

fn operation(sent: v1::Operation) -> Result<Operation, Invalid> {
    let kind = sent.kind.ok_or_else(|| Invalid::new("operation", "has no kind"))?;
    Ok(match kind {
        Kind::CreateNode(create) => Operation::CreateNode {
            labels: create.labels.into_iter().collect(),
            properties: properties_from(create.properties)?,
        },
        Kind::UpdateNode(update) => Operation::UpdateNode {
            node: existing("id", update.id)?,
            set: properties_from(update.set_properties)?,
            add_labels: names(update.add_labels),
            remove_labels: names(update.remove_labels),
            replace: update.replace_properties,
            expected: expected(&update.expected_cid)?,
        },
        Kind::DeleteNode(delete) => Operation::DeleteNode {
            node: existing("id", delete.id)?,
            detach: delete.detach,
            expected: expected(&delete.expected_cid)?,
        },
        Kind::CreateEdge(create) => Operation::CreateEdge {
            edge_type: create.r#type,
            source: end("source", create.source)?,
            target: end("target", create.target)?,
            properties: properties_from(create.properties)?,
        },
        Kind::UpdateEdge(update) => Operation::UpdateEdge {
            edge: existing("id", update.id)?,
            set: properties_from(update.set_properties)?,
            replace: update.replace_properties,
            expected: expected(&update.expected_cid)?,
        },
        Kind::DeleteEdge(delete) => Operation::DeleteEdge {
            edge: existing("id", delete.id)?,
            expected: expected(&delete.expected_cid)?,
        },
    })
}

/// The version of a compare-and-set; none where none was sent.
fn expected(sent: &[u8]) -> Result<Option<VersionCid>, Invalid> {
    match sent {
        [] => Ok(None),
        bytes => VersionCid::from_bytes(bytes)
            .map(Some)
            .map_err(|error| Invalid::new("expected_cid", error.to_string())),
    }
}

fn names(sent: Vec<String>) -> BTreeSet<String> {
    sent.into_iter().collect()
}

fn existing(field: &str, number: u64) -> Result<EntityRef, Invalid> {
    entity_id(field, number).map(EntityRef::Id)
}

fn end(field: &str, sent: Option<v1::NodeRef>) -> Result<EntityRef, Invalid> {
    match sent.and_then(|reference| reference.kind) {
        Some(v1::node_ref::Kind::Id(number)) => existing(field, number),
        Some(v1::node_ref::Kind::Operation(at)) => Ok(EntityRef::Operation(at as usize)),
        None => Err(Invalid::new(field, "is missing")),
    }
}

/// An id as it was sent.
pub fn entity_id(field: &str, number: u64) -> Result<EntityId, Invalid> {
    EntityId::from_number(number)
        .ok_or_else(|| Invalid::new(field, format!("{number} is no entity id: they are below 2^63")))
}

/// What the operations did, as it is sent.
pub fn results(results: &[OperationResult]) -> Vec<v1::OperationResult> {
    results
        .iter()
        .map(|result| v1::OperationResult {
            id: result.id.number(),
            cid: result.cid.to_bytes().to_vec().into(),
        })
        .collect()
}
