//! Every key of the graph. No other module makes or takes apart a key.
//!
//! A key is slot (two bytes, big endian), kind (one letter), then its fields so that bytes sort as fields do.
//!
//! | kind | fields | value |
//! |---|---|---|
//! | `N` node record | node | [`crate::record::NodeRecord`] |
//! | `E` locator | edge | [`crate::record::Locator`] |
//! | `O` out half, in the source's slot | source, type, target, edge | [`crate::record::EdgeRecord`] |
//! | `I` in half, in the target's slot | target, type, source, edge | empty |
//! | `L` label index, in the node's slot | label, node | empty |
//! | `R` receipt, in a slot that the request writes | client, sequence | [`crate::receipt::Receipt`] |
//! | `P`, `U` | property and unique indexes: reserved | |

mod bytes;
mod range;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

pub use range::{
    Range, SlotRange, in_halves, label_everywhere, nodes_everywhere, out_halves, out_halves_everywhere, successor,
};

use crate::id::{EntityId, Slot};

/// What a key is, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Node(EntityId),
    Locator(EntityId),
    Out {
        source: EntityId,
        edge_type: String,
        target: EntityId,
        edge: EntityId,
    },
    In {
        target: EntityId,
        edge_type: String,
        source: EntityId,
        edge: EntityId,
    },
    Label {
        label: String,
        node: EntityId,
    },
    Receipt {
        slot: Slot,
        client: [u8; 16],
        sequence: u64,
    },
}

/// Bytes that no version of this module wrote.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a key is cut short, too long or has fields that cannot be")]
    Malformed,
    #[error("a key has slot {0}, but there are 4096 slots")]
    Slot(u16),
    #[error("a key lies in slot {found}, but its fields belong to slot {expected}")]
    WrongSlot { found: Slot, expected: Slot },
    #[error("a key has the unknown kind {0:#04x}: it was written by a newer version")]
    UnknownKind(u8),
}

/// The third byte of a key.
#[derive(Clone, Copy)]
enum Kind {
    Node,
    Locator,
    Out,
    In,
    Label,
    Receipt,
}

/// Kind bytes that are taken, so that nothing else uses them before the indexes come.
pub const RESERVED_PROPERTY_INDEX: u8 = b'P';
pub const RESERVED_UNIQUE_INDEX: u8 = b'U';

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Kind::Node => b'N',
            Kind::Locator => b'E',
            Kind::Out => b'O',
            Kind::In => b'I',
            Kind::Label => b'L',
            Kind::Receipt => b'R',
        }
    }

    fn of_byte(byte: u8) -> Result<Self, Error> {
        match byte {
            b'N' => Ok(Kind::Node),
            b'E' => Ok(Kind::Locator),
            b'O' => Ok(Kind::Out),
            b'I' => Ok(Kind::In),
            b'L' => Ok(Kind::Label),
            b'R' => Ok(Kind::Receipt),
            other => Err(Error::UnknownKind(other)),
        }
    }
}

/// The key of a node's record.
pub fn node(id: EntityId) -> Vec<u8> {
    let mut key = prefix(id.slot(), Kind::Node, ID_BYTES);
    key.extend(id.number().to_be_bytes());
    key
}

/// The key that finds an edge from its id.
pub fn locator(edge: EntityId) -> Vec<u8> {
    let mut key = prefix(edge.slot(), Kind::Locator, ID_BYTES);
    key.extend(edge.number().to_be_bytes());
    key
}

/// The key of an edge's out half, which holds its record.
pub fn out_half(source: EntityId, edge_type: &str, target: EntityId, edge: EntityId) -> Vec<u8> {
    half(Kind::Out, source, edge_type, target, edge)
}

/// The key of an edge's in half.
pub fn in_half(target: EntityId, edge_type: &str, source: EntityId, edge: EntityId) -> Vec<u8> {
    half(Kind::In, target, edge_type, source, edge)
}

fn half(kind: Kind, near: EntityId, edge_type: &str, far: EntityId, edge: EntityId) -> Vec<u8> {
    let mut key = prefix(near.slot(), kind, 3 * ID_BYTES + bytes::text_bytes(edge_type));
    key.extend(near.number().to_be_bytes());
    bytes::put_text(&mut key, edge_type);
    key.extend(far.number().to_be_bytes());
    key.extend(edge.number().to_be_bytes());
    key
}

/// The key that says that a node has a label.
pub fn label(label: &str, node: EntityId) -> Vec<u8> {
    let mut key = prefix(node.slot(), Kind::Label, bytes::text_bytes(label) + ID_BYTES);
    bytes::put_text(&mut key, label);
    key.extend(node.number().to_be_bytes());
    key
}

/// The key of a request's receipt, in a slot that the request writes.
pub fn receipt(slot: Slot, client: [u8; 16], sequence: u64) -> Vec<u8> {
    let mut key = prefix(slot, Kind::Receipt, client.len() + 8);
    key.extend(client);
    key.extend(sequence.to_be_bytes());
    key
}

const PREFIX_BYTES: usize = 3;
const ID_BYTES: usize = 8;

/// The beginning of a key, with room for its fields.
fn prefix(slot: Slot, kind: Kind, fields: usize) -> Vec<u8> {
    let [high, low] = slot.number().to_be_bytes();
    let mut key = Vec::with_capacity(PREFIX_BYTES + fields);
    key.extend([high, low, kind.byte()]);
    key
}

/// The slot of any key, also of kinds this version does not know.
pub fn slot_of(key: &[u8]) -> Result<Slot, Error> {
    let number = u16::from_be_bytes(bytes::take_array(&mut &*key)?);
    Slot::new(number).ok_or(Error::Slot(number))
}

/// Of a half: its near end, and the shortest type.
const BEFORE_FAR_END: usize = PREFIX_BYTES + ID_BYTES + 2;

/// Whether a half is an out half, and the node that it leads to; none for a key of another kind. What lies between is not looked
/// at: a walk asks this of every edge that it meets.
pub fn far_end(key: &[u8]) -> Result<Option<(bool, EntityId)>, Error> {
    let outgoing = match Kind::of_byte(*key.get(2).ok_or(Error::Malformed)?)? {
        Kind::Out => true,
        Kind::In => false,
        Kind::Node | Kind::Locator | Kind::Label | Kind::Receipt => return Ok(None),
    };
    let mut ends = key.last_chunk::<{ 2 * ID_BYTES }>().ok_or(Error::Malformed)?.as_slice();
    if key.len() < BEFORE_FAR_END + ends.len() {
        return Err(Error::Malformed);
    }
    Ok(Some((outgoing, take_id(&mut ends)?)))
}

/// A key as hex, for messages.
pub fn printable(key: &[u8]) -> String {
    key.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

impl Key {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Key::Node(id) => node(*id),
            Key::Locator(edge) => locator(*edge),
            Key::Out {
                source,
                edge_type,
                target,
                edge,
            } => out_half(*source, edge_type, *target, *edge),
            Key::In {
                target,
                edge_type,
                source,
                edge,
            } => in_half(*target, edge_type, *source, *edge),
            Key::Label { label: name, node } => label(name, *node),
            Key::Receipt { slot, client, sequence } => receipt(*slot, *client, *sequence),
        }
    }

    /// Takes a key apart; only what [`Key::encode`] gives is accepted.
    pub fn decode(key: &[u8]) -> Result<Self, Error> {
        let slot = slot_of(key)?;
        let mut rest = key.get(2..).unwrap_or_default();
        let kind = Kind::of_byte(bytes::take_byte(&mut rest)?)?;
        let decoded = Key::decode_fields(slot, kind, &mut rest)?;
        if !rest.is_empty() {
            return Err(Error::Malformed);
        }
        match decoded.slot() {
            expected if expected == slot => Ok(decoded),
            expected => Err(Error::WrongSlot { found: slot, expected }),
        }
    }

    fn decode_fields(slot: Slot, kind: Kind, rest: &mut &[u8]) -> Result<Self, Error> {
        Ok(match kind {
            Kind::Node => Key::Node(take_id(rest)?),
            Kind::Locator => Key::Locator(take_id(rest)?),
            Kind::Out => Key::Out {
                source: take_id(rest)?,
                edge_type: bytes::take_text(rest)?,
                target: take_id(rest)?,
                edge: take_id(rest)?,
            },
            Kind::In => Key::In {
                target: take_id(rest)?,
                edge_type: bytes::take_text(rest)?,
                source: take_id(rest)?,
                edge: take_id(rest)?,
            },
            Kind::Label => Key::Label {
                label: bytes::take_text(rest)?,
                node: take_id(rest)?,
            },
            Kind::Receipt => Key::Receipt {
                slot,
                client: bytes::take_array(rest)?,
                sequence: u64::from_be_bytes(bytes::take_array(rest)?),
            },
        })
    }

    fn slot(&self) -> Slot {
        match self {
            Key::Node(id) | Key::Locator(id) => id.slot(),
            Key::Out { source, .. } => source.slot(),
            Key::In { target, .. } => target.slot(),
            Key::Label { node, .. } => node.slot(),
            Key::Receipt { slot, .. } => *slot,
        }
    }
}

fn take_id(rest: &mut &[u8]) -> Result<EntityId, Error> {
    let number = u64::from_be_bytes(bytes::take_array(rest)?);
    EntityId::from_number(number).ok_or(Error::Malformed)
}
