//! What the machines of this crate ask the store, and what they are told.
//!
//! The caller answers all reads of one step from one snapshot, in any order and in parallel, each answer at
//! the position of its read. Keys carry their slot in front, so the caller can route every read.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{EntityId, Slot};
use crate::key::{self, Key, SlotRange};
use crate::record::{self, EdgeRecord, Locator, NodeRecord};

/// A key with its value. Who gives it may keep it as well.
pub type Pair = (Bytes, Bytes);

/// One read of the ordered store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Read {
    /// The value of one key. Answered by [`Answer::Value`].
    Get {
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
    },
    /// Pairs with `from <= key < to`, ascending, all in one slot. Answered by [`Answer::Pairs`].
    Scan {
        #[serde(with = "serde_bytes")]
        from: Vec<u8>,
        #[serde(with = "serde_bytes")]
        to: Vec<u8>,
        limit: Option<usize>,
        keys_only: bool,
    },
    /// The same range of suffixes in many slots. Answered by [`Answer::Pairs`]; the order of the slots is free.
    ScanSlots(SlotScan),
}

/// A range of key suffixes in each slot of a span of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotScan {
    pub first: Slot,
    /// Inclusive.
    pub last: Slot,
    pub range: SlotRange,
    /// Only keys above this one; it lies in the first slot.
    pub after: Option<Vec<u8>>,
    /// Most pairs that one partition answers at once.
    pub limit: Option<usize>,
    pub keys_only: bool,
}

/// The answer to one read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Value(Option<Bytes>),
    /// A page. It ends after `limit` pairs or at the answerer's own bound in bytes, whichever comes first; where
    /// anything is left, `more` holds the reads that go on from there. Values may be empty under `keys_only`.
    Pairs {
        pairs: Vec<Pair>,
        more: Vec<Read>,
    },
}

/// What was read cannot be: the store is corrupt, or the caller broke the protocol of this module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{answers} answers were given to {reads} reads")]
    AnswerCount { reads: usize, answers: usize },
    #[error("a get was answered with pairs, or a scan with a value")]
    AnswerKind,
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error("a scan returned {found}, a key of a kind it does not cover")]
    ForeignKey { found: String },
    #[error("the record at key {key} cannot be read")]
    Record {
        key: String,
        #[source]
        source: record::Error,
    },
    #[error("key {key} is missing, but another key of the same snapshot refers to it: the store is corrupt")]
    Missing { key: String },
}

impl SlotScan {
    /// A scan over every slot.
    pub fn everywhere(range: SlotRange, limit: usize, keys_only: bool) -> Self {
        SlotScan {
            first: Slot::FIRST,
            last: Slot::LAST,
            range,
            after: None,
            limit: Some(limit),
            keys_only,
        }
    }

    /// The part of this scan within a span of slots, for the partition that owns them; `None` where it has none.
    pub fn within(&self, first: Slot, last: Slot) -> Option<SlotScan> {
        let first = first.max(self.first);
        let last = last.min(self.last);
        let after = self.after.clone().filter(|_| first == self.first);
        (first <= last).then(|| SlotScan {
            first,
            last,
            after,
            ..self.clone()
        })
    }

    /// What is left of this scan after a key that it returned.
    pub fn continued_after(&self, key: &[u8]) -> Result<SlotScan, key::Error> {
        Ok(SlotScan {
            first: key::slot_of(key)?,
            after: Some(key.to_vec()),
            ..self.clone()
        })
    }

    /// The ranges `from <= key < to` of this scan, one per slot, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        let slots = std::iter::successors(Some(self.first), |slot| slot.next());
        slots.take_while(|slot| *slot <= self.last).map(|slot| {
            let (from, to) = self.range.in_slot(slot);
            match &self.after {
                Some(after) if slot == self.first => (key::successor(after), to),
                Some(_) | None => (from, to),
            }
        })
    }
}

impl Answer {
    /// About how much memory its keys and values take.
    pub fn bytes(&self) -> usize {
        match self {
            Answer::Value(value) => value.as_ref().map_or(0, Bytes::len),
            Answer::Pairs { pairs, .. } => pairs.iter().map(|pair| pair.0.len() + pair.1.len()).sum(),
        }
    }

    /// The answer to a get.
    pub fn into_value(self) -> Result<Option<Bytes>, Error> {
        match self {
            Answer::Value(value) => Ok(value),
            Answer::Pairs { .. } => Err(Error::AnswerKind),
        }
    }

    /// The answer to a scan: a page, and the reads that go on from it.
    pub fn into_pairs(self) -> Result<(Vec<Pair>, Vec<Read>), Error> {
        match self {
            Answer::Pairs { pairs, more } => Ok((pairs, more)),
            Answer::Value(_) => Err(Error::AnswerKind),
        }
    }
}

/// Puts each answer beside what it was asked for.
pub(crate) fn match_up<T>(asked: Vec<T>, answers: Vec<Answer>) -> Result<impl Iterator<Item = (T, Answer)>, Error> {
    if asked.len() != answers.len() {
        return Err(Error::AnswerCount {
            reads: asked.len(),
            answers: answers.len(),
        });
    }
    Ok(asked.into_iter().zip(answers))
}

/// Reads a node's record.
pub(crate) fn node_record(id: EntityId, bytes: &[u8]) -> Result<NodeRecord, Error> {
    NodeRecord::decode(bytes).map_err(|error| Error::record(&key::node(id), error))
}

/// Reads an edge's record.
pub(crate) fn edge_record(id: EntityId, locator: &Locator, bytes: &[u8]) -> Result<EdgeRecord, Error> {
    EdgeRecord::decode(bytes).map_err(|error| Error::record(&locator.out_half(id), error))
}

/// Reads an edge's locator.
pub(crate) fn locator(id: EntityId, bytes: &[u8]) -> Result<Locator, Error> {
    Locator::decode(bytes).map_err(|error| Error::record(&key::locator(id), error))
}

/// The edge that a half belongs to.
pub(crate) fn edge_of_half(key: &[u8]) -> Result<(EntityId, Locator), Error> {
    match Key::decode(key)? {
        Key::Out {
            source,
            edge_type,
            target,
            edge,
        }
        | Key::In {
            target,
            edge_type,
            source,
            edge,
        } => Ok((
            edge,
            Locator {
                edge_type,
                source,
                target,
            },
        )),
        Key::Node(_) | Key::Locator(_) | Key::Label { .. } | Key::Receipt { .. } => Err(Error::foreign(key)),
    }
}

impl Error {
    pub(crate) fn missing(key: &[u8]) -> Self {
        Error::Missing {
            key: key::printable(key),
        }
    }

    fn record(key: &[u8], source: record::Error) -> Self {
        Error::Record {
            key: key::printable(key),
            source,
        }
    }

    pub(crate) fn foreign(key: &[u8]) -> Self {
        Error::ForeignKey {
            found: key::printable(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    #[test]
    fn the_form_is_frozen() {
        let long = vec![0xAB; 130];
        let get = Read::Get { key: b"k".to_vec() };
        let scan = Read::Scan {
            from: b"a".to_vec(),
            to: long.clone(),
            limit: Some(7),
            keys_only: true,
        };
        let pairs = vec![
            (Bytes::from_static(b"a"), Bytes::from(long.clone())),
            (Bytes::new(), Bytes::from_static(b"v")),
        ];
        let answers = vec![
            Answer::Value(None),
            Answer::Value(Some(Bytes::from_static(b"v"))),
            Answer::Pairs {
                pairs,
                more: vec![get, scan],
            },
        ];
        let bytes = postcard::to_allocvec(&answers).unwrap();
        let before: &[u8] = &[3, 0, 0, 0, 1, 1, b'v', 1, 2, 1, b'a', 130, 1];
        let between: &[u8] = &[0, 1, b'v', 2, 0, 1, b'k', 1, 1, b'a', 130, 1];
        assert_eq!(bytes, [before, &long, between, &long, &[1, 7, 1]].concat());
        assert_eq!(postcard::from_bytes(&bytes), Ok(answers));
    }

    #[test]
    fn a_scan_is_cut_to_a_partition_and_goes_on_after_a_key() {
        let scan = SlotScan::everywhere(key::nodes_everywhere(), 10, true);
        let part = scan.within(slot(3), slot(5)).unwrap();
        assert_eq!(part.ranges().count(), 3);
        let last = key::node(EntityId::for_edge(7, slot(4)));
        let rest = part.continued_after(&last).unwrap();
        let ranges: Vec<_> = rest.ranges().collect();
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[0].0, key::successor(&last));
        assert_eq!(ranges[1], key::nodes_everywhere().in_slot(slot(5)));
        assert_eq!(rest.within(slot(0), slot(3)), None);
    }

    #[test]
    fn a_key_to_go_on_after_means_nothing_in_later_slots() {
        // Slots may move to another partition between two pages.
        let scan = SlotScan::everywhere(key::nodes_everywhere(), 10, true);
        let last = key::node(EntityId::for_edge(7, slot(4)));
        let rest = scan.continued_after(&last).unwrap();
        let moved = rest.within(slot(5), slot(6)).unwrap();
        let ranges: Vec<_> = moved.ranges().collect();
        assert_eq!(ranges[0], key::nodes_everywhere().in_slot(slot(5)));
    }
}
