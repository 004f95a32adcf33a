//! Which keys a transaction looked at: single keys, ranges, and the same range of many slots.
//!
//! Ranges stand for their gaps too: a key that appears in one later is a change of what was read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::command::Key;

/// Leading bytes of a key that are its slot.
pub const SLOT_BYTES: usize = 2;

/// Everything a transaction read; equal reads are kept once.
pub type ReadSet = BTreeSet<Span>;

/// Keys that were read together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Span {
    Key(#[serde(with = "serde_bytes")] Key),
    /// `from <= key < to`.
    Range {
        #[serde(with = "serde_bytes")]
        from: Key,
        #[serde(with = "serde_bytes")]
        to: Key,
    },
    /// In every slot from `first` to `last` inclusive: `slot + suffix_from <= key < slot + suffix_to`.
    /// An empty `suffix_to` stands for the end of the slot.
    Slots {
        first: u16,
        last: u16,
        suffix_from: Vec<u8>,
        suffix_to: Vec<u8>,
    },
}

/// The slot a key belongs to. A key shorter than a slot is filled up with zeros.
pub fn slot_of(key: &[u8]) -> u16 {
    let byte = |at: usize| key.get(at).copied().unwrap_or(0);
    u16::from_be_bytes([byte(0), byte(1)])
}

/// The key of a slot with a suffix.
pub fn slot_key(slot: u16, suffix: &[u8]) -> Key {
    let mut key = slot.to_be_bytes().to_vec();
    key.extend_from_slice(suffix);
    key
}

/// The smallest key above this one.
pub(crate) fn after(key: &[u8]) -> Key {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// The smallest key above all keys of a slot; `suffix_to` cuts it shorter unless empty.
pub(crate) fn slot_end(slot: u16, suffix_to: &[u8]) -> Key {
    if !suffix_to.is_empty() {
        return slot_key(slot, suffix_to);
    }
    match slot.checked_add(1) {
        Some(next) => slot_key(next, &[]),
        None => vec![0xFF, 0xFF, 0xFF],
    }
}

impl Span {
    /// The span as plain ranges, in key order.
    pub fn ranges(&self) -> Box<dyn Iterator<Item = (Key, Key)> + '_> {
        match self {
            Span::Key(key) => Box::new(std::iter::once((key.clone(), after(key)))),
            Span::Range { from, to } => Box::new(std::iter::once((from.clone(), to.clone()))),
            Span::Slots {
                first,
                last,
                suffix_from,
                suffix_to,
            } => Box::new((*first..=*last).map(move |slot| (slot_key(slot, suffix_from), slot_end(slot, suffix_to)))),
        }
    }

    /// Whether the key is one of those read.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Span::Key(own) => own == key,
            Span::Range { from, to } => from.as_slice() <= key && key < to.as_slice(),
            Span::Slots {
                first,
                last,
                suffix_from,
                suffix_to,
            } => {
                let slot = slot_of(key);
                (*first..=*last).contains(&slot)
                    && slot_key(slot, suffix_from).as_slice() <= key
                    && key < slot_end(slot, suffix_to).as_slice()
            }
        }
    }
}
