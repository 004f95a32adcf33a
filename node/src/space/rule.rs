//! When a member is short of room: a decision on numbers alone.

const MIB: u64 = 1 << 20;
/// More is of no use as ballast: what must be written without being asked is small.
const MAX_BALLAST_BYTES: u64 = 64 * MIB;
/// What is written between two looks at the file system, besides what a writer says.
const MARGIN_BYTES: u64 = 4 * MIB;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Enough,
    Low,
    Exhausted,
}

/// The bounds of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub reserve_bytes: u64,
    pub ballast_bytes: u64,
}

/// Half a gigabyte is enough for everything that is under way on any volume.
pub const DEFAULT_RESERVE_BYTES: u64 = 512 * MIB;

/// What was asked for, but at most a twentieth of the volume; on a small one what is under way does not shrink with it, so
/// there up to 64 MiB. Never more than a quarter.
pub fn reserve(wanted_bytes: u64, total_bytes: u64) -> u64 {
    wanted_bytes.min((total_bytes / 20).max(64 * MIB)).min(total_bytes / 4)
}

impl Rule {
    pub fn new(reserve_bytes: u64) -> Self {
        Rule {
            reserve_bytes,
            ballast_bytes: (reserve_bytes / 2).min(MAX_BALLAST_BYTES),
        }
    }

    /// The level after one look. Each way up needs more than the way down, so that a member at the edge does not flap.
    pub fn level(self, before: Level, available_bytes: u64) -> Level {
        let exhausted_below = self.ballast_bytes / 2;
        let low_below = self.reserve_bytes;
        let with_gap = |bytes: u64, is_up: bool| if is_up { bytes + bytes / 4 } else { bytes };
        let (low_below, exhausted_below) = match before {
            Level::Enough => (low_below, exhausted_below),
            Level::Low => (with_gap(low_below, true), exhausted_below),
            Level::Exhausted => (with_gap(low_below, true), with_gap(exhausted_below, true)),
        };
        if available_bytes < exhausted_below {
            Level::Exhausted
        } else if available_bytes < low_below {
            Level::Low
        } else {
            Level::Enough
        }
    }

    /// The ballast must not be what makes the room short.
    pub fn may_hold(self, free_bytes: u64) -> bool {
        self.ballast_bytes > 0 && free_bytes >= self.reserve_bytes + self.reserve_bytes / 4
    }

    /// The ballast stands in the way of a write of so many bytes.
    pub fn must_release(self, free_bytes: u64, bytes: usize) -> bool {
        // A page in a tree is written with its parents, and old ones are freed only after the commit.
        let needed = 4 * u64::try_from(bytes).unwrap_or(u64::MAX / 4);
        free_bytes < needed.saturating_add(MARGIN_BYTES.min(self.ballast_bytes / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels on the way through a series of looks, in MiB that are available, with a reserve of 100.
    fn levels(looks: &[u64]) -> Vec<Level> {
        let rule = Rule::new(100 * MIB);
        let mut level = Level::Enough;
        let mut seen = Vec::new();
        for available in looks {
            level = rule.level(level, available * MIB);
            seen.push(level);
        }
        seen
    }

    #[test]
    fn the_reserve_begins_a_shortage_and_a_quarter_more_ends_it() {
        use Level::{Enough, Low};
        assert_eq!(
            levels(&[100, 99, 100, 124, 125, 100]),
            [Enough, Low, Low, Low, Enough, Enough]
        );
    }

    #[test]
    fn half_of_the_ballast_is_the_end_and_a_quarter_more_is_the_way_back() {
        use Level::{Enough, Exhausted, Low};
        assert_eq!(
            levels(&[25, 24, 30, 32, 24, 200]),
            [Low, Exhausted, Exhausted, Low, Exhausted, Enough]
        );
    }

    #[test]
    fn the_default_reserve_fits_the_volume() {
        let mib = |total: u64| reserve(DEFAULT_RESERVE_BYTES, total * MIB) / MIB;
        assert_eq!([mib(64), mib(256), mib(1024), mib(4096)], [16, 64, 64, 204]);
        assert_eq!([mib(10 << 10), mib(1 << 20), mib(0)], [512, 512, 0]);
        assert_eq!(reserve(0, 1 << 40), 0, "none, where none is asked for");
        assert_eq!(reserve(2_048 * MIB, 1 << 40), 2_048 * MIB);
    }

    #[test]
    fn the_ballast_is_given_up_for_a_write_that_would_not_fit_and_not_earlier() {
        let rule = Rule::new(100 * MIB);
        assert!(!rule.must_release(5 * MIB, 4096));
        assert!(rule.must_release(3 * MIB, 4096));
        assert!(rule.must_release(5 * MIB, 1 << 20));
    }
}
