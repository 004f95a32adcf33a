//! Committed versions: reading the newest or the one at a snapshot, and writing new ones.
//!
//! Whoever writes a version also keeps the state digest and the garbage queue right, so nothing else may write here.

use bytes::Bytes;

use super::command::{Key, Op, TxnId};
use super::digest::StateDigest;
use super::keys::{self, Bounds};
use super::newest::KeptAt;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

/// First byte of a stored version: kind and format in one. Those below were of the first format, with ids of 24 bytes.
const PUT_2: u8 = 4;
const DELETE_2: u8 = 5;
const PUT_TEMPORARY_2: u8 = 6;

/// One committed version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub commit_ts: Timestamp,
    pub txn: TxnId,
    pub op: Op,
}

impl Version {
    pub fn parse(place: &[u8], bytes: &[u8]) -> Result<(Key, Self), StoreError> {
        // First, for a place of another format may not be understood.
        let kind = Kind::of(bytes)?;
        let (key, commit_ts) = keys::parse_version(place)?;
        Ok((key, Version::of_kind(kind, commit_ts, bytes)?))
    }

    /// The version that was committed at a timestamp, from what is stored of it.
    pub fn of_bytes(commit_ts: Timestamp, bytes: &[u8]) -> Result<Self, StoreError> {
        Version::of_kind(Kind::of(bytes)?, commit_ts, bytes)
    }

    fn of_kind(kind: Kind, commit_ts: Timestamp, bytes: &[u8]) -> Result<Self, StoreError> {
        let (txn, value) = split(bytes)?;
        let op = match kind {
            Kind::Put => Op::Put(value.to_vec()),
            Kind::Delete => Op::Delete,
            Kind::PutTemporary => Op::PutTemporary(value.to_vec()),
        };
        Ok(Version { commit_ts, txn, op })
    }

    fn bytes(&self) -> Vec<u8> {
        /// Most ids take fewer.
        const ID_BYTES: usize = 12;
        let (tag, value): (u8, &[u8]) = match &self.op {
            Op::Put(value) => (PUT_2, value),
            Op::Delete => (DELETE_2, &[]),
            Op::PutTemporary(value) => (PUT_TEMPORARY_2, value),
        };
        let mut bytes = Vec::with_capacity(1 + ID_BYTES + value.len());
        bytes.push(tag);
        let mut bytes = postcard::to_extend(&self.txn, bytes).expect("a vector takes every byte");
        bytes.extend_from_slice(value);
        bytes
    }

    pub fn exists(&self) -> bool {
        matches!(self.op, Op::Put(_) | Op::PutTemporary(_))
    }

    /// Whether collection takes this version away even where no newer one hides it.
    pub fn is_temporary(&self) -> bool {
        matches!(self.op, Op::Delete | Op::PutTemporary(_))
    }
}

/// A version as a reader wants it: its value lies where the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub commit_ts: Timestamp,
    /// None where it is a deletion.
    pub value: Option<Bytes>,
}

impl Stored {
    pub fn of_bytes(commit_ts: Timestamp, bytes: &Bytes) -> Result<Self, StoreError> {
        let value = match Kind::of(bytes)? {
            Kind::Put | Kind::PutTemporary => Some(bytes.slice_ref(split(bytes)?.1)),
            Kind::Delete => None,
        };
        Ok(Stored { commit_ts, value })
    }
}

/// The transaction that wrote a version, and the value.
fn split(bytes: &[u8]) -> Result<(TxnId, &[u8]), StoreError> {
    postcard::take_from_bytes(&bytes[1..]).map_err(|_| keys::damaged("version"))
}

enum Kind {
    Put,
    Delete,
    PutTemporary,
}

impl Kind {
    /// By the first byte of a stored version.
    fn of(bytes: &[u8]) -> Result<Self, StoreError> {
        match *bytes.first().ok_or_else(|| keys::damaged("version"))? {
            PUT_2 => Ok(Kind::Put),
            DELETE_2 => Ok(Kind::Delete),
            PUT_TEMPORARY_2 => Ok(Kind::PutTemporary),
            other => Err(StoreError::new(format!(
                "a version has format {other}, which this build does not know: start the build that wrote it"
            ))),
        }
    }
}

/// Versions above the timestamp that are stepped over before it is cheaper to seek.
const STEPS_BEFORE_SEEK: usize = 4;

/// The newest version of a key at or below a timestamp.
pub(super) fn version_at(store: &dyn Read, key: &[u8], at: Timestamp) -> Result<Option<Version>, StoreError> {
    let found = find_at(store, key, &keys::versions_of(key), at)?;
    found
        .map(|(commit_ts, bytes)| Version::of_bytes(commit_ts, &bytes))
        .transpose()
}

/// As [`version_at`], for a reader.
pub(super) fn stored_at(store: &dyn Read, key: &[u8], at: Timestamp) -> Result<Option<Stored>, StoreError> {
    let versions = keys::versions_of(key);
    if let Some(kept) = KeptAt::find(store, &versions, at) {
        let newest = kept.get();
        let value = newest.pairs().first().map(|(_, value)| value.clone());
        return Ok(Some(Stored {
            commit_ts: newest.since(),
            value,
        }));
    }
    let found = find_at(store, key, &versions, at)?;
    found
        .map(|(commit_ts, bytes)| Stored::of_bytes(commit_ts, &bytes))
        .transpose()
}

/// What is stored of the newest version of a key at or below a timestamp; all its versions lie within these bounds.
fn find_at(
    store: &dyn Read,
    key: &[u8],
    (start, end): &Bounds,
    at: Timestamp,
) -> Result<Option<(Timestamp, Bytes)>, StoreError> {
    let mut pairs = store.scan(start, end)?;
    for _ in 0..STEPS_BEFORE_SEEK {
        let Some(pair) = pairs.next() else {
            return Ok(None);
        };
        let (place, bytes) = pair?;
        let commit_ts = keys::timestamp_behind(&place, start)?;
        if commit_ts <= at {
            // Most keys have one version: a store that sees the end of them may keep them in mind.
            pairs.next();
            return Ok(Some((commit_ts, bytes)));
        }
    }
    let (from, to) = keys::versions_at(key, at);
    let Some((place, bytes)) = store.scan(&from, &to)?.next().transpose()? else {
        return Ok(None);
    };
    Ok(Some((keys::timestamp_behind(&place, start)?, bytes)))
}

pub(super) fn newest(store: &dyn Read, key: &[u8]) -> Result<Option<Version>, StoreError> {
    version_at(store, key, Timestamp(u64::MAX))
}

/// The commit timestamp of a transaction's version of a key; it lies above its start.
pub(super) fn version_by(
    store: &dyn Read,
    key: &[u8],
    txn: TxnId,
    start_ts: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let (from, to) = keys::versions_at(key, Timestamp(u64::MAX));
    for pair in store.scan(&from, &to)? {
        let (place, bytes) = pair?;
        let (_, version) = Version::parse(&place, &bytes)?;
        if version.commit_ts <= start_ts {
            return Ok(None);
        }
        if version.txn == txn {
            return Ok(Some(version.commit_ts));
        }
    }
    Ok(None)
}

/// Writes versions of one transaction at its commit timestamp, each with the newest that its key has before.
pub(super) fn write_versions(
    store: &mut dyn Write,
    txn: TxnId,
    commit_ts: Timestamp,
    writes: impl IntoIterator<Item = ((Key, Op), Option<Version>)>,
) -> Result<(), StoreError> {
    let mut digest = StateDigest::load(store)?;
    for ((key, op), before) in writes {
        let version = Version { commit_ts, txn, op };
        write_one(store, &mut digest, &key, before.as_ref(), &version)?;
    }
    digest.save(store)
}

/// Drops a version that collection takes away by itself, if it is the one of this timestamp.
pub(super) fn drop_temporary(store: &mut dyn Write, key: &[u8], commit_ts: Timestamp) -> Result<(), StoreError> {
    let Some(version) = version_at(store, key, commit_ts)? else {
        return Ok(());
    };
    if version.commit_ts != commit_ts || !version.is_temporary() {
        return Ok(());
    }
    if newest(store, key)?.as_ref() == Some(&version) {
        let mut digest = StateDigest::load(store)?;
        digest.remove(key, &version);
        digest.save(store)?;
    }
    store.delete(&keys::version(key, commit_ts))
}

fn write_one(
    store: &mut dyn Write,
    digest: &mut StateDigest,
    key: &[u8],
    before: Option<&Version>,
    version: &Version,
) -> Result<(), StoreError> {
    // Intents keep newer versions out, so the new one is the newest; a replayed one must not disturb the digest.
    if before.is_none_or(|old| old.commit_ts < version.commit_ts) {
        if let Some(old) = before {
            digest.remove(key, old);
        }
        digest.add(key, version);
    }
    if before.is_some() || version.is_temporary() {
        store.put(&keys::garbage(version.commit_ts, key), &[])?;
    }
    store.put(&keys::version(key, version.commit_ts), &version.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::MemberId;

    fn version() -> Version {
        Version {
            commit_ts: Timestamp(70_000),
            txn: TxnId {
                member: MemberId(3),
                incarnation: 1,
                counter: 300,
            },
            op: Op::Put(b"value".to_vec()),
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        let version = version();
        assert_eq!(version.bytes(), b"\x04\x03\x01\xac\x02value");
        let place = keys::version(b"\0\x09N\0\0\0k", version.commit_ts);
        assert_eq!(place, b"\x02\0\xfe\x09N\0\xfck\0\0\xfc\xfe\xee\x8f");
        assert_eq!(
            Version::parse(&place, &version.bytes()).unwrap(),
            (b"\0\x09N\0\0\0k".to_vec(), version)
        );
    }

    #[test]
    fn ids_of_any_size_come_back() {
        let numbers = [0, 1, 127, 128, 1 << 32, u64::MAX];
        for (member, counter) in numbers.into_iter().zip(numbers.into_iter().rev()) {
            let txn = TxnId {
                member: MemberId(member),
                incarnation: counter,
                counter,
            };
            for op in [Op::Put(vec![]), Op::PutTemporary(vec![0; 40]), Op::Delete] {
                let version = Version { txn, op, ..version() };
                let place = keys::version(b"key", version.commit_ts);
                assert_eq!(Version::parse(&place, &version.bytes()).unwrap().1, version);
            }
        }
    }

    #[test]
    fn versions_of_the_first_format_are_refused_with_what_to_do() {
        let old_place = [b"\x02\0\xffk\0\0".as_slice(), &[0xFF; 8]].concat();
        let refused = Version::parse(&old_place, &[1; 30]).unwrap_err().0;
        assert!(refused.to_string().contains("format 1"), "{refused}");
        assert!(
            refused.to_string().contains("start the build that wrote it"),
            "{refused}"
        );
    }

    #[test]
    fn damaged_versions_are_refused() {
        let version = version();
        let (place, bytes) = (keys::version(b"key", version.commit_ts), version.bytes());
        for cut in 0..place.len() {
            assert!(Version::parse(&place[..cut], &bytes).is_err(), "{cut}");
        }
        assert!(Version::parse(&[place.as_slice(), &[0]].concat(), &bytes).is_err());
        for cut in 0..5 {
            assert!(Version::parse(&place, &bytes[..cut]).is_err(), "{cut}");
        }
    }
}
