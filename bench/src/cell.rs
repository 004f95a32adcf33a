//! One figure: a peer, an operation and a number of clients, over all rounds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::operation::Operation;
use crate::peer::Peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Subject {
    pub operation: Operation,
    pub clients: u16,
    pub peer: Peer,
}

/// What one round measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Records a second.
    pub per_s: f64,
    /// Of one operation, in milliseconds.
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Of all members together for one record, in microseconds.
    pub cpu_us: f64,
    /// Of the disk for one record.
    pub flushes: f64,
    pub errors: u64,
}

/// All rounds of all subjects.
pub type Cells = BTreeMap<Subject, Vec<Sample>>;

/// The middle one of several; between the two in the middle where their number is even.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Half of the range, as a part of the median.
pub fn spread(values: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let least = values.clone().into_iter().fold(f64::INFINITY, f64::min);
    let most = values.clone().into_iter().fold(f64::NEG_INFINITY, f64::max);
    (most - least) / 2.0 / median(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn the_spread_is_half_of_the_range() {
        assert_eq!(spread([90.0, 100.0, 110.0]), 0.1);
        assert_eq!(spread([5.0]), 0.0);
    }
}
