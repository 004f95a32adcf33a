//! Committed versions: reading the newest or the one at a snapshot, and writing new ones.
//!
//! Whoever writes a version also keeps the state digest and the garbage queue right, so nothing else may write here.

use super::command::{Key, Op, TxnId};
use super::digest::StateDigest;
use super::keys;
use crate::ids::{MemberId, Timestamp};
use crate::store::{Read, StoreError, Write};

/// First byte of a stored version: kind and format in one.
const PUT_1: u8 = 1;
const DELETE_1: u8 = 2;
const PUT_TEMPORARY_1: u8 = 3;
const TXN_BYTES: usize = 24;

/// One committed version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub commit_ts: Timestamp,
    pub txn: TxnId,
    pub op: Op,
}

impl Version {
    pub fn parse(place: &[u8], bytes: &[u8]) -> Result<(Key, Self), StoreError> {
        let (key, commit_ts) = keys::parse_version(place)?;
        Ok((key, Version::of_bytes(commit_ts, bytes)?))
    }

    /// The version that was committed at a timestamp, from what is stored of it.
    pub fn of_bytes(commit_ts: Timestamp, bytes: &[u8]) -> Result<Self, StoreError> {
        let (&tag, rest) = bytes.split_first().ok_or_else(|| keys::damaged("version"))?;
        let (txn, value) = rest
            .split_at_checked(TXN_BYTES)
            .ok_or_else(|| keys::damaged("version"))?;
        let op = match tag {
            PUT_1 => Op::Put(value.to_vec()),
            DELETE_1 => Op::Delete,
            PUT_TEMPORARY_1 => Op::PutTemporary(value.to_vec()),
            other => {
                return Err(StoreError::new(format!(
                    "a version has format {other}, which this build does not know: start a newer build"
                )));
            }
        };
        let txn = parse_txn(txn);
        Ok(Version { commit_ts, txn, op })
    }

    fn bytes(&self) -> Vec<u8> {
        let (tag, value): (u8, &[u8]) = match &self.op {
            Op::Put(value) => (PUT_1, value),
            Op::Delete => (DELETE_1, &[]),
            Op::PutTemporary(value) => (PUT_TEMPORARY_1, value),
        };
        let mut bytes = Vec::with_capacity(1 + TXN_BYTES + value.len());
        bytes.push(tag);
        for part in [self.txn.member.0, self.txn.incarnation, self.txn.counter] {
            bytes.extend_from_slice(&part.to_be_bytes());
        }
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

fn parse_txn(bytes: &[u8]) -> TxnId {
    let part = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight of the 24 bytes of an id"));
    TxnId {
        member: MemberId(part(0)),
        incarnation: part(8),
        counter: part(16),
    }
}

/// The newest version of a key at or below a timestamp.
pub(super) fn version_at(store: &dyn Read, key: &[u8], at: Timestamp) -> Result<Option<Version>, StoreError> {
    let (from, to) = keys::versions_at(key, at);
    let first = store.scan(&from, &to)?.next();
    first
        .map(|pair| pair.and_then(|(place, bytes)| Ok(Version::parse(&place, &bytes)?.1)))
        .transpose()
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
