//! The first sector of a segment: which one it is, and whose.
//!
//! | bytes | |
//! |--:|---|
//! | 8 | magic |
//! | 1 | format |
//! | 8 | number of the segment |
//! | 8 | number of its first frame |
//! | 8 | length of the file |
//! | 4 | salt |
//! | 4 + n | the member that owns the log |
//! | … | zeros |
//! | 4 | CRC-32 of all this, at the end of the sector |

use std::path::Path;

use super::super::disk::LogError;
use super::frame::SECTOR;
use crate::raft::codec::Coded;

/// The version of all that is in a segment. 1 was a redb file; in 2 transactions prepared their primary, too.
pub const FORMAT: u8 = 3;
const MAGIC: [u8; 8] = *b"kotobalg";
const CHECKED_BYTES: usize = SECTOR - 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub segment: u64,
    pub first_frame: u64,
    pub file_bytes: u64,
    pub salt: u32,
    pub owner: String,
}

impl Head {
    /// The sector. Owners are told by their ids; a name that does not fit is cut, for here and at the comparison.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        FORMAT.encode(&mut out);
        self.segment.encode(&mut out);
        self.first_frame.encode(&mut out);
        self.file_bytes.encode(&mut out);
        self.salt.encode(&mut out);
        let owner = short_owner(&self.owner).as_bytes();
        u32::try_from(owner.len()).expect("it fits a sector").encode(&mut out);
        out.extend_from_slice(owner);
        out.resize(CHECKED_BYTES, 0);
        crc32fast::hash(&out).encode(&mut out);
        out
    }

    /// Reads the head of this segment; it has to be that, of this owner's log.
    pub fn read(path: &Path, content: &[u8], segment: u64, owner: &str) -> Result<Self, LogError> {
        let damaged = |what: &str| LogError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let (sector, _) = content.split_at_checked(SECTOR).ok_or_else(|| damaged("it is cut"))?;
        let mut input = sector
            .strip_prefix(&MAGIC)
            .ok_or_else(|| damaged("it is no segment of a log"))?;
        let format = input[0];
        if format != FORMAT {
            return Err(LogError::Format {
                path: path.to_owned(),
                found: format,
                known: FORMAT,
            });
        }
        let (checked, check) = sector.split_at(CHECKED_BYTES);
        if crc32fast::hash(checked).to_be_bytes() != check {
            return Err(damaged("its first sector is not as it was written"));
        }
        let head = Self::decode(&mut input).ok_or_else(|| damaged("its first sector makes no sense"))?;
        if head.owner != short_owner(owner) {
            return Err(LogError::Owner {
                path: path.to_owned(),
                owner: head.owner,
                expected: owner.to_owned(),
            });
        }
        if head.segment != segment {
            return Err(damaged(&format!("it is segment {}: was it renamed?", head.segment)));
        }
        if head.file_bytes != content.len() as u64 {
            let (is, was) = (content.len(), head.file_bytes);
            return Err(damaged(&format!("it has {is} bytes and was made with {was}")));
        }
        Ok(head)
    }

    fn decode(input: &mut &[u8]) -> Option<Self> {
        let input = &mut input.get(1..)?;
        let segment = u64::decode(input).ok()?;
        let first_frame = u64::decode(input).ok()?;
        let file_bytes = u64::decode(input).ok()?;
        let salt = u32::decode(input).ok()?;
        let length = u32::decode(input).ok()?;
        let owner = input.get(..length as usize)?;
        Some(Head {
            segment,
            first_frame,
            file_bytes,
            salt,
            owner: String::from_utf8(owner.to_vec()).ok()?,
        })
    }
}

fn short_owner(owner: &str) -> &str {
    let ends = owner.char_indices().map(|(begin, char)| begin + char.len_utf8());
    let end = ends.take_while(|end| *end <= SECTOR / 2).last();
    &owner[..end.unwrap_or(0)]
}
