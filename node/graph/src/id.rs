//! Ids of nodes and edges, and the hash slots they live in.
//!
//! An id is a slot (12 bits) above a sequence (51 bits), the top bit zero so that it fits openCypher's integer.
//! The slot hash is part of every stored key: it never changes, and test vectors hold it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Number of hash slots, for ever: partitions are ranges of slots and can be split without rewriting a key.
pub const SLOTS: u16 = 4096;

const SEQUENCE_BITS: u32 = 51;

/// Largest sequence that fits an id.
pub const MAX_SEQUENCE: u64 = (1 << SEQUENCE_BITS) - 1;

/// A hash slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Slot(
    /// Invariant: below [`SLOTS`].
    u16,
);

impl Slot {
    pub const FIRST: Slot = Slot(0);
    pub const LAST: Slot = Slot(SLOTS - 1);

    /// The slot of a number; `None` from [`SLOTS`] on.
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Slot(number))
    }

    pub fn number(self) -> u16 {
        self.0
    }

    /// The slot after this one; `None` after the last.
    pub fn next(self) -> Option<Self> {
        Slot::new(self.0 + 1)
    }

    /// The slot of a new node with this sequence that is to live anywhere: the first 12 bits of blake3 of its eight bytes, big
    /// endian.
    fn of_sequence(sequence: u64) -> Self {
        let hash = blake3::hash(&sequence.to_be_bytes());
        let [high, low, ..] = *hash.as_bytes();
        Slot(u16::from_be_bytes([high, low]) >> 4)
    }
}

impl TryFrom<u16> for Slot {
    type Error = String;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        Slot::new(number).ok_or_else(|| format!("slot {number} is not below {SLOTS}"))
    }
}

impl From<Slot> for u16 {
    fn from(slot: Slot) -> u16 {
        slot.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a node or an edge for its life; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct EntityId(
    /// Invariant: the top bit is zero.
    u64,
);

impl EntityId {
    /// The id of a new node that may live anywhere.
    ///
    /// # Panics
    /// Where the sequence is above [`MAX_SEQUENCE`]: the catalogue leases none above it.
    pub fn for_node(sequence: u64) -> Self {
        EntityId::for_node_in(Slot::of_sequence(sequence), sequence)
    }

    /// The id of a new node beside others that are created with it.
    ///
    /// # Panics
    /// As [`EntityId::for_node`].
    pub fn for_node_in(slot: Slot, sequence: u64) -> Self {
        EntityId::assemble(slot, sequence)
    }

    /// The id of a new edge, in the slot of its source, so that the locator lies beside the out half.
    ///
    /// # Panics
    /// As [`EntityId::for_node`].
    pub fn for_edge(sequence: u64, source: Slot) -> Self {
        EntityId::assemble(source, sequence)
    }

    fn assemble(slot: Slot, sequence: u64) -> Self {
        assert!(sequence <= MAX_SEQUENCE, "sequence {sequence} does not fit an id");
        EntityId(u64::from(slot.0) << SEQUENCE_BITS | sequence)
    }

    /// The id of a number as a client gives it; `None` where the top bit is set.
    pub fn from_number(number: u64) -> Option<Self> {
        (number >> 63 == 0).then_some(EntityId(number))
    }

    pub fn number(self) -> u64 {
        self.0
    }

    pub fn slot(self) -> Slot {
        // Twelve bits are left: the top one is zero.
        Slot((self.0 >> SEQUENCE_BITS) as u16)
    }

    pub fn sequence(self) -> u64 {
        self.0 & MAX_SEQUENCE
    }
}

impl TryFrom<u64> for EntityId {
    type Error = ParseEntityIdError;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        EntityId::from_number(number).ok_or(ParseEntityIdError)
    }
}

impl From<EntityId> for u64 {
    fn from(id: EntityId) -> u64 {
        id.0
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text or number is not an id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entity id is a whole number from 0 to 2^63 - 1")]
pub struct ParseEntityIdError;

impl FromStr for EntityId {
    type Err = ParseEntityIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().map_err(|_| ParseEntityIdError)?;
        EntityId::from_number(number).ok_or(ParseEntityIdError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_slot_hash_is_frozen() {
        let vectors = [(0, 1822), (1, 1678), (2, 1119), (1 << 20, 3451), (MAX_SEQUENCE, 3417)];
        for (sequence, slot) in vectors {
            assert_eq!(EntityId::for_node(sequence).slot().number(), slot);
        }
    }

    #[test]
    fn consecutive_sequences_fill_the_slots_evenly() {
        let mut nodes_per_slot = vec![0u32; usize::from(SLOTS)];
        for sequence in 0..u64::from(SLOTS) * 32 {
            nodes_per_slot[usize::from(EntityId::for_node(sequence).slot().number())] += 1;
        }
        // Poisson with mean 32: 7 and 70 are more than four standard deviations away.
        assert!(nodes_per_slot.iter().all(|count| (7..70).contains(count)));
    }

    #[test]
    fn numbers_with_the_top_bit_are_no_ids() {
        assert_eq!(EntityId::from_number(1 << 63), None);
        assert_eq!("-1".parse::<EntityId>(), Err(ParseEntityIdError));
        assert_eq!(Slot::new(SLOTS), None);
        assert_eq!(Slot::LAST.next(), None);
    }

    proptest! {
        #[test]
        fn an_edge_lives_in_the_slot_of_its_source(node in 0..=MAX_SEQUENCE, edge in 0..=MAX_SEQUENCE) {
            let source = EntityId::for_node(node);
            let edge_id = EntityId::for_edge(edge, source.slot());
            prop_assert_eq!(source.sequence(), node);
            prop_assert_eq!(edge_id.slot(), source.slot());
            prop_assert_eq!(edge_id.sequence(), edge);
            prop_assert_eq!(edge_id.to_string().parse::<EntityId>(), Ok(edge_id));
            prop_assert_eq!(EntityId::from_number(edge_id.number()), Some(edge_id));
        }
    }
}
