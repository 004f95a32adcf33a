//! Where things lie in a partition's store: the first byte is the space, the rest keeps the order of what it names.
//!
//! Versions: user key, then commit timestamp, as `ordered` writes them: a scan meets keys in order and of each key the newest
//! version first.

use super::command::TxnId;
use super::ordered::{
    AFTER_ALL_TIMESTAMPS, newest_first_bytes, put_key, put_newest_first, take_key, take_newest_first,
};
use crate::ids::{MemberId, Timestamp};
use crate::store::StoreError;

const SCALAR: u8 = 1;
const VERSION: u8 = 2;
const INTENT: u8 = 3;
const INTENTS_OF_TXN: u8 = 4;
const RECORD: u8 = 5;
const RECORD_BY_START: u8 = 6;
const GARBAGE: u8 = 7;
const UNFINISHED_BY_START: u8 = 8;

const TXN_BYTES: usize = 24;

/// The partition's own values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar {
    ClosedTs = 1,
    RecordFloor = 2,
    VersionFloor = 3,
    Digest = 4,
    NotedDigest = 5,
}

/// Bounds of a scan, `from` inclusive and `to` exclusive.
pub(super) type Bounds = (Vec<u8>, Vec<u8>);

pub(super) fn scalar(which: Scalar) -> Vec<u8> {
    vec![SCALAR, which as u8]
}

pub(super) fn version(key: &[u8], commit_ts: Timestamp) -> Vec<u8> {
    let mut bytes = version_start(key);
    put_newest_first(&mut bytes, commit_ts);
    bytes
}

/// All versions of a key at or below a timestamp, newest first.
pub(super) fn versions_at(key: &[u8], at: Timestamp) -> Bounds {
    let mut end = version_start(key);
    end.extend_from_slice(&AFTER_ALL_TIMESTAMPS);
    (version(key, at), end)
}

/// All versions of a key, newest first.
pub(super) fn versions_of(key: &[u8]) -> Bounds {
    let start = version_start(key);
    let end = [start.as_slice(), &AFTER_ALL_TIMESTAMPS].concat();
    (start, end)
}

/// The timestamp of a place among the versions of a key, which begin there.
pub(super) fn timestamp_behind(place: &[u8], start: &[u8]) -> Result<Timestamp, StoreError> {
    let parse = || {
        let mut rest = place.strip_prefix(start)?;
        let parsed = take_newest_first(&mut rest)?;
        rest.is_empty().then_some(parsed)
    };
    parse().ok_or_else(|| damaged("version"))
}

/// All versions of the keys of a range.
pub(super) fn versions_in(from: &[u8], to: &[u8]) -> Bounds {
    (version_start(from), version_start(to))
}

pub(super) fn all_versions() -> Bounds {
    (vec![VERSION], vec![VERSION + 1])
}

fn version_start(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 12);
    bytes.push(VERSION);
    put_key(&mut bytes, key);
    bytes
}

/// The user key and timestamp of a version's place.
pub(super) fn parse_version(bytes: &[u8]) -> Result<(Vec<u8>, Timestamp), StoreError> {
    let parse = || {
        let mut rest = bytes.strip_prefix(&[VERSION])?;
        let parsed = (take_key(&mut rest)?, take_newest_first(&mut rest)?);
        rest.is_empty().then_some(parsed)
    };
    parse().ok_or_else(|| damaged("version"))
}

/// What a place of a version has in common with those of all versions of its key, and with no other place.
pub(super) fn key_part(place: &[u8], commit_ts: Timestamp) -> &[u8] {
    &place[..place.len().saturating_sub(newest_first_bytes(commit_ts))]
}

pub(super) fn intent(key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.push(INTENT);
    bytes.extend_from_slice(key);
    bytes
}

pub(super) fn intents_in(from: &[u8], to: &[u8]) -> Bounds {
    (intent(from), intent(to))
}

/// Intents from a user key on.
pub(super) fn intents_from(from: &[u8]) -> Bounds {
    (intent(from), vec![INTENT + 1])
}

/// The user key of an intent's place.
pub(super) fn parse_intent(bytes: &[u8]) -> Vec<u8> {
    bytes[1..].to_vec()
}

/// Where the keys are listed on which a transaction has an intent.
pub(super) fn intents_of_txn(txn: TxnId) -> Vec<u8> {
    with_txn(INTENTS_OF_TXN, txn)
}

pub(super) fn record(txn: TxnId) -> Vec<u8> {
    with_txn(RECORD, txn)
}

pub(super) fn record_by_start(start_ts: Timestamp, txn: TxnId) -> Vec<u8> {
    by_start(RECORD_BY_START, start_ts, txn)
}

/// Index entries of all records whose transactions started at or below.
pub(super) fn records_up_to(start_ts: Timestamp) -> Bounds {
    let mut end = vec![RECORD_BY_START];
    end.extend_from_slice(&start_ts.0.to_be_bytes());
    end.extend_from_slice(&[0xFF; TXN_BYTES + 1]);
    (vec![RECORD_BY_START], end)
}

pub(super) fn unfinished_by_start(start_ts: Timestamp, txn: TxnId) -> Vec<u8> {
    by_start(UNFINISHED_BY_START, start_ts, txn)
}

pub(super) fn all_unfinished() -> Bounds {
    (vec![UNFINISHED_BY_START], vec![UNFINISHED_BY_START + 1])
}

fn by_start(space: u8, start_ts: Timestamp, txn: TxnId) -> Vec<u8> {
    let mut bytes = vec![space];
    bytes.extend_from_slice(&start_ts.0.to_be_bytes());
    bytes.extend_from_slice(&with_txn(space, txn)[1..]);
    bytes
}

/// The transaction of an entry of either index by start.
pub(super) fn parse_by_start(bytes: &[u8]) -> Result<TxnId, StoreError> {
    let at = |from: usize| bytes.get(from..from + 8).ok_or_else(|| damaged("record index"));
    Ok(TxnId {
        member: MemberId(parse_u64(at(9)?)?),
        incarnation: parse_u64(at(17)?)?,
        counter: parse_u64(at(25)?)?,
    })
}

pub(super) fn garbage(commit_ts: Timestamp, key: &[u8]) -> Vec<u8> {
    let mut bytes = vec![GARBAGE];
    bytes.extend_from_slice(&commit_ts.0.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

/// Garbage entries at or below a timestamp, oldest first.
pub(super) fn garbage_up_to(limit: Timestamp) -> Bounds {
    let end = match limit.0.checked_add(1) {
        Some(next) => garbage(Timestamp(next), &[]),
        None => vec![GARBAGE + 1],
    };
    (vec![GARBAGE], end)
}

pub(super) fn parse_garbage(bytes: &[u8]) -> Result<(Timestamp, Vec<u8>), StoreError> {
    let timestamp = bytes.get(1..9).ok_or_else(|| damaged("garbage"))?;
    Ok((Timestamp(parse_u64(timestamp)?), bytes[9..].to_vec()))
}

fn with_txn(space: u8, txn: TxnId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + TXN_BYTES);
    bytes.push(space);
    for part in [txn.member.0, txn.incarnation, txn.counter] {
        bytes.extend_from_slice(&part.to_be_bytes());
    }
    bytes
}

fn parse_u64(bytes: &[u8]) -> Result<u64, StoreError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged("number"))
}

/// Bytes in the store that this build did not write.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::new(format!("a {what} of the partition's store is damaged"))
}
