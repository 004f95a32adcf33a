//! How much is read at once, by the sizes seen so far, and what rows take in memory.
//!
//! The number of values in a step bounds nothing by itself: a value may have ten bytes or a million. A step therefore
//! begins small and grows only as long as what came back stays within [`STEP_BYTES`].

use super::{Entity, GETS_PER_STEP, PAGE_PAIRS, Row, SCANS_PER_STEP};
use crate::read::{Answer, Read};
use crate::value::{Properties, Value};

/// What the values of one step should take together.
const STEP_BYTES: usize = 8 << 20;
/// Values of the first step, when no size is known: were each as large as an entity may be, they would take 20 MB.
pub const FIRST_VALUES: usize = 20;
/// The same, for whoever bears that they are too large and begins anew: what fits on a page, in one step.
pub const HASTY_VALUES: usize = 128;
/// Pairs of the first page of a scan over all partitions, per partition.
const FIRST_PAIRS: usize = 4;
/// How many times more values the next step may have, so that a few small ones do not let a thousand large ones in.
const GROWTH: usize = 8;

/// Says how many values the next step may read.
#[derive(Clone, Debug)]
pub struct Pace {
    values: usize,
    /// Whether nothing is known yet.
    is_new: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            values: FIRST_VALUES,
            is_new: true,
        }
    }
}

impl Pace {
    /// Reads more in the first step than is safe.
    pub fn hasty() -> Self {
        Pace {
            values: HASTY_VALUES,
            is_new: true,
        }
    }

    /// Learns from the answers to a step.
    pub fn note(&mut self, answers: &[Answer]) {
        let (mut values, mut bytes, mut largest) = (0, 0, 0);
        let mut count = |size: usize| {
            values += 1;
            bytes += size;
            largest = size.max(largest);
        };
        for answer in answers {
            match answer {
                Answer::Value(value) => value.iter().for_each(|value| count(value.len())),
                // Keys alone say nothing about the records they lead to.
                Answer::Pairs { pairs, .. } => {
                    let sizes = pairs.iter().map(|(_, value)| value.len());
                    sizes.filter(|size| *size > 0).for_each(&mut count);
                }
            }
        }
        if values == 0 {
            return;
        }
        self.is_new = false;
        // Large values come in groups: the largest counts as much as all others together.
        let typical = (bytes / values + largest / 2).max(1);
        let affordable = (STEP_BYTES / typical).max(1);
        self.values = affordable.min(values.max(FIRST_VALUES) * GROWTH);
    }

    /// Pairs of the next page of a scan over many partitions, of each: how many there are is not known at first.
    pub fn pairs_per_partition(&self, pairs: usize) -> usize {
        if self.is_new { FIRST_PAIRS } else { pairs }
    }

    /// Pairs of the first page of one node's edges, values included: most nodes have few.
    pub fn first_page(&self) -> usize {
        self.values.min(FIRST_VALUES)
    }

    /// Gets of the next step.
    pub fn gets(&self) -> usize {
        self.values.min(GETS_PER_STEP)
    }

    /// Scans of the next step, and the pairs that each may give, values included.
    pub fn scans(&self, waiting: usize) -> (usize, usize) {
        let scans = waiting.min(SCANS_PER_STEP).min(self.values);
        let pairs = self.values.checked_div(scans).unwrap_or(1);
        (scans, pairs.clamp(1, PAGE_PAIRS))
    }
}

/// A scan with another limit of its page.
pub fn with_limit(read: Read, pairs: usize) -> Read {
    match read {
        Read::Get { key } => Read::Get { key },
        Read::Scan {
            from, to, keys_only, ..
        } => Read::Scan {
            from,
            to,
            limit: Some(pairs),
            keys_only,
        },
        Read::ScanSlots(mut scan) => {
            scan.limit = Some(pairs);
            Read::ScanSlots(scan)
        }
    }
}

/// What a row takes in memory, about: what is allocated for it, without the allocator's own.
pub fn row_bytes(row: &Row) -> usize {
    let names = match &row.entity {
        Entity::Node { record, .. } => record
            .labels
            .iter()
            .map(|label| label.len() + size_of::<String>())
            .sum(),
        Entity::Edge { locator, .. } => locator.edge_type.len(),
    };
    size_of::<Row>() + names + properties_bytes(row.entity.properties())
}

fn properties_bytes(properties: &Properties) -> usize {
    let entry = |(key, value): (&String, &Value)| size_of::<(String, Value)>() + key.len() + inner_bytes(value);
    properties.iter().map(entry).sum()
}

/// What a value takes besides its own place.
fn inner_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(values) => values.iter().map(|value| size_of::<Value>() + inner_bytes(value)).sum(),
        Value::Map(entries) => properties_bytes(entries),
        Value::DateTime(moment) => moment.zone.as_ref().map_or(0, String::len),
        Value::Null
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Link(_)
        | Value::Date(_)
        | Value::LocalTime(_)
        | Value::Time(_)
        | Value::LocalDateTime(_)
        | Value::Duration(_)
        | Value::Point(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, bytes: usize) -> Vec<Answer> {
        vec![Answer::Value(Some(vec![0; bytes].into())); count]
    }

    #[test]
    fn small_values_let_a_step_grow_to_its_most() {
        let mut pace = Pace::default();
        assert_eq!(pace.gets(), FIRST_VALUES);
        pace.note(&values(32, 100));
        assert_eq!(pace.gets(), 256);
        pace.note(&values(256, 100));
        assert_eq!(pace.gets(), GETS_PER_STEP);
        assert_eq!(pace.scans(16), (16, 128));
    }

    #[test]
    fn large_values_shrink_a_step_to_what_its_bytes_allow() {
        let mut pace = Pace::default();
        pace.note(&values(32, 1 << 20));
        assert!(pace.gets() <= 8, "{}", pace.gets());
        let (scans, pairs) = pace.scans(16);
        assert!(scans * pairs <= 8);
        pace.note(&values(1, 16 << 20));
        assert_eq!((pace.gets(), pace.scans(16)), (1, (1, 1)));
    }

    #[test]
    fn one_large_value_among_small_ones_slows_the_next_step() {
        let mut pace = Pace::default();
        let mut mixed = values(200, 100);
        mixed.extend(values(1, 1 << 20));
        pace.note(&mixed);
        assert!(pace.gets() < 32, "{}", pace.gets());
    }
}
