//! Where each entry is, and how much of each segment is still of use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::folder::SegmentFile;
use super::frame::Extent;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: u64,
    pub extent: Extent,
}

pub struct Segment {
    pub file: Arc<dyn SegmentFile>,
    pub file_bytes: u64,
    /// Of its entries that are still in the log.
    pub live_bytes: u64,
}

/// All segments, and the entries in them.
#[derive(Default)]
pub struct Places {
    entries: BTreeMap<u64, Place>,
    segments: BTreeMap<u64, Segment>,
}

impl Places {
    pub fn add_segment(&mut self, number: u64, file: Arc<dyn SegmentFile>, file_bytes: u64) {
        let segment = Segment {
            file,
            file_bytes,
            live_bytes: 0,
        };
        self.segments.insert(number, segment);
    }

    /// Notes where an entry is from now on.
    pub fn put(&mut self, sequence: u64, place: Place) {
        self.remove(sequence);
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live_bytes += u64::from(place.extent.bytes);
            self.entries.insert(sequence, place);
        }
    }

    pub fn remove(&mut self, sequence: u64) {
        if let Some(place) = self.entries.remove(&sequence)
            && let Some(segment) = self.segments.get_mut(&place.segment)
        {
            segment.live_bytes -= u64::from(place.extent.bytes);
        }
    }

    pub fn get(&self, sequence: u64) -> Option<(Place, Arc<dyn SegmentFile>)> {
        let place = self.entries.get(&sequence)?;
        Some((*place, self.segments.get(&place.segment)?.file.clone()))
    }

    /// Sequences of the entries in a segment.
    pub fn sequences_in(&self, segment: u64) -> Vec<u64> {
        let inside = self.entries.iter().filter(|(_, place)| place.segment == segment);
        inside.map(|(sequence, _)| *sequence).collect()
    }

    /// The oldest segment but the last, if it is of no use any more.
    pub fn useless(&self) -> Option<u64> {
        let (number, segment) = self.segments.first_key_value()?;
        (self.segments.len() > 1 && segment.live_bytes == 0).then_some(*number)
    }

    pub fn forget_segment(&mut self, number: u64) {
        self.segments.remove(&number);
    }

    /// The oldest segment, where all but the last hold so much more than is of use that it should be emptied.
    pub fn wasteful(&self, slack_bytes: u64) -> Option<u64> {
        let (last, _) = self.segments.last_key_value()?;
        let (mut held, mut live) = (0, 0);
        for segment in self.segments.range(..last).map(|(_, segment)| segment) {
            held += segment.file_bytes;
            live += segment.live_bytes;
        }
        let (oldest, _) = self.segments.first_key_value()?;
        (held > 2 * live + slack_bytes).then_some(*oldest)
    }

    pub fn file_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.file_bytes).sum()
    }
}
