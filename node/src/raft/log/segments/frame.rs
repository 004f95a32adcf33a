//! The unit of a commit: one frame, written at once and synced once, whole or void.
//!
//! | bytes | |
//! |--:|---|
//! | 4 | magic |
//! | 4 | length of the body |
//! | 8 | number: one more than that of the frame before |
//! | 4 | CRC-32 of the body |
//! | 4 | CRC-32 of all this, begun with the segment's salt: what a client stores can never pass for a frame |
//!
//! Then the body: rows, retired replicas, deleted sequences, entries. Frames begin at a sector, so that writing one never
//! touches what another has made durable.

use std::collections::{BTreeMap, BTreeSet};

use kotoba_state::ids::{GroupId, ReplicaId};

use super::super::disk::{FoundEntry, Record, Row};
use crate::raft::codec::{self, CodecError, Coded};
use crate::raft::types::{LogId, ReplicaKey};

/// What a disk writes whole or not at all.
pub const SECTOR: usize = 512;
const MAGIC: u32 = 0x6b6f_7466;
const HEADER_BYTES: usize = 24;
/// In front of an entry: sequence, group, replica, length, CRC-32.
const ENTRY_HEADER_BYTES: usize = 32;

/// What is left of the bytes of a frame, up to the next sector.
pub fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(SECTOR)
}

/// What a frame says, to be encoded.
pub struct Contents<'a> {
    pub rows: &'a BTreeMap<ReplicaKey, Row>,
    pub retired: &'a BTreeSet<ReplicaKey>,
    pub deletes: &'a [u64],
    /// Entries that come from an older segment, and new ones.
    pub inserts: [&'a [Record]; 2],
}

/// Where an entry is in a frame or in a segment, its own header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u32,
    pub bytes: u32,
}

/// A frame that is not sealed yet: it may go to any place.
#[derive(Default)]
pub struct Draft {
    bytes: Vec<u8>,
    /// Sequences and extents of its entries, from the frame's begin on.
    pub extents: Vec<(u64, Extent)>,
}

impl Draft {
    pub fn of(contents: &Contents) -> Self {
        let mut draft = Draft {
            bytes: vec![0; HEADER_BYTES],
            extents: Vec::new(),
        };
        let out = &mut draft.bytes;
        count(contents.rows.len(), out);
        for (key, row) in contents.rows {
            encode_key(*key, out);
            row.encode(out);
        }
        count(contents.retired.len(), out);
        for key in contents.retired {
            encode_key(*key, out);
        }
        count(contents.deletes.len(), out);
        for sequence in contents.deletes {
            sequence.encode(out);
        }
        count(contents.inserts.iter().map(|records| records.len()).sum(), out);
        for record in contents.inserts.into_iter().flatten() {
            draft.push(record);
        }
        draft.bytes.resize(padded(draft.bytes.len()), 0);
        draft
    }

    fn push(&mut self, record: &Record) {
        let out = &mut self.bytes;
        let offset = out.len();
        record.sequence.encode(out);
        encode_key(record.key, out);
        count(record.entry.len(), out);
        crc32fast::hash(&record.entry).encode(out);
        out.extend_from_slice(&record.entry);
        let extent = Extent {
            offset: short(offset),
            bytes: short(out.len() - offset),
        };
        self.extents.push((record.sequence, extent));
    }

    /// In whole sectors.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes to write, once their place is known.
    pub fn seal(&mut self, salt: u32, number: u64) -> &[u8] {
        let (header, body) = self.bytes.split_at_mut(HEADER_BYTES);
        let mut out = Vec::with_capacity(HEADER_BYTES);
        MAGIC.encode(&mut out);
        count(body.len(), &mut out);
        number.encode(&mut out);
        crc32fast::hash(body).encode(&mut out);
        salted(salt, &out).encode(&mut out);
        header.copy_from_slice(&out);
        &self.bytes
    }
}

/// A frame's header, found where it says so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub number: u64,
    body_bytes: u32,
    body_check: u32,
}

impl Header {
    /// `None` where none of this segment is.
    pub fn at_begin_of(bytes: &[u8], salt: u32) -> Option<Self> {
        let (header, _) = bytes.split_at_checked(HEADER_BYTES)?;
        let input = &mut &*header;
        if u32::decode(input).ok()? != MAGIC {
            return None;
        }
        let body_bytes = u32::decode(input).ok()?;
        let number = u64::decode(input).ok()?;
        let body_check = u32::decode(input).ok()?;
        let check = u32::decode(input).ok()?;
        (check == salted(salt, &header[..HEADER_BYTES - 4])).then_some(Header {
            number,
            body_bytes,
            body_check,
        })
    }

    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes as usize
    }

    /// The frame's body, if all of it is there as it was written.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let body = bytes.get(HEADER_BYTES..self.frame_bytes())?;
        (crc32fast::hash(body) == self.body_check).then_some(body)
    }
}

/// What a frame says, read again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Frame {
    pub rows: Vec<(ReplicaKey, Row)>,
    pub retired: Vec<ReplicaKey>,
    pub deletes: Vec<u64>,
    pub inserts: Vec<(FoundEntry, Extent)>,
}

impl Frame {
    /// Reads the body of a frame that begins at this offset of its segment.
    pub fn decode(body: &[u8], offset: usize) -> Result<Self, CodecError> {
        let mut frame = Frame::default();
        let input = &mut &*body;
        for _ in 0..u32::decode(input)? {
            frame.rows.push((decode_key(input)?, Row::decode(input)?));
        }
        for _ in 0..u32::decode(input)? {
            frame.retired.push(decode_key(input)?);
        }
        for _ in 0..u32::decode(input)? {
            frame.deletes.push(u64::decode(input)?);
        }
        for _ in 0..u32::decode(input)? {
            let at = offset + HEADER_BYTES + (body.len() - input.len());
            let (sequence, key, entry) = decode_entry(input)?;
            let found = FoundEntry {
                sequence,
                key,
                log_id: log_id_of(entry)?,
                bytes: entry.len(),
            };
            let extent = Extent {
                offset: short(at),
                bytes: short(ENTRY_HEADER_BYTES + entry.len()),
            };
            frame.inserts.push((found, extent));
        }
        Ok(frame)
    }
}

/// Reads the entry of an extent; `None` where it is not as it was written.
pub fn entry_at(bytes: &[u8], sequence: u64) -> Option<Record> {
    let mut header = bytes.get(..ENTRY_HEADER_BYTES)?;
    let check = header.split_off(ENTRY_HEADER_BYTES - 4..)?;
    let (found, key, entry) = decode_entry(&mut &*bytes).ok()?;
    let is_whole = found == sequence && crc32fast::hash(entry).to_be_bytes() == check;
    is_whole.then(|| Record {
        sequence,
        key,
        entry: entry.to_vec(),
    })
}

fn decode_entry<'a>(input: &mut &'a [u8]) -> Result<(u64, ReplicaKey, &'a [u8]), CodecError> {
    let sequence = u64::decode(input)?;
    let key = decode_key(input)?;
    let length = u32::decode(input)? as usize;
    u32::decode(input)?;
    let (entry, rest) = input.split_at_checked(length).ok_or(CodecError::Truncated)?;
    *input = rest;
    Ok((sequence, key, entry))
}

fn encode_key(key: ReplicaKey, out: &mut Vec<u8>) {
    key.group.number().encode(out);
    key.replica.encode(out);
}

fn decode_key(input: &mut &[u8]) -> Result<ReplicaKey, CodecError> {
    let group = GroupId::from_number(u64::decode(input)?).ok_or(CodecError::Tag {
        place: "a group",
        tag: 0,
    })?;
    let replica = ReplicaId::decode(input)?;
    Ok(ReplicaKey { group, replica })
}

fn log_id_of(mut entry: &[u8]) -> Result<LogId, CodecError> {
    let input = &mut entry;
    match u8::decode(input)? {
        codec::FORMAT => LogId::decode(input),
        other => Err(CodecError::Format(other)),
    }
}

fn salted(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

fn count(number: usize, out: &mut Vec<u8>) {
    short(number).encode(out);
}

fn short(number: usize) -> u32 {
    u32::try_from(number).expect("a commit is bounded to some MiB")
}
