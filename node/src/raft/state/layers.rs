//! The layers of a state, newest first: the memtable that is written to, the one on its way into the file, and the file.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kotoba_state::store::{Kept, Pair, Pairs, Read, StoreError};
use redb::ReadableTable;

use super::error::StateError;
use super::file::{PinnedKeys, StateFile};
use super::gaps::Gaps;
use super::memtable::{Change, Memtable, Scan, Step};
use super::pins::Pin;
use super::ranges::{Generation, Range, Ranges};

/// The state as of one step; clones share it.
#[derive(Clone)]
pub struct Layers {
    recent: Arc<Memtable>,
    /// Complete: nothing is written to it any more.
    frozen: Option<Arc<Memtable>>,
    base: Arc<Base>,
    step: Step,
}

/// The file as of its last checkpoint.
pub struct Base {
    // Before the file: a table of a closed database reads nothing.
    keys: PinnedKeys,
    spaces: Spaces,
    ranges: Arc<Ranges>,
    gaps: Arc<Gaps>,
    generation: Generation,
    file: Arc<StateFile>,
}

/// What of a space is known without the file. Most spaces hold what lives for moments only, so that little of it ever comes to
/// the file, and what is not there need not be looked for.
enum Space {
    /// All its keys.
    Few(BTreeSet<Vec<u8>>),
    Many,
}

/// Keys of a space that are kept in mind.
const MANY: usize = 4_096;

/// By the first byte of a key; none holds nothing.
struct Spaces(BTreeMap<u8, Space>);

impl Spaces {
    /// Those with many keys before are taken to have many still: to count them is to read as many pages at each checkpoint.
    fn of(keys: &PinnedKeys, before: Option<&Self>) -> Result<Self, redb::Error> {
        let had_many = |space: u8| before.is_some_and(|before| matches!(before.0.get(&space), Some(Space::Many)));
        let mut spaces = BTreeMap::new();
        let mut from = Some(0);
        while let Some(first) = from
            && let Some(item) = keys.range::<&[u8]>([first].as_slice()..)?.next()
        {
            let found = item?.0.value().first().copied();
            let Some(space) = found else { break };
            let found = match had_many(space) {
                true => Space::Many,
                false => Space::of(keys, space)?,
            };
            spaces.insert(space, found);
            from = space.checked_add(1);
        }
        Ok(Spaces(spaces))
    }

    /// Whether the file may have a key.
    fn may_have(&self, key: &[u8]) -> bool {
        let Some(space) = key.first() else { return true };
        match self.0.get(space) {
            None => false,
            Some(Space::Few(keys)) => keys.contains(key),
            Some(Space::Many) => true,
        }
    }

    /// Whether the file may have a key in a range.
    fn may_have_any(&self, from: &[u8], to: Bound<&[u8]>) -> bool {
        let first = from.first().copied().unwrap_or(0);
        let last = match to {
            Bound::Included(to) | Bound::Excluded(to) => to.first().copied().unwrap_or(0),
            Bound::Unbounded => u8::MAX,
        };
        self.0.range(first..=last).any(|(_, space)| match space {
            Space::Few(keys) => keys.range::<[u8], _>((Bound::Included(from), to)).next().is_some(),
            Space::Many => true,
        })
    }
}

impl Space {
    fn of(keys: &PinnedKeys, space: u8) -> Result<Self, redb::Error> {
        let mut few = BTreeSet::new();
        for item in keys.range::<&[u8]>([space].as_slice()..)? {
            let key = item?.0.value().to_vec();
            if key.first() != Some(&space) {
                break;
            }
            few.insert(key);
            if few.len() > MANY {
                return Ok(Space::Many);
            }
        }
        Ok(Space::Few(few))
    }
}

impl Base {
    pub fn pin(file: Arc<StateFile>) -> Result<Arc<Self>, StateError> {
        let ranges = Arc::new(Ranges::new(file.range_cache_bytes()));
        Self::pin_with(None, (ranges, Arc::default()), 0, file)
    }

    /// The same file behind a checkpoint of these changes.
    pub fn next(&self, changes: &Memtable, step: Step) -> Result<Arc<Self>, StateError> {
        let generation = changes.with_all(step, |changes| {
            let changed: Vec<&[u8]> = changes.map(|(key, _)| key).collect();
            self.gaps.advance(&changed);
            self.ranges.advance(&changed)
        });
        let known = (self.ranges.clone(), self.gaps.clone());
        Self::pin_with(Some(&self.spaces), known, generation, self.file.clone())
    }

    fn pin_with(
        before: Option<&Spaces>,
        (ranges, gaps): (Arc<Ranges>, Arc<Gaps>),
        generation: Generation,
        file: Arc<StateFile>,
    ) -> Result<Arc<Self>, StateError> {
        let keys = file.keys()?;
        let spaces = Spaces::of(&keys, before).map_err(StateError::database(&file.path(), "read"))?;
        Ok(Arc::new(Base {
            keys,
            spaces,
            ranges,
            gaps,
            generation,
            file,
        }))
    }

    pub fn file(&self) -> &Arc<StateFile> {
        &self.file
    }

    /// All pairs, in key order.
    pub fn all(&self) -> Result<Pairs<'_>, StoreError> {
        self.scan(&[], Bound::Unbounded)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if !self.spaces.may_have(key) {
            return Ok(None);
        }
        let value = ReadableTable::get(&self.keys, key).map_err(StoreError::new)?;
        Ok(value.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn scan(&self, from: &[u8], to: Bound<&[u8]>) -> Result<Pairs<'_>, StoreError> {
        if !self.spaces.may_have_any(from, to) {
            return Ok(Box::new(std::iter::empty()));
        }
        let Bound::Excluded(end) = to else {
            return self.read(from, to);
        };
        if let Some(kept) = self.kept(from, end).filter(|kept| kept.is_whole) {
            return Ok(Box::new(
                (0..kept.pairs.len()).map(move |at| Ok(kept.pairs[at].clone())),
            ));
        }
        if self.gaps.have(from, end, self.generation) {
            return Ok(Box::new(std::iter::empty()));
        }
        Ok(match self.read_any(from, end)? {
            Some(pairs) => Box::new(self.ranges.watch(Range::new(from, end), self.generation, pairs)),
            None => Box::new(std::iter::empty()),
        })
    }

    fn kept(&self, from: &[u8], end: &[u8]) -> Option<Arc<Kept>> {
        self.ranges.get(from, end, self.generation)
    }

    /// Whether it has no key in a range.
    fn is_empty(&self, from: &[u8], end: &[u8]) -> Result<bool, StoreError> {
        let to = Bound::Excluded(end);
        Ok(!self.spaces.may_have_any(from, to) || self.scan(from, to)?.next().transpose()?.is_none())
    }

    /// The pairs of a range; where there is none, notes the gap.
    fn read_any(&self, from: &[u8], end: &[u8]) -> Result<Option<Pairs<'_>>, StoreError> {
        let mut items = ReadableTable::range::<&[u8]>(&self.keys, from..).map_err(StoreError::new)?;
        let first = items.next().transpose().map_err(StoreError::new)?;
        let Some((key, value)) = first.as_ref().filter(|(key, _)| key.value() < end) else {
            let behind = first.as_ref().map(|(key, _)| key.value());
            self.gaps.note(from, behind, self.generation);
            return Ok(None);
        };
        let first = pair(key.value(), value.value());
        let end = end.to_vec();
        let rest = items.map_while(move |item| match item {
            Ok((key, value)) => {
                let key = key.value();
                (key < end.as_slice()).then(|| Ok(pair(key, value.value())))
            }
            Err(error) => Some(Err(StoreError::new(error))),
        });
        Ok(Some(Box::new(std::iter::once(Ok(first)).chain(rest))))
    }

    fn read(&self, from: &[u8], to: Bound<&[u8]>) -> Result<Pairs<'_>, StoreError> {
        let bounds = (Bound::Included(from), to);
        let range = ReadableTable::range::<&[u8]>(&self.keys, bounds).map_err(StoreError::new)?;
        Ok(Box::new(range.map(|item| {
            let (key, value) = item.map_err(StoreError::new)?;
            Ok(pair(key.value(), value.value()))
        })))
    }
}

/// In one piece of memory, which may be kept as well.
fn pair(key: &[u8], value: &[u8]) -> Pair {
    let mut both = BytesMut::with_capacity(key.len() + value.len());
    both.extend_from_slice(key);
    both.extend_from_slice(value);
    let key = both.split_to(key.len()).freeze();
    (key, both.freeze())
}

impl Layers {
    pub fn of_file(base: Arc<Base>) -> Self {
        Layers {
            recent: Arc::default(),
            frozen: None,
            base,
            step: 0,
        }
    }

    pub fn file(&self) -> &Arc<StateFile> {
        &self.base.file
    }

    pub fn base(&self) -> &Arc<Base> {
        &self.base
    }

    pub fn step(&self) -> Step {
        self.step
    }

    /// The same at another step.
    pub fn at(&self, step: Step) -> Self {
        Layers { step, ..self.clone() }
    }

    pub fn put(&self, key: &[u8], change: Change) {
        self.recent.put(self.step, key, change);
    }

    /// Keeps what is seen at this step from being forgotten.
    pub fn pin(&self) -> Pin {
        Pin::new(self.recent.clone(), self.step)
    }

    /// Lets go of changes that nobody sees at this step, at later ones, or where a view is pinned.
    pub fn forget_unseen(&self) {
        let frozen = self.frozen.as_deref();
        self.recent.forget_unseen(self.step, |key| {
            self.base.spaces.may_have(key) || frozen.is_some_and(|frozen| frozen.has(key))
        });
    }

    /// About how many bytes are not in the file.
    pub fn dirty_bytes(&self) -> usize {
        self.recent.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    /// Begins a memtable; the one before is complete and given back, to be written to the file.
    pub fn freeze(&mut self) -> Arc<Memtable> {
        let frozen = std::mem::take(&mut self.recent);
        self.frozen = Some(frozen.clone());
        frozen
    }

    /// The file has what was frozen; it may be another one.
    pub fn rebase(&mut self, base: Arc<Base>) {
        self.base = base;
        self.frozen = None;
    }

    /// All pairs, in key order.
    pub fn all(&self) -> Result<Pairs<'_>, StoreError> {
        self.merge(&[], Bound::Unbounded)
    }

    fn merge(&self, from: &[u8], to: Bound<&[u8]>) -> Result<Pairs<'_>, StoreError> {
        let mut pairs = self.base.scan(from, to)?;
        for table in self.frozen.iter().chain([&self.recent]) {
            if let Some(changes) = table.scan(self.step, from, to) {
                pairs = Box::new(Merged {
                    changes: changes.peekable(),
                    below: pairs.peekable(),
                });
            }
        }
        Ok(pairs)
    }

    fn memtables(&self) -> impl Iterator<Item = &Memtable> {
        let newest_first = std::iter::once(&self.recent).chain(&self.frozen);
        newest_first.map(|table| &**table)
    }
}

impl Read for Layers {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.memtables().find_map(|table| table.get(self.step, key)) {
            Some(change) => Ok(change),
            None => self.base.get(key),
        }
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        if from >= to {
            return Ok(Box::new(std::iter::empty()));
        }
        self.merge(from, Bound::Excluded(to))
    }

    fn kept(&self, from: &[u8], to: &[u8]) -> Option<Arc<Kept>> {
        let kept = self.base.kept(from, to)?;
        let changed = self.memtables().any(|table| table.touches(from, to));
        (!changed).then_some(kept)
    }

    fn is_empty(&self, from: &[u8], to: &[u8]) -> Result<bool, StoreError> {
        if from < to && self.memtables().any(|table| table.touches(from, to)) {
            return Ok(self.scan(from, to)?.next().transpose()?.is_none());
        }
        self.base.is_empty(from, to)
    }
}

/// Changes laid over the pairs below them.
struct Merged<'a> {
    changes: Peekable<Scan<'a>>,
    below: Peekable<Pairs<'a>>,
}

impl Iterator for Merged<'_> {
    type Item = Result<Pair, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let changed = match (self.changes.peek(), self.below.peek()) {
                (Some((key, _)), Some(Ok((below, _)))) if below < key => None,
                (Some((key, _)), Some(Ok((below, _)))) if below == key => {
                    self.below.next();
                    self.changes.next()
                }
                (_, Some(Err(_))) => None,
                (Some(_), _) => self.changes.next(),
                (None, _) => None,
            };
            match changed {
                None => return self.below.next(),
                Some((key, Some(value))) => return Some(Ok((key, value))),
                // Deleted.
                Some((_, None)) => {}
            }
        }
    }
}
