//! What is applied and not in the state file yet: the memtable of a log-structured store.
//!
//! One writer, any number of readers. Each change bears the step that made it, and a reader sees none above its own step: so
//! a view stays as it is while the replica goes on, and costs nothing to take.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};

use bytes::Bytes;
use smallvec::SmallVec;

use super::pins::Pins;
use crate::raft::lock::{lock, read, write};

/// What a change takes in memory beyond its bytes; an estimate.
const CHANGE_OVERHEAD_BYTES: usize = 128;
/// Changes that a scan takes out under the lock at once: one at first, since most scans want no more.
const FIRST_CHUNK: usize = 1;
const LAST_CHUNK: usize = 256;

/// Entries applied in one go; counted up.
pub type Step = u64;
/// A new value; none where the key is deleted.
pub type Change = Option<Bytes>;
/// A key and its new value, lent.
pub type Changed<'a> = (&'a [u8], Option<&'a [u8]>);
/// Most keys are short enough to lie in the map itself, where comparing them needs no further access to memory.
type Key = SmallVec<[u8; 48]>;

/// Changes by key.
#[derive(Default)]
pub struct Memtable {
    keys: RwLock<BTreeMap<Key, Changes>>,
    /// Keys with something that no later reader sees, each with the step since when; oldest first.
    superseded: Mutex<VecDeque<(Step, Key)>>,
    pins: Pins,
    bytes: AtomicUsize,
}

/// The changes of one key, each with its step.
struct Changes {
    newest: (Step, Change),
    /// Oldest first. They stay for those who read at an earlier step.
    older: Vec<(Step, Change)>,
}

impl Changes {
    fn at(&self, step: Step) -> Option<&Change> {
        let mut newest_first = std::iter::once(&self.newest).chain(self.older.iter().rev());
        newest_first.find(|(made, _)| *made <= step).map(|(_, change)| change)
    }

    /// Gives back what it replaces, if that was made in the same step.
    fn put(&mut self, step: Step, change: Change) -> Option<Change> {
        let (made, before) = mem::replace(&mut self.newest, (step, change));
        if made == step {
            return Some(before);
        }
        self.older.push((made, before));
        None
    }

    /// Drops what nobody sees who reads at `oldest` or later; gives the bytes of it.
    fn forget_unseen(&mut self, oldest: Step) -> usize {
        let unseen = match self.newest.0 <= oldest {
            true => self.older.len(),
            false => self
                .older
                .iter()
                .filter(|(made, _)| *made <= oldest)
                .count()
                .saturating_sub(1),
        };
        self.older.drain(..unseen).map(|(_, change)| bytes_of(&change)).sum()
    }
}

fn bytes_of(change: &Change) -> usize {
    CHANGE_OVERHEAD_BYTES + change.as_ref().map_or(0, Bytes::len)
}

impl Memtable {
    /// About how much memory it takes, and how much its checkpoint writes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Steps never go down from call to call.
    pub fn put(&self, step: Step, key: &[u8], change: Change) {
        self.bytes.fetch_add(bytes_of(&change), Ordering::Relaxed);
        let is_deleted = change.is_none();
        let mut keys = write(&self.keys);
        let supersedes = match keys.entry(Key::from_slice(key)) {
            Entry::Occupied(mut changes) => match changes.get_mut().put(step, change) {
                Some(before) => {
                    self.bytes.fetch_sub(bytes_of(&before), Ordering::Relaxed);
                    is_deleted
                }
                None => true,
            },
            Entry::Vacant(place) => {
                self.bytes.fetch_add(key.len(), Ordering::Relaxed);
                place.insert(Changes {
                    newest: (step, change),
                    older: Vec::new(),
                });
                is_deleted
            }
        };
        if supersedes {
            lock(&self.superseded).push_back((step, Key::from_slice(key)));
        }
    }

    /// Drops what nobody sees who reads at a pinned step or from `published` on, and deletions of what is not below: what lived
    /// for moments only never comes to the file.
    pub fn forget_unseen(&self, published: Step, is_below: impl Fn(&[u8]) -> bool) {
        let oldest = self.pins.oldest().map_or(published, |pinned| pinned.min(published));
        let mut superseded = lock(&self.superseded);
        while superseded.front().is_some_and(|(step, _)| *step <= oldest)
            && let Some((_, key)) = superseded.pop_front()
        {
            let mut keys = write(&self.keys);
            let Entry::Occupied(mut place) = keys.entry(key) else {
                continue;
            };
            let changes = place.get_mut();
            let mut dropped = changes.forget_unseen(oldest);
            let is_gone = changes.newest.1.is_none() && changes.newest.0 <= oldest && changes.older.is_empty();
            if is_gone && !is_below(place.key()) {
                dropped += bytes_of(&None) + place.key().len();
                place.remove();
            }
            self.bytes.fetch_sub(dropped, Ordering::Relaxed);
        }
    }

    /// Whether it says anything of a key.
    pub fn has(&self, key: &[u8]) -> bool {
        read(&self.keys).contains_key(key)
    }

    /// Whether it says anything of a range, at whatever step. The range must not be reversed.
    pub fn touches(&self, from: &[u8], to: &[u8]) -> bool {
        let bounds = (Bound::Included(from), Bound::Excluded(to));
        read(&self.keys).range::<[u8], _>(bounds).next().is_some()
    }

    /// What became of a key by a step; none where nothing here changed it.
    pub fn get(&self, step: Step, key: &[u8]) -> Option<Change> {
        read(&self.keys).get(key)?.at(step).cloned()
    }

    /// Lends what each key is by a step, in key order. Nothing is written to it meanwhile.
    pub fn with_all<T>(&self, step: Step, take: impl FnOnce(&mut dyn Iterator<Item = Changed<'_>>) -> T) -> T {
        let keys = read(&self.keys);
        let changed = |(key, changes)| Some((Key::as_slice(key), Changes::at(changes, step)?.as_deref()));
        take(&mut keys.iter().filter_map(changed))
    }

    /// The changes of a range by a step, in key order; none where there is no change. The range must not be reversed.
    pub fn scan(&self, step: Step, from: &[u8], to: Bound<&[u8]>) -> Option<Scan<'_>> {
        let taken = self.chunk(step, (Bound::Included(from), to), FIRST_CHUNK);
        if taken.is_empty() {
            return None;
        }
        let mut scan = Scan {
            table: self,
            step,
            rest: None,
            taken,
            chunk: FIRST_CHUNK,
        };
        scan.go_on_to(|| to.map(<[u8]>::to_vec));
        Some(scan)
    }

    fn chunk(&self, step: Step, bounds: (Bound<&[u8]>, Bound<&[u8]>), limit: usize) -> VecDeque<(Bytes, Change)> {
        read(&self.keys)
            .range::<[u8], _>(bounds)
            .filter_map(|(key, changes)| Some((key, changes.at(step)?)))
            .take(limit)
            .map(|(key, change)| (Bytes::copy_from_slice(key), change.clone()))
            .collect()
    }
}

/// Walks a range, a chunk at a time, so that the lock is never held for long.
pub struct Scan<'a> {
    table: &'a Memtable,
    step: Step,
    /// Behind which key to go on, and to where; none at the end.
    rest: Option<(Bytes, Bound<Vec<u8>>)>,
    taken: VecDeque<(Bytes, Change)>,
    chunk: usize,
}

impl Scan<'_> {
    /// A chunk that is not full was the last.
    fn go_on_to(&mut self, to: impl FnOnce() -> Bound<Vec<u8>>) {
        if self.taken.len() == self.chunk {
            self.rest = self.taken.back().map(|(last, _)| (last.clone(), to()));
        }
    }

    fn take_chunk(&mut self) {
        let Some((last, to)) = self.rest.take() else { return };
        self.chunk = (self.chunk * 8).min(LAST_CHUNK);
        let bounds = (Bound::Excluded(last.as_ref()), to.as_ref().map(Vec::as_slice));
        self.taken = self.table.chunk(self.step, bounds, self.chunk);
        self.go_on_to(|| to);
    }
}

impl Iterator for Scan<'_> {
    type Item = (Bytes, Change);

    fn next(&mut self) -> Option<Self::Item> {
        if self.taken.is_empty() {
            self.take_chunk();
        }
        self.taken.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::raft::state::pins::Pin;

    fn scan(table: &Memtable, step: Step, from: u16, to: u16) -> Vec<(u16, Option<u8>)> {
        let number = |key: Bytes| u16::from_be_bytes(key.as_ref().try_into().unwrap());
        let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
        let scan = table.scan(step, &from, Bound::Excluded(&to));
        scan.into_iter()
            .flatten()
            .map(|(key, change)| (number(key), change.map(|value| value[0])))
            .collect()
    }

    #[test]
    fn a_reader_sees_each_key_as_it_was_at_its_step() {
        let table = Memtable::default();
        table.put(1, b"a", Some(vec![1].into()));
        table.put(1, b"a", Some(vec![2].into()));
        table.put(3, b"a", None);
        table.put(4, b"a", Some(vec![4].into()));
        let seen: Vec<_> = (0..6).map(|step| table.get(step, b"a")).collect();
        let known = |value: u8| Some(Some(vec![value].into()));
        assert_eq!(seen, [None, known(2), known(2), Some(None), known(4), known(4)]);
        assert_eq!(table.get(9, b"b"), None);
    }

    #[test]
    fn a_scan_goes_on_over_chunks_while_the_writer_goes_on() {
        let table = Memtable::default();
        for key in 0..2_000_u16 {
            table.put(1, &key.to_be_bytes(), (key % 3 != 0).then(|| vec![1].into()));
        }
        let end = 1_500_u16.to_be_bytes();
        let mut begun = table.scan(1, &[], Bound::Excluded(&end)).unwrap();
        assert_eq!(begun.next(), Some((vec![0, 0].into(), None)));
        for key in (0..3_000_u16).rev() {
            table.put(2, &key.to_be_bytes(), Some(vec![2].into()));
        }
        let rest: Vec<_> = begun.collect();
        assert_eq!(rest.len(), 1_499);
        assert!(rest.iter().all(|(_, change)| *change != Some(vec![2].into())));
        assert_eq!(scan(&table, 2, 0, 3_000).len(), 3_000);
        assert_eq!(scan(&table, 1, 1_999, 3_000), [(1_999, Some(1))]);
        assert!(table.scan(1, &2_000_u16.to_be_bytes(), Bound::Unbounded).is_none());
        assert_eq!(
            table
                .scan(2, &2_000_u16.to_be_bytes(), Bound::Unbounded)
                .unwrap()
                .count(),
            1_000
        );
    }

    #[test]
    fn what_nobody_sees_any_more_is_forgotten_and_a_deletion_of_what_is_below_is_not() {
        let table = Arc::new(Memtable::default());
        for key in [b"brief", b"below"] {
            table.put(1, key, Some(vec![1; 100].into()));
            table.put(2, key, Some(vec![2; 100].into()));
            table.put(4, key, None);
        }
        table.put(4, b"other", Some(vec![4].into()));
        let is_below = |key: &[u8]| key == b"below";
        let full = table.bytes();
        let (reader, other) = (Pin::new(table.clone(), 3), Pin::new(table.clone(), 3));
        drop(other);
        table.forget_unseen(4, is_below);
        assert_eq!(
            table.get(3, b"brief"),
            Some(Some(vec![2; 100].into())),
            "it is seen at 3"
        );
        assert_eq!(table.get(1, b"brief"), None);
        assert!(table.bytes() < full);
        drop(reader);
        table.forget_unseen(4, is_below);
        assert_eq!((table.get(4, b"brief"), table.get(4, b"below")), (None, Some(None)));
        assert_eq!(table.get(4, b"other"), Some(Some(vec![4].into())));
        assert_eq!(table.bytes(), b"belowother".len() + 1 + 2 * CHANGE_OVERHEAD_BYTES);
    }

    #[test]
    fn an_empty_range_has_no_changes() {
        let table = Memtable::default();
        table.put(1, b"k", Some(vec![1].into()));
        assert!(table.scan(1, b"k", Bound::Excluded(b"k")).is_none());
        assert!(table.scan(0, b"a", Bound::Excluded(b"z")).is_none());
    }
}
