//! Scans as places in the order of keys: where one begins, what it covers, and what is left of it behind a key.

use std::collections::BTreeSet;

use super::{CursorError, Direction, PAGE_PAIRS};
use crate::id::EntityId;
use crate::key::{self, Range};
use crate::read::{self, Read};

/// The scans of a node's halves: per direction and type. `keys_only` says whether values are left out, of out halves
/// (true) or in halves.
pub fn scans_of_halves(
    node: EntityId,
    direction: Direction,
    types: &BTreeSet<String>,
    keys_only: impl Fn(bool) -> bool,
) -> Vec<Read> {
    let ranges = |halves: fn(EntityId, Option<&str>) -> Range| {
        if types.is_empty() {
            return vec![halves(node, None)];
        }
        let of_type = |edge_type: &String| halves(node, Some(edge_type));
        types.iter().map(of_type).collect()
    };
    let scans = |ranges: Vec<Range>, outgoing| {
        let keys_only = keys_only(outgoing);
        let scan = move |range: Range| Read::Scan {
            from: range.from,
            to: range.to,
            limit: Some(PAGE_PAIRS),
            keys_only,
        };
        ranges.into_iter().map(scan)
    };
    let outgoing = || scans(ranges(key::out_halves), true);
    let incoming = || scans(ranges(key::in_halves), false);
    match direction {
        Direction::Both => outgoing().chain(incoming()).collect(),
        Direction::Out => outgoing().collect(),
        Direction::In => incoming().collect(),
    }
}

/// A scan without its values.
pub fn keys_only(read: Read) -> Read {
    match read {
        Read::Get { key } => Read::Get { key },
        Read::Scan { from, to, limit, .. } => Read::Scan {
            from,
            to,
            limit,
            keys_only: true,
        },
        Read::ScanSlots(mut scan) => {
            scan.keys_only = true;
            Read::ScanSlots(scan)
        }
    }
}

/// The smallest key that a read may still give.
pub fn first_key(read: &Read) -> Vec<u8> {
    match read {
        Read::Get { key } => key.clone(),
        Read::Scan { from, .. } => from.clone(),
        Read::ScanSlots(scan) => match &scan.after {
            Some(after) => key::successor(after),
            None => scan.range.in_slot(scan.first).0,
        },
    }
}

/// Whether a key lies in what a scan reads.
pub fn covers(read: &Read, place: &[u8]) -> bool {
    match read {
        Read::Get { key } => key == place,
        Read::Scan { from, to, .. } => from.as_slice() <= place && place < to.as_slice(),
        Read::ScanSlots(scan) => key::slot_of(place).is_ok_and(|slot| {
            let (from, to) = scan.range.in_slot(slot);
            (scan.first..=scan.last).contains(&slot) && from.as_slice() <= place && place < to.as_slice()
        }),
    }
}

/// What is left of a scan behind a key; nothing where the scan ends before it.
pub fn rest_of(read: Read, place: &[u8]) -> Result<Option<Read>, CursorError> {
    if first_key(&read).as_slice() > place {
        return Ok(Some(read));
    }
    Ok(match read {
        Read::Get { .. } => None,
        Read::Scan {
            to, limit, keys_only, ..
        } => {
            let from = key::successor(place);
            (from < to).then_some(Read::Scan {
                from,
                to,
                limit,
                keys_only,
            })
        }
        Read::ScanSlots(scan) => {
            let rest = scan.continued_after(place).map_err(|_| CursorError::Malformed)?;
            covers(&Read::ScanSlots(scan), place).then_some(Read::ScanSlots(rest))
        }
    })
}

/// Whether a half is an out half, and the node that it leads to.
pub fn far_end(key: &[u8]) -> Result<(bool, EntityId), read::Error> {
    key::far_end(key)?.ok_or_else(|| read::Error::foreign(key))
}
