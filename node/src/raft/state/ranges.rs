//! Small ranges of a state file that were read to their end lately: the edges of a node, the versions of a key. They stand in
//! front of the B-tree, whose descent costs more than what is found, and under the memtables, so that what is applied meanwhile
//! lies above them.
//!
//! A range is what it was at the checkpoint at which it was read, until a checkpoint writes a key in it. Readers of earlier
//! checkpoints, who hold a view, take it only if it has been the same since theirs.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use kotoba_state::store::{Pair, Pairs, StoreError};

use crate::raft::lock::lock;

/// Checkpoints of one file, counted.
pub type Generation = u64;

/// Pairs of a range that is kept, at most: the neighbours of most nodes. Those of the others are worth a descent.
const MAX_PAIRS: usize = 256;
/// Bytes of a range that is kept.
const MAX_BYTES: usize = 32 << 10;
/// What a range takes besides its bytes: places in the map and in the heap; an estimate.
const OVERHEAD_BYTES: usize = 160;

/// The ranges of one state file that are kept.
pub struct Ranges {
    /// Of those used lately, and of those before them.
    half_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    now: Generation,
    /// By where they begin: of two that begin alike, the one that was read last.
    recent: HashMap<Box<[u8]>, Entry>,
    recent_bytes: usize,
    /// What is not used before `recent` is full goes.
    earlier: HashMap<Box<[u8]>, Entry>,
}

/// `from <= key < to`.
pub struct Range {
    from: Box<[u8]>,
    to: Box<[u8]>,
}

impl Range {
    pub fn new(from: &[u8], to: &[u8]) -> Self {
        Range {
            from: from.into(),
            to: to.into(),
        }
    }
}

struct Entry {
    to: Box<[u8]>,
    /// The checkpoint at which it was read.
    since: Generation,
    pairs: Arc<[Pair]>,
    bytes: usize,
}

impl Ranges {
    /// Keeps about so many bytes.
    pub fn new(bytes: usize) -> Self {
        Ranges {
            half_bytes: bytes / 2,
            kept: Mutex::default(),
        }
    }

    /// What a range is as of a checkpoint, where that is known.
    pub fn get(&self, from: &[u8], to: &[u8], at: Generation) -> Option<Arc<[Pair]>> {
        let mut kept = lock(&self.kept);
        if let Some(entry) = kept.recent.get(from) {
            return entry.pairs(to, at);
        }
        let (from, entry) = kept.earlier.remove_entry(from)?;
        let found = entry.pairs(to, at);
        kept.put(from, entry, self.half_bytes);
        found
    }

    /// Notes what a range is as of a checkpoint; of an earlier one than the last it is not kept.
    fn put(&self, range: Range, at: Generation, pairs: Vec<Pair>) {
        let content = pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let bytes = OVERHEAD_BYTES + range.from.len() + range.to.len() + content + pairs.len() * size_of::<Pair>();
        let mut kept = lock(&self.kept);
        if kept.now == at {
            let entry = Entry {
                to: range.to,
                since: at,
                pairs: side_by_side(&pairs, content),
                bytes,
            };
            kept.put(range.from, entry, self.half_bytes);
        }
    }

    /// Begins with another checkpoint, which has changed these keys; they ascend.
    pub fn advance(&self, changed: &[&[u8]]) -> Generation {
        let mut kept = lock(&self.kept);
        kept.now += 1;
        let is_same = |from: &[u8], to: &[u8]| {
            let first = changed.partition_point(|key| *key < from);
            changed.get(first).is_none_or(|key| *key >= to)
        };
        kept.recent.retain(|from, entry| is_same(from, &entry.to));
        kept.earlier.retain(|from, entry| is_same(from, &entry.to));
        kept.recent_bytes = kept.recent.values().map(|entry| entry.bytes).sum();
        kept.now
    }

    /// Gives pairs on, and keeps them if they come to their end and are few.
    pub fn watch<'a>(
        &'a self,
        range: Range,
        at: Generation,
        pairs: Pairs<'a>,
    ) -> impl Iterator<Item = Result<Pair, StoreError>> + 'a {
        Watched {
            ranges: self,
            at,
            pairs,
            seen: Some((range, Vec::new())),
            bytes: 0,
        }
    }
}

/// The same pairs in one piece of memory: who reads one after the other does not wait for memory at each.
fn side_by_side(pairs: &[Pair], bytes: usize) -> Arc<[Pair]> {
    let mut all = BytesMut::with_capacity(bytes);
    let mut put = |part: &Bytes| {
        all.extend_from_slice(part);
        all.split().freeze()
    };
    pairs.iter().map(|(key, value)| (put(key), put(value))).collect()
}

impl Entry {
    fn pairs(&self, to: &[u8], at: Generation) -> Option<Arc<[Pair]>> {
        (*self.to == *to && self.since <= at).then(|| self.pairs.clone())
    }
}

impl Kept {
    fn put(&mut self, from: Box<[u8]>, entry: Entry, most_bytes: usize) {
        if self.recent_bytes + entry.bytes > most_bytes {
            self.earlier = mem::take(&mut self.recent);
            self.recent_bytes = 0;
        }
        self.recent_bytes += entry.bytes;
        if let Some(before) = self.recent.insert(from, entry) {
            self.recent_bytes -= before.bytes;
        }
    }
}

/// A range on its way to a reader.
struct Watched<'a> {
    ranges: &'a Ranges,
    at: Generation,
    pairs: Pairs<'a>,
    /// None where it is not to be kept.
    seen: Option<(Range, Vec<Pair>)>,
    bytes: usize,
}

impl Iterator for Watched<'_> {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.pairs.next();
        match &next {
            Some(Ok(pair)) => {
                self.bytes += pair.0.len() + pair.1.len();
                if let Some((_, seen)) = &mut self.seen {
                    seen.push(pair.clone());
                    if seen.len() > MAX_PAIRS || self.bytes > MAX_BYTES {
                        self.seen = None;
                    }
                }
            }
            Some(Err(_)) => self.seen = None,
            None => {
                // What is empty is mostly a key that is about to be written.
                if let Some((range, seen)) = self.seen.take().filter(|(_, seen)| !seen.is_empty()) {
                    self.ranges.put(range, self.at, seen);
                }
            }
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: u8, value: u8) -> Pair {
        (vec![key].into(), vec![value].into())
    }

    fn range(from: u8, to: u8) -> Range {
        Range::new(&[from], &[to])
    }

    /// Reads a range as a reader of a checkpoint does.
    fn read(ranges: &Ranges, of: Range, at: Generation, pairs: &[Pair]) {
        let pairs: Pairs = Box::new(pairs.iter().cloned().map(Ok));
        ranges.watch(of, at, pairs).for_each(drop);
    }

    fn known(ranges: &Ranges, of: Range, at: Generation) -> Option<Vec<Pair>> {
        ranges.get(&of.from, &of.to, at).map(|pairs| pairs.to_vec())
    }

    #[test]
    fn a_range_is_kept_until_a_key_in_it_changes() {
        let ranges = Ranges::new(1 << 20);
        read(&ranges, range(1, 5), 0, &[pair(1, 1), pair(4, 4)]);
        read(&ranges, range(5, 9), 0, &[pair(5, 5)]);
        assert_eq!(known(&ranges, range(1, 5), 0), Some(vec![pair(1, 1), pair(4, 4)]));
        assert_eq!(known(&ranges, range(1, 6), 0), None);
        assert_eq!(ranges.advance(&[&[0], &[5], &[9]]), 1);
        assert_eq!(known(&ranges, range(1, 5), 1), Some(vec![pair(1, 1), pair(4, 4)]));
        assert_eq!(known(&ranges, range(5, 9), 1), None);
        // A key between two that were there.
        assert_eq!(ranges.advance(&[&[2]]), 2);
        assert_eq!(known(&ranges, range(1, 5), 2), None);
    }

    #[test]
    fn readers_of_an_earlier_checkpoint_neither_see_nor_keep_what_is_not_theirs() {
        let ranges = Ranges::new(1 << 20);
        ranges.advance(&[&[1]]);
        read(&ranges, range(1, 5), 0, &[pair(1, 0)]);
        assert_eq!(
            known(&ranges, range(1, 5), 1),
            None,
            "it was read at the checkpoint before"
        );
        read(&ranges, range(1, 5), 1, &[pair(1, 1)]);
        assert_eq!(known(&ranges, range(1, 5), 0), None, "it may have been another then");
        ranges.advance(&[&[7]]);
        assert_eq!(known(&ranges, range(1, 5), 1), Some(vec![pair(1, 1)]));
        assert_eq!(known(&ranges, range(1, 5), 2), Some(vec![pair(1, 1)]));
    }

    #[test]
    fn only_what_is_small_and_read_to_its_end_is_kept() {
        let ranges = Ranges::new(1 << 20);
        let pairs: Vec<Pair> = (0..=MAX_PAIRS).map(|_| pair(1, 1)).collect();
        read(&ranges, range(1, 5), 0, &pairs);
        assert_eq!(known(&ranges, range(1, 5), 0), None);
        read(&ranges, range(1, 5), 0, &pairs[1..]);
        assert_eq!(known(&ranges, range(1, 5), 0).map(|pairs| pairs.len()), Some(MAX_PAIRS));
        read(&ranges, range(2, 5), 0, &[(vec![2].into(), vec![0; MAX_BYTES].into())]);
        assert_eq!(known(&ranges, range(2, 5), 0), None);
        read(&ranges, range(3, 5), 0, &[]);
        assert_eq!(known(&ranges, range(3, 5), 0), None);
        let cut: Pairs = Box::new([pair(4, 4), pair(4, 5)].into_iter().map(Ok));
        ranges.watch(range(4, 5), 0, cut).next();
        assert_eq!(known(&ranges, range(4, 5), 0), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_used_stays() {
        let bytes = 20_000;
        let ranges = Ranges::new(bytes);
        for number in 0..200 {
            read(
                &ranges,
                range(number, 255),
                0,
                &[(vec![number].into(), vec![0; 100].into())],
            );
            assert!(
                known(&ranges, range(0, 255), 0).is_some(),
                "the first is used all the time: {number}"
            );
        }
        let kept = lock(&ranges.kept);
        let sum = |entries: &HashMap<Box<[u8]>, Entry>| entries.values().map(|entry| entry.bytes).sum::<usize>();
        assert_eq!(sum(&kept.recent), kept.recent_bytes);
        assert!(sum(&kept.recent) + sum(&kept.earlier) <= bytes);
        assert!(kept.recent.len() + kept.earlier.len() > 20);
    }
}
