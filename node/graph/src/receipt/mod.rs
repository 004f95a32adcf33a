//! Receipts: what a client's numbered request did, stored by the transaction that did it.
//!
//! A request that is sent again finds the receipt instead of being applied again. The receipt lies where any attempt looks
//! for it without knowing what earlier ones chose: in a slot that the request writes anyway.

mod created;

use serde::{Deserialize, Serialize};

pub use created::Created;

use crate::id::{EntityId, SLOTS, Slot};
use crate::key;
use crate::operation::{self, EntityRef, Operation, OperationResult};

/// 2: of a request that only creates nothing is kept that follows from its operations. 3: but the slot of its nodes.
const FORMAT: u8 = 3;

/// Names one request for good: no two requests of a client have the same sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId {
    /// Chosen at random by the client when it starts.
    pub client: [u8; 16],
    pub sequence: u64,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Hash of the request's content: another request under the same name is a fault of the client.
    pub content: [u8; 32],
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// One result per operation, in order.
    Applied(Vec<OperationResult>),
    /// As `Applied`, where all operations were creations.
    Created(Created),
    /// Refused when it was asked about again: no attempt that is still under way can apply it after that.
    Refused { kind: u8, message: String },
}

/// A receipt that this build cannot answer from.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a receipt has format {0}, this version reads format {FORMAT}: ask a member of the version that wrote it")]
    Format(u8),
    #[error("a receipt is empty or damaged")]
    Damaged,
    #[error("a receipt is of other operations than those it is asked about")]
    OtherOperations,
    #[error("what a receipt is of was applied by another version, and is refused by this one")]
    MakeAgain(#[source] operation::Error),
}

impl Outcome {
    /// What is kept of a request that was applied, and whose new nodes live in this slot, or anywhere.
    pub fn of(operations: &[Operation], slot: Option<Slot>, results: &[OperationResult]) -> Self {
        match Created::of(operations, slot, results) {
            Some(created) => Outcome::Created(created),
            None => Outcome::Applied(results.to_vec()),
        }
    }
}

impl RequestId {
    /// The slot of the receipt: of the first stored entity that the request names, else the one that its client has chosen, else
    /// the request's own hash.
    pub fn home(&self, operations: &[Operation], chosen: Option<Slot>) -> Slot {
        let named = operations.iter().find_map(slot_named);
        named.or(chosen).unwrap_or_else(|| self.slot())
    }

    /// Whether the receipt may lie in any slot, so that what the request creates may as well live there.
    pub fn is_home_free(operations: &[Operation]) -> bool {
        operations.iter().all(|operation| slot_named(operation).is_none())
    }

    /// The key of the receipt.
    pub fn key(&self, home: Slot) -> Vec<u8> {
        key::receipt(home, self.client, self.sequence)
    }

    fn slot(&self) -> Slot {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.client).update(&self.sequence.to_be_bytes());
        let [high, low, ..] = *hasher.finalize().as_bytes();
        Slot::new(u16::from_be_bytes([high, low]) % SLOTS).expect("a remainder of the number of slots is a slot")
    }
}

/// The slot of a stored entity that the operation writes beside; none where it names none.
fn slot_named(operation: &Operation) -> Option<Slot> {
    let stored = |reference: &EntityRef| match reference {
        EntityRef::Id(id) => Some(EntityId::slot(*id)),
        EntityRef::Operation(_) => None,
    };
    match operation {
        Operation::CreateNode { .. } => None,
        Operation::UpdateNode { node, .. } | Operation::DeleteNode { node, .. } => stored(node),
        Operation::CreateEdge { source, target, .. } => stored(source).or_else(|| stored(target)),
        Operation::UpdateEdge { edge, .. } | Operation::DeleteEdge { edge, .. } => stored(edge),
    }
}

impl Receipt {
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).expect("memory takes every byte, and every field has a postcard form")
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        match bytes.split_first() {
            Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|_| Error::Damaged),
            Some((&other, _)) => Err(Error::Format(other)),
            None => Err(Error::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cid::VersionCid;
    use crate::key::printable;
    use crate::value::Properties;

    const REQUEST: RequestId = RequestId {
        client: [7; 16],
        sequence: 9,
    };

    fn node(sequence: u64) -> EntityRef {
        EntityRef::Id(EntityId::for_node(sequence))
    }

    fn create_edge(source: EntityRef, target: EntityRef) -> Operation {
        Operation::CreateEdge {
            edge_type: "T".to_owned(),
            source,
            target,
            properties: Properties::new(),
        }
    }

    fn create_node() -> Operation {
        Operation::CreateNode {
            labels: BTreeSet::new(),
            properties: Properties::new(),
        }
    }

    #[test]
    fn a_receipt_lies_beside_the_first_stored_entity_that_the_request_writes() {
        let home = |operations: &[Operation]| REQUEST.home(operations, None);
        let new = EntityRef::Operation(0);
        let one = EntityId::for_node(1).slot();
        assert_eq!(home(&[create_edge(node(1), node(2))]), one);
        assert_eq!(home(&[create_node(), create_edge(new, node(1))]), one);
        assert_eq!(home(&[create_node(), create_edge(node(1), new)]), one);
        assert_eq!(home(&[create_node()]), home(&[create_node(), create_node()]));
        let chosen = Slot::new(7);
        assert_eq!(Some(REQUEST.home(&[create_node()], chosen)), chosen);
        assert_eq!(REQUEST.home(&[create_edge(node(1), node(2))], chosen), one);
        assert!(RequestId::is_home_free(&[create_node(), create_edge(new, new)]));
        assert!(!RequestId::is_home_free(&[create_edge(new, node(1))]));
    }

    #[test]
    fn the_slot_of_a_request_and_the_stored_form_are_frozen() {
        assert_eq!(REQUEST.slot().number(), 3834);
        let result = |sequence| OperationResult {
            id: EntityId::for_node(sequence),
            cid: VersionCid::of_block(b"x"),
        };
        let delete = Operation::DeleteNode {
            node: node(5),
            detach: false,
            expected: None,
        };
        let created = |slot| Outcome::of(&[create_node(), create_node()], slot, &[result(500), result(499)]);
        let applied = Outcome::of(&[create_node(), delete], None, &[result(500), result(5)]);
        let refused = Outcome::Refused {
            kind: 3,
            message: "no".to_owned(),
        };
        let content = "01".repeat(32);
        let cid = printable(&result(0).cid.to_bytes()[4..]);
        let forms = [
            (created(None), "010002e80701".to_owned()),
            (created(Slot::new(300)), "0101ac0202e80701".to_owned()),
            (applied, format!("0002f4838080808080d079{cid}858080808080808c7d{cid}")),
            (refused, "0203026e6f".to_owned()),
        ];
        for (outcome, form) in forms {
            let receipt = Receipt {
                content: [1; 32],
                outcome,
            };
            let bytes = receipt.encode();
            assert_eq!(printable(&bytes), format!("03{content}{form}"));
            assert_eq!(Receipt::decode(&bytes).unwrap(), receipt);
        }
    }

    #[test]
    fn receipts_of_other_formats_and_damaged_ones_are_refused() {
        assert!(matches!(Receipt::decode(&[1]), Err(Error::Format(1))));
        assert!(matches!(Receipt::decode(&[9]), Err(Error::Format(9))));
        assert!(matches!(Receipt::decode(&[]), Err(Error::Damaged)));
        assert!(matches!(Receipt::decode(&[FORMAT, 1]), Err(Error::Damaged)));
    }
}
