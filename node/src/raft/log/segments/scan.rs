//! Reading a segment after a start: its frames in order, and whether it ends as a crash leaves it or is damaged.
//!
//! A frame is written after the one before it is durable, so a crash leaves at most one that is not whole, the last, and lacks
//! whole sectors of it. Whatever else is found is damage: acknowledged entries may have been in it.

use std::ops::Range;

use super::frame::{Frame, Header, SECTOR, padded};
use super::head::Head;

/// Where the frames of a segment end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub offset: usize,
    /// The number that the next frame gets.
    pub next_frame: u64,
    /// What a crash left of a frame; nobody was told that it is there.
    pub torn: Range<usize>,
}

/// Visits the frames of a segment. What is wrong with it, in words.
pub fn scan(content: &[u8], head: &Head, mut visit: impl FnMut(Frame) -> Result<(), String>) -> Result<End, String> {
    let mut offset = SECTOR;
    let mut next_frame = head.first_frame;
    while let Some((header, body)) = frame_at(content, offset, head.salt, next_frame) {
        let frame = Frame::decode(body, offset).map_err(|error| format!("frame {next_frame}: {error}"))?;
        visit(frame)?;
        offset += padded(header.frame_bytes());
        next_frame += 1;
    }
    let rest = &content[offset..];
    let unread = is_torn(rest, head.salt, next_frame);
    if !unread {
        return Err(format!("frame {next_frame} at byte {offset} is not as it was written"));
    }
    let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(End {
        offset,
        next_frame,
        torn: offset..offset + written,
    })
}

fn frame_at(content: &[u8], offset: usize, salt: u32, number: u64) -> Option<(Header, &[u8])> {
    let bytes = content.get(offset..)?;
    let header = Header::at_begin_of(bytes, salt).filter(|header| header.number == number)?;
    Some((header, header.body(bytes)?))
}

/// Whether what is after the last whole frame can be what a crash left: sectors of one frame, at least one of them missing.
fn is_torn(rest: &[u8], salt: u32, next_frame: u64) -> bool {
    let mut sectors = rest.chunks(SECTOR);
    let Some(first) = sectors.next() else {
        return true;
    };
    let is_later = |sector: &[u8]| Header::at_begin_of(sector, salt).is_some_and(|found| found.number > next_frame);
    if sectors.any(is_later) {
        return false;
    }
    match Header::at_begin_of(first, salt) {
        Some(header) => {
            let frame = rest.get(..padded(header.frame_bytes()));
            frame.is_some_and(|frame| header.number == next_frame && frame.chunks(SECTOR).any(is_blank))
        }
        None => is_blank(first),
    }
}

fn is_blank(sector: &[u8]) -> bool {
    sector.iter().all(|byte| *byte == 0)
}
