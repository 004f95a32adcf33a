//! Ranges of keys: of one node, and of the same kind of key in every slot.

use serde::{Deserialize, Serialize};

use super::{ID_BYTES, Kind, bytes, prefix};
use crate::id::{EntityId, Slot};

/// The range `from <= key < to`, within one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
}

/// A range without its slot: in every slot of a partition, the keys `slot|suffix_from <= key < slot|suffix_to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRange {
    pub suffix_from: Vec<u8>,
    pub suffix_to: Vec<u8>,
}

impl SlotRange {
    /// The keys of this range in one slot: from, to.
    pub fn in_slot(&self, slot: Slot) -> (Vec<u8>, Vec<u8>) {
        let with_slot = |suffix: &[u8]| [&slot.number().to_be_bytes(), suffix].concat();
        (with_slot(&self.suffix_from), with_slot(&self.suffix_to))
    }
}

/// The out halves of a node's edges, of all types or of one.
pub fn out_halves(source: EntityId, edge_type: Option<&str>) -> Range {
    halves(Kind::Out, source, edge_type)
}

/// The in halves of a node's edges, of all types or of one.
pub fn in_halves(target: EntityId, edge_type: Option<&str>) -> Range {
    halves(Kind::In, target, edge_type)
}

fn halves(kind: Kind, node: EntityId, edge_type: Option<&str>) -> Range {
    let type_bytes = edge_type.map_or(0, bytes::text_bytes);
    let mut from = prefix(node.slot(), kind, ID_BYTES + type_bytes);
    from.extend(node.number().to_be_bytes());
    if let Some(edge_type) = edge_type {
        bytes::put_text(&mut from, edge_type);
    }
    Range {
        to: prefix_end(&from),
        from,
    }
}

/// All nodes with a label.
pub fn label_everywhere(label: &str) -> SlotRange {
    let mut suffix = vec![Kind::Label.byte()];
    bytes::put_text(&mut suffix, label);
    of_suffix(suffix)
}

/// All node records.
pub fn nodes_everywhere() -> SlotRange {
    of_suffix(vec![Kind::Node.byte()])
}

/// All edges, by their out halves, which carry their records.
pub fn out_halves_everywhere() -> SlotRange {
    of_suffix(vec![Kind::Out.byte()])
}

fn of_suffix(suffix: Vec<u8>) -> SlotRange {
    SlotRange {
        suffix_to: prefix_end(&suffix),
        suffix_from: suffix,
    }
}

/// The first key after all keys with a prefix.
fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    unreachable!("every prefix holds a kind byte, which is an ASCII letter")
}

/// The smallest key above a key.
pub fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
