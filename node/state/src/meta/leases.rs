//! What is given once and in numbers: timestamps to the oracle, entity sequences to members.

use super::apply::Refusal;
use super::catalogue::Catalogue;
use super::command::Answer;
use crate::ids::Timestamp;

/// An entity id has 51 bits for its sequence.
const SEQUENCES: u64 = 1 << 51;
/// The most timestamps or sequences one command takes.
const MAX_LEASE: u64 = 1 << 32;

impl Catalogue {
    pub(super) fn extend_timestamps(&mut self, count: u64) -> Result<Answer, Refusal> {
        let from = self.counters.next_timestamp;
        let to = Timestamp(take(from.0, count)?);
        self.counters.next_timestamp = to;
        Ok(Answer::Timestamps { from, to })
    }

    pub(super) fn lease_sequences(&mut self, count: u64) -> Result<Answer, Refusal> {
        let from = self.counters.next_sequence;
        let to = take(from, count)?;
        if to > SEQUENCES {
            return Err("the entity sequences are used up".to_owned());
        }
        self.counters.next_sequence = to;
        Ok(Answer::Sequences { from, to })
    }
}

fn take(from: u64, count: u64) -> Result<u64, Refusal> {
    if !(1..=MAX_LEASE).contains(&count) {
        return Err(format!("{count} at a time is not between 1 and {MAX_LEASE}"));
    }
    from.checked_add(count)
        .ok_or_else(|| "the numbers are used up".to_owned())
}
