//! Ranges of a state file that were read lately, as far as they were: the edges of a node, the versions of a key. They stand in
//! front of the B-tree, whose descent costs more than what is found, and under the memtables, so that what is applied meanwhile
//! lies above them.
//!
//! A range is what it was at the checkpoint at which it was read, until a checkpoint writes a key in it. Readers of earlier
//! checkpoints, who hold a view, take it only if it has been the same since theirs.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use kotoba_state::store::{Kept, Pair, Pairs, StoreError};

use crate::raft::lock::lock;

/// Checkpoints of one file, counted.
pub type Generation = u64;

/// Pairs of a range that are kept, at most: a page of a walk, with what shows that there are more.
const MAX_PAIRS: usize = 1_025;
/// Bytes of a range that are kept.
const MAX_BYTES: usize = 128 << 10;
/// Pairs that were read of a range before its reader left it: a page, and no look at what comes first.
const PAIRS_OF_A_PAGE: usize = 8;
/// What a range takes besides its bytes: places in the map and in the heap; an estimate.
const OVERHEAD_BYTES: usize = 160;

/// The ranges of one state file that are kept.
pub struct Ranges {
    /// Of those used lately, and of those before them.
    half_bytes: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
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
    kept: Arc<Kept>,
    bytes: usize,
}

impl Ranges {
    /// Keeps about so many bytes.
    pub fn new(bytes: usize) -> Self {
        Ranges {
            half_bytes: bytes / 2,
            known: Mutex::default(),
        }
    }

    /// What a range is as of a checkpoint, where that is known.
    pub fn get(&self, from: &[u8], to: &[u8], at: Generation) -> Option<Arc<Kept>> {
        let mut known = lock(&self.known);
        if let Some(entry) = known.recent.get(from) {
            return entry.kept(to, at);
        }
        let (from, entry) = known.earlier.remove_entry(from)?;
        let found = entry.kept(to, at);
        known.put(from, entry, self.half_bytes);
        found
    }

    /// Notes what a range is as of a checkpoint, or the first of it; of an earlier one than the last it is not kept.
    fn put(&self, range: Range, at: Generation, pairs: Vec<Pair>, is_whole: bool) {
        let content = pairs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let of_pairs = content + pairs.len() * size_of::<Pair>();
        // The newest versions, which are made of them when somebody asks, take their own places and keys.
        let bytes = OVERHEAD_BYTES + range.from.len() + range.to.len() + 2 * of_pairs;
        let mut known = lock(&self.known);
        if known.now == at && !known.has_more(&range, pairs.len(), is_whole) {
            let entry = Entry {
                to: range.to,
                since: at,
                kept: Kept::new(side_by_side(&pairs, content), is_whole),
                bytes,
            };
            known.put(range.from, entry, self.half_bytes);
        }
    }

    /// Begins with another checkpoint, which has changed these keys; they ascend.
    pub fn advance(&self, changed: &[&[u8]]) -> Generation {
        let mut known = lock(&self.known);
        known.now += 1;
        let is_same = |from: &[u8], to: &[u8]| {
            let first = changed.partition_point(|key| *key < from);
            changed.get(first).is_none_or(|key| *key >= to)
        };
        known.recent.retain(|from, entry| is_same(from, &entry.to));
        known.earlier.retain(|from, entry| is_same(from, &entry.to));
        known.recent_bytes = known.recent.values().map(|entry| entry.bytes).sum();
        known.now
    }

    /// Gives pairs on, and keeps the first of them.
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
            is_cut: false,
        }
    }
}

/// The same pairs in one piece of memory: who reads one after the other does not wait for memory at each.
fn side_by_side(pairs: &[Pair], bytes: usize) -> impl Iterator<Item = Pair> {
    let mut all = BytesMut::with_capacity(bytes);
    let mut put = move |part: &Bytes| {
        all.extend_from_slice(part);
        all.split().freeze()
    };
    pairs.iter().map(move |(key, value)| (put(key), put(value)))
}

impl Entry {
    fn kept(&self, to: &[u8], at: Generation) -> Option<Arc<Kept>> {
        (*self.to == *to && self.since <= at).then(|| self.kept.clone())
    }
}

impl Known {
    /// Whether as much of a range is kept already.
    fn has_more(&self, range: &Range, pairs: usize, is_whole: bool) -> bool {
        let entry = self.recent.get(&range.from).filter(|entry| entry.to == range.to);
        entry.is_some_and(|entry| entry.kept.is_whole || (!is_whole && entry.kept.pairs.len() >= pairs))
    }

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
    /// None where it is not to be kept, or has been.
    seen: Option<(Range, Vec<Pair>)>,
    bytes: usize,
    /// There is more than may be kept.
    is_cut: bool,
}

impl Iterator for Watched<'_> {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.pairs.next();
        match &next {
            Some(Ok(pair)) => {
                self.bytes += pair.0.len() + pair.1.len();
                let seen = self.seen.as_mut().filter(|_| !self.is_cut);
                match seen {
                    Some((_, seen)) if seen.len() < MAX_PAIRS && self.bytes <= MAX_BYTES => seen.push(pair.clone()),
                    Some(_) => self.is_cut = true,
                    None => (),
                }
            }
            Some(Err(_)) => self.seen = None,
            None => self.keep(!self.is_cut),
        }
        next
    }
}

impl Watched<'_> {
    fn keep(&mut self, is_whole: bool) {
        // What is empty is mostly a key that is about to be written.
        let fewest = if is_whole { 1 } else { PAIRS_OF_A_PAGE };
        if let Some((range, seen)) = self.seen.take().filter(|(_, seen)| seen.len() >= fewest) {
            self.ranges.put(range, self.at, seen, is_whole);
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.keep(false);
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
        ranges.get(&of.from, &of.to, at).map(|kept| kept.pairs.to_vec())
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
    fn what_was_read_is_kept_as_far_as_it_is_small() {
        let ranges = Ranges::new(1 << 20);
        let of = |of: Range| {
            let kept = ranges.get(&of.from, &of.to, 0);
            kept.map(|kept| (kept.pairs.len(), kept.is_whole))
        };
        let pairs: Vec<Pair> = (0..=MAX_PAIRS).map(|_| pair(1, 1)).collect();
        read(&ranges, range(1, 5), 0, &pairs);
        assert_eq!(of(range(1, 5)), Some((MAX_PAIRS, false)), "the first of it");
        read(&ranges, range(1, 5), 0, &pairs[1..]);
        assert_eq!(of(range(1, 5)), Some((MAX_PAIRS, true)));
        read(&ranges, range(2, 5), 0, &[(vec![2].into(), vec![0; MAX_BYTES].into())]);
        assert_eq!(of(range(2, 5)), None);
        read(&ranges, range(3, 5), 0, &[]);
        assert_eq!(of(range(3, 5)), None);
        let look = |first: usize| {
            let cut: Pairs = Box::new(pairs.iter().cloned().map(Ok));
            ranges.watch(range(4, 5), 0, cut).take(first).for_each(drop);
        };
        look(PAIRS_OF_A_PAGE - 1);
        assert_eq!(of(range(4, 5)), None, "a look at what comes first");
        for pairs in [PAIRS_OF_A_PAGE, PAIRS_OF_A_PAGE + 1, PAIRS_OF_A_PAGE] {
            look(pairs);
            let most = pairs.max(of(range(4, 5)).map_or(0, |(pairs, _)| pairs));
            assert_eq!(of(range(4, 5)), Some((most, false)), "never less than before");
        }
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
        let known = lock(&ranges.known);
        let sum = |entries: &HashMap<Box<[u8]>, Entry>| entries.values().map(|entry| entry.bytes).sum::<usize>();
        assert_eq!(sum(&known.recent), known.recent_bytes);
        assert!(sum(&known.recent) + sum(&known.earlier) <= bytes);
        assert!(known.recent.len() + known.earlier.len() > 20);
    }
}
