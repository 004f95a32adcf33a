//! Reading a range at a snapshot: versions and intents merged in key order, a page at a time.

use std::cmp::Ordering;
use std::iter::Peekable;

use bytes::Bytes;

use super::command::Key;
use super::intents::{self, Intent, MetIntent};
use super::keys::{self, Bounds};
use super::newest::KeptAt;
use super::read::{Known, Seen, see, value};
use super::span::after;
use super::versions::Stored;
use crate::ids::Timestamp;
use crate::store::{Pair, Pairs, Read, StoreError};

/// Blocking intents after which a page stops: they are asked about together, and more would wait on few answers.
const MAX_INTENTS: usize = 128;
/// Keys visited for one page, so that a range full of deletions cannot hold a request for ever.
const MAX_KEYS: usize = 65_536;
/// Versions above the snapshot that are stepped over before it is cheaper to seek.
const STEPS_BEFORE_SEEK: usize = 8;

/// Where a page ends at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    pub pairs: usize,
    /// Of keys and values; at least one pair is returned however large.
    pub bytes: usize,
}

/// One page of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// In key order; without the keys that blocking intents stand on.
    pub pairs: Vec<Pair>,
    /// Intents whose transactions the reader has to ask about, then read again.
    pub blocked: Vec<MetIntent>,
    /// Where the next page starts; `None` where the range is done.
    pub resume: Option<Key>,
    /// When the newest of what the page shows was committed, its deletions included; 0 where there is nothing.
    pub since: Timestamp,
}

/// Reads the keys `from <= key < to` at a snapshot, with their values or without. The caller has refused snapshots below the
/// version floor.
pub fn scan_at(
    view: &dyn Read,
    from: &[u8],
    to: &[u8],
    snapshot: Timestamp,
    limits: ScanLimits,
    keys_only: bool,
    known: &Known,
) -> Result<ScanPage, StoreError> {
    let taken = |value: &Bytes| match keys_only {
        true => Bytes::new(),
        false => value.clone(),
    };
    let bounds = Ranges::of(from, to);
    if let Some(kept) = KeptAt::find(view, &bounds.versions, snapshot)
        && let Some(page) = ScanPage::of_kept(&kept, limits, taken)
        && view.is_empty(&bounds.intents.0, &bounds.intents.1)?
    {
        return Ok(page);
    }
    let mut merged = Merged::open(view, bounds, snapshot)?;
    let mut page = ScanPage::default();
    let mut bytes = 0;
    let mut visited = 0;
    // The last key that was visited, unless it is that of the last pair.
    let mut passed: Option<Key> = None;
    while let Some((key, found)) = merged.next()? {
        let full = page.pairs.len() >= limits.pairs || bytes >= limits.bytes;
        if full || page.blocked.len() >= MAX_INTENTS || visited >= MAX_KEYS {
            let last = passed.as_deref().or(page.pairs.last().map(|(key, _)| key.as_ref()));
            page.resume = Some(last.map_or_else(|| from.to_vec(), after));
            return Ok(page);
        }
        visited += 1;
        match decide(found, snapshot, known) {
            Decision::Value(None, since) => {
                page.since = page.since.max(since);
                passed = Some(key);
            }
            Decision::Value(Some(value), since) => {
                page.since = page.since.max(since);
                bytes += key.len() + value.len();
                passed = None;
                page.pairs.push((key.into(), taken(&value)));
            }
            Decision::Ask(intent) => {
                passed = Some(key.clone());
                page.blocked.push(MetIntent { key, intent });
            }
        }
    }
    Ok(page)
}

impl ScanPage {
    /// Where no intent is in the range; none where what is in memory does not fill a page.
    fn of_kept(kept: &KeptAt, limits: ScanLimits, taken: impl Fn(&Bytes) -> Bytes) -> Option<Self> {
        let newest = kept.get();
        let (all, mut fitting, mut bytes) = (newest.pairs(), 0, 0);
        while fitting < limits.pairs
            && bytes < limits.bytes
            && let Some((key, value)) = all.get(fitting)
        {
            fitting += 1;
            bytes += key.len() + value.len();
        }
        let is_full = fitting >= limits.pairs || bytes >= limits.bytes;
        let since = newest.since_of_first(fitting);
        // What is deleted behind the last pair of a full page is not looked at.
        let ends_here = kept.is_whole() && fitting == all.len() && (!is_full || since == newest.since());
        let (resume, since) = match ends_here {
            true => (None, newest.since()),
            false if is_full => (Some(after(&all[..fitting].last()?.0)), since),
            false => return None,
        };
        Some(ScanPage {
            pairs: all[..fitting]
                .iter()
                .map(|(key, value)| (key.clone(), taken(value)))
                .collect(),
            blocked: Vec::new(),
            resume,
            since,
        })
    }
}

/// Where what is read of a range lies.
struct Ranges {
    versions: Bounds,
    intents: Bounds,
}

impl Ranges {
    fn of(from: &[u8], to: &[u8]) -> Self {
        Ranges {
            versions: keys::versions_in(from, to),
            intents: keys::intents_in(from, to),
        }
    }
}

/// What a key has: its version at the snapshot and its intent.
struct Found {
    version: Option<Stored>,
    intent: Option<Intent>,
}

enum Decision {
    /// With when it was committed.
    Value(Option<Bytes>, Timestamp),
    Ask(Intent),
}

fn decide(found: Found, snapshot: Timestamp, known: &Known) -> Decision {
    let committed = |version: Option<Stored>| match version {
        Some(version) => Decision::Value(version.value, version.commit_ts),
        None => Decision::Value(None, Timestamp(0)),
    };
    match found.intent {
        None => committed(found.version),
        Some(intent) => match see(&intent, snapshot, known) {
            Seen::Ignore => committed(found.version),
            Seen::Take(since) => Decision::Value(value(intent.op), since),
            Seen::Ask => Decision::Ask(intent),
        },
    }
}

/// Keys that have a version at the snapshot or an intent, in order.
struct Merged<'a> {
    versions: Versions<'a>,
    version: Option<(Key, Stored)>,
    intents: Pairs<'a>,
    intent: Option<(Key, Intent)>,
}

impl<'a> Merged<'a> {
    fn open(view: &'a dyn Read, ranges: Ranges, snapshot: Timestamp) -> Result<Self, StoreError> {
        let mut merged = Merged {
            versions: Versions::open(view, ranges.versions, snapshot)?,
            version: None,
            intents: view.scan(&ranges.intents.0, &ranges.intents.1)?,
            intent: None,
        };
        merged.version = merged.versions.next()?;
        merged.intent = merged.next_intent()?;
        Ok(merged)
    }

    fn next(&mut self) -> Result<Option<(Key, Found)>, StoreError> {
        let order = match (&self.version, &self.intent) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((version, _)), Some((intent, _))) => version.cmp(intent),
        };
        let mut key = Key::new();
        let mut found = Found {
            version: None,
            intent: None,
        };
        if order.is_le() {
            let next = self.versions.next()?;
            if let Some((at, version)) = std::mem::replace(&mut self.version, next) {
                (key, found.version) = (at, Some(version));
            }
        }
        if order.is_ge() {
            let next = self.next_intent()?;
            if let Some((at, intent)) = std::mem::replace(&mut self.intent, next) {
                (key, found.intent) = (at, Some(intent));
            }
        }
        Ok(Some((key, found)))
    }

    fn next_intent(&mut self) -> Result<Option<(Key, Intent)>, StoreError> {
        let Some(pair) = self.intents.next() else {
            return Ok(None);
        };
        let (place, bytes) = pair?;
        Ok(Some((keys::parse_intent(&place), intents::parse(&bytes)?)))
    }
}

/// Of every key of a range the newest version at or below the snapshot.
pub(super) struct Versions<'a> {
    view: &'a dyn Read,
    end: Vec<u8>,
    snapshot: Timestamp,
    pairs: Peekable<Pairs<'a>>,
}

impl<'a> Versions<'a> {
    pub fn open(view: &'a dyn Read, (start, end): Bounds, snapshot: Timestamp) -> Result<Self, StoreError> {
        let pairs = view.scan(&start, &end)?.peekable();
        Ok(Versions {
            view,
            end,
            snapshot,
            pairs,
        })
    }

    pub fn next(&mut self) -> Result<Option<(Key, Stored)>, StoreError> {
        let mut steps = 0;
        while let Some(pair) = self.pairs.next() {
            let (place, bytes) = pair?;
            let (key, commit_ts) = keys::parse_version(&place)?;
            if commit_ts <= self.snapshot {
                let version = Stored::of_bytes(commit_ts, &bytes)?;
                self.skip_older(keys::key_part(&place, commit_ts), &key)?;
                return Ok(Some((key, version)));
            }
            steps += 1;
            if steps == STEPS_BEFORE_SEEK {
                self.seek(keys::version(&key, self.snapshot))?;
                steps = 0;
            }
        }
        Ok(None)
    }

    /// Leaves the iterator at the next key.
    fn skip_older(&mut self, key_part: &[u8], key: &[u8]) -> Result<(), StoreError> {
        let mut steps = 0;
        while let Some(Ok((next, _))) = self.pairs.peek()
            && next.starts_with(key_part)
        {
            self.pairs.next();
            steps += 1;
            if steps == STEPS_BEFORE_SEEK {
                let (_, key_end) = keys::versions_at(key, Timestamp(0));
                return self.seek(key_end);
            }
        }
        Ok(())
    }

    fn seek(&mut self, start: Vec<u8>) -> Result<(), StoreError> {
        self.pairs = self.view.scan(&start, &self.end)?.peekable();
        Ok(())
    }
}
