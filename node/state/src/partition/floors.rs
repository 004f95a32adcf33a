//! The partition's monotone timestamps: closed, record floor, version floor.

use super::collect::{collect, has_something_to_collect};
use super::command::{Answer, TxnHead};
use super::keys::{self, Scalar};
use super::records;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

/// No one-phase commit at or below will be applied: followers may read up to here.
pub fn closed_ts(store: &dyn Read) -> Result<Timestamp, StoreError> {
    load(store, Scalar::ClosedTs)
}

/// Of transactions that started at or below, a missing record means: decided, and resolved everywhere.
pub fn record_floor(store: &dyn Read) -> Result<Timestamp, StoreError> {
    load(store, Scalar::RecordFloor)
}

/// Snapshots below may miss versions, and are refused.
pub fn version_floor(store: &dyn Read) -> Result<Timestamp, StoreError> {
    load(store, Scalar::VersionFloor)
}

/// Floors that are to be reached.
#[derive(Clone, Copy, Debug)]
pub struct Floors {
    pub records: Timestamp,
    pub versions: Timestamp,
}

/// Whether raising the floors would drop something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Droppable {
    pub records: bool,
    /// The record floor may have to come first.
    pub versions: bool,
}

/// Tells whether floors are worth a command each. They only say what may be missing, so one that stays where it is for as long
/// as nothing would be dropped answers whoever rests on it as well: with what is still there.
pub fn droppable(store: &dyn Read, to: Floors, max_versions: u32) -> Result<Droppable, StoreError> {
    let (allowed, _) = allowed_record_floor(store, to.records)?;
    let limit = allowed
        .max(record_floor(store)?)
        .min(to.versions.max(version_floor(store)?));
    let (from, end) = keys::records_up_to(allowed);
    Ok(Droppable {
        records: store.scan(&from, &end)?.next().transpose()?.is_some(),
        versions: has_something_to_collect(store, limit, max_versions)?,
    })
}

pub(super) fn close_ts(store: &mut dyn Write, closed: Timestamp) -> Result<Answer, StoreError> {
    raise(store, Scalar::ClosedTs, closed).map(Answer::Closed)
}

/// Raises the record floor as far as unfinished transactions and the bound on the work allow.
pub(super) fn raise_record_floor(
    store: &mut dyn Write,
    floor: Timestamp,
    max_records: u32,
) -> Result<Answer, StoreError> {
    let (allowed, blocked_by) = allowed_record_floor(store, floor)?;
    let (finished, reached) = finished_up_to(store, allowed, max_records)?;
    for head in finished {
        records::drop_record(store, &head)?;
    }
    let floor = raise(store, Scalar::RecordFloor, reached)?;
    Ok(Answer::RecordFloor { floor, blocked_by })
}

/// How far unfinished transactions allow the record floor to go, and the one that keeps it from this.
fn allowed_record_floor(store: &dyn Read, floor: Timestamp) -> Result<(Timestamp, Option<TxnHead>), StoreError> {
    let blocked_by = records::oldest_unfinished(store)?.filter(|head| head.start_ts <= floor);
    let allowed = match &blocked_by {
        Some(head) => Timestamp(head.start_ts.0.saturating_sub(1)),
        None => floor,
    };
    Ok((allowed, blocked_by))
}

/// At most `max_records` records, and the floor that dropping them reaches.
fn finished_up_to(
    store: &dyn Read,
    floor: Timestamp,
    max_records: u32,
) -> Result<(Vec<TxnHead>, Timestamp), StoreError> {
    let (from, to) = keys::records_up_to(floor);
    let mut heads = Vec::new();
    for (seen, pair) in (0..).zip(store.scan(&from, &to)?) {
        let txn = keys::parse_by_start(&pair?.0)?;
        let record = records::load(store, txn)?.ok_or_else(|| keys::damaged("record index"))?;
        if seen == max_records {
            // Others with this start may follow, so the floor stays below it.
            return Ok((heads, Timestamp(record.head.start_ts.0.saturating_sub(1))));
        }
        heads.push(record.head);
    }
    Ok((heads, floor))
}

/// Raises the version floor and drops some of what is hidden below it.
pub(super) fn raise_version_floor(
    store: &mut dyn Write,
    floor: Timestamp,
    max_versions: u32,
) -> Result<Answer, StoreError> {
    let floor = raise(store, Scalar::VersionFloor, floor)?;
    // A version stands for the record of a one-phase commit, so none goes before the record floor covers it.
    let limit = floor.min(record_floor(store)?);
    let more = collect(store, limit, max_versions)?;
    Ok(Answer::VersionFloor { floor, more })
}

fn raise(store: &mut dyn Write, which: Scalar, to: Timestamp) -> Result<Timestamp, StoreError> {
    let before = load(store, which)?;
    if to <= before {
        return Ok(before);
    }
    store.put(&keys::scalar(which), &to.0.to_be_bytes())?;
    Ok(to)
}

fn load(store: &dyn Read, which: Scalar) -> Result<Timestamp, StoreError> {
    match store.get(&keys::scalar(which))? {
        None => Ok(Timestamp(0)),
        Some(bytes) => {
            let bytes = bytes.as_ref().try_into().map_err(|_| keys::damaged("timestamp"))?;
            Ok(Timestamp(u64::from_be_bytes(bytes)))
        }
    }
}
