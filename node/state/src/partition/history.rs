//! The versions of one key that are kept, newest first.

use bytes::Bytes;

use super::intents::{MetIntent, intent_of};
use super::keys;
use super::read::{Known, Seen, see, value};
use super::scan::ScanLimits;
use super::versions::Stored;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError};

/// Versions with their commit timestamps; none stands for a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptVersions {
    pub versions: Vec<(Timestamp, Option<Bytes>)>,
    /// Older ones are left out because of the limits.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryAt {
    Kept(KeptVersions),
    /// Another transaction may have committed a version at or below the snapshot: ask its primary and read again.
    Blocked(MetIntent),
}

/// The versions of a key at or below a snapshot, as far as collection has left them.
pub fn history_at(
    view: &dyn Read,
    key: &[u8],
    snapshot: Timestamp,
    limits: ScanLimits,
    known: &Known,
) -> Result<HistoryAt, StoreError> {
    let mut kept = KeptVersions::default();
    if let Some(intent) = intent_of(view, key)? {
        match see(&intent, snapshot, known) {
            Seen::Ignore => {}
            Seen::Take(at) => kept.versions.push((at, value(intent.op))),
            Seen::Ask => {
                let key = key.to_vec();
                return Ok(HistoryAt::Blocked(MetIntent { key, intent }));
            }
        }
    }
    let (from, to) = keys::versions_at(key, snapshot);
    let mut bytes = 0;
    for pair in view.scan(&from, &to)? {
        if kept.versions.len() >= limits.pairs || bytes >= limits.bytes {
            kept.more = true;
            break;
        }
        let (place, stored) = pair?;
        bytes += stored.len();
        let (_, commit_ts) = keys::parse_version(&place)?;
        kept.versions
            .push((commit_ts, Stored::of_bytes(commit_ts, &stored)?.value));
    }
    Ok(HistoryAt::Kept(kept))
}
