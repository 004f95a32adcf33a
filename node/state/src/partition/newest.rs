//! The newest versions of a range that the store has in memory: who reads the present takes them as they are, without parsing
//! and merging them anew.

use std::sync::Arc;

use bytes::Bytes;

use super::keys::{self, Bounds};
use super::versions::Stored;
use crate::ids::Timestamp;
use crate::store::{Kept, Pair, Read, StoreError};

/// The newest version of each key of a range, or of the first of them.
#[derive(Debug)]
pub struct NewestVersions {
    /// When the newest of all was committed, deletions included: it is the same at every snapshot from here on.
    since: Timestamp,
    /// Keys and values, in key order, without those that are deleted.
    pairs: Box<[Pair]>,
    /// The same of each pair and all before it.
    since_of_first: Box<[Timestamp]>,
}

impl NewestVersions {
    /// From the versions of a range, or the first of them.
    fn of(versions: &[Pair]) -> Result<Self, StoreError> {
        let mut since = Timestamp(0);
        let mut all_keys = Vec::new();
        let (mut found, mut since_of_first) = (Vec::new(), Vec::new());
        let mut before: &[u8] = &[];
        for (place, bytes) in versions {
            // Of each key the newest comes first.
            if !before.is_empty() && place.starts_with(before) {
                continue;
            }
            let (key, commit_ts) = keys::parse_version(place)?;
            before = keys::key_part(place, commit_ts);
            since = since.max(commit_ts);
            if let Some(value) = Stored::of_bytes(commit_ts, bytes)?.value {
                let start = all_keys.len();
                all_keys.extend_from_slice(&key);
                found.push((start..all_keys.len(), value));
                since_of_first.push(since);
            }
        }
        // Side by side, for they are read one after the other.
        let all_keys = Bytes::from(all_keys);
        let pairs = found.into_iter().map(|(key, value)| (all_keys.slice(key), value));
        Ok(NewestVersions {
            since,
            pairs: pairs.collect(),
            since_of_first: since_of_first.into(),
        })
    }

    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// When the newest of the first pairs was committed, and of what is deleted before the last of them.
    pub fn since_of_first(&self, pairs: usize) -> Timestamp {
        let last = pairs.checked_sub(1).and_then(|last| self.since_of_first.get(last));
        last.copied().unwrap_or_default()
    }

    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }
}

/// A range of versions that the store has in memory, where a snapshot shows the newest of each key.
pub(super) struct KeptAt(Arc<Kept>);

impl KeptAt {
    pub fn find(view: &dyn Read, (from, to): &Bounds, snapshot: Timestamp) -> Option<Self> {
        let kept = KeptAt(view.kept(from, to)?);
        (kept.newest()?.since <= snapshot).then_some(kept)
    }

    /// None where they cannot be read; who looks at them one by one will say why.
    fn newest(&self) -> Option<&NewestVersions> {
        let newest = self.0.newest.get_or_init(|| NewestVersions::of(&self.0.pairs).ok());
        newest.as_ref()
    }

    /// Whether they are those of all keys of the range.
    pub fn is_whole(&self) -> bool {
        self.0.is_whole
    }

    pub fn get(&self) -> &NewestVersions {
        self.newest().expect("it was found by its newest versions")
    }
}
