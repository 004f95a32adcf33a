//! The slot that is open: where writes that may be made anywhere are best made for the moment.
//!
//! What clients create together then lies in the same entries of one partition's log, instead of an entry, two messages and two
//! syncs of each partition's own. Each member opens one slot after the other, every slot as often as any other, so that over a
//! second all partitions have their share; and it is a hint: whoever writes elsewhere is served as well.

use std::time::{Duration, Instant};

use kotoba_graph::id::{SLOTS, Slot};

/// Longer than a write takes under load, so that most of those under way share a partition; short, so that none has them all.
const OPEN_FOR: Duration = Duration::from_millis(50);
/// From one slot to the next: far enough for another partition, and odd, so that all slots have their turn.
const STRIDE: u128 = 1_597;

/// The order in which one member opens slots.
pub struct Opening {
    since: Instant,
    first: u16,
}

impl Opening {
    /// Begins at a slot of its own, so that members open different ones.
    pub fn begin() -> Self {
        Opening {
            since: Instant::now(),
            first: rand::random(),
        }
    }

    pub fn slot(&self, now: Instant) -> Slot {
        let turns = now.saturating_duration_since(self.since).as_millis() / OPEN_FOR.as_millis();
        let number = (u128::from(self.first) + turns * STRIDE) % u128::from(SLOTS);
        let slot = u16::try_from(number).ok().and_then(Slot::new);
        slot.expect("a remainder of the number of slots is a slot")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_slot_stays_open_for_its_time_and_every_other_comes_before_it_is_again() {
        let opening = Opening::begin();
        let at = |turns: u32| opening.slot(opening.since + turns * OPEN_FOR);
        let nearly = opening.since + OPEN_FOR - Duration::from_millis(1);
        assert_eq!(opening.slot(nearly), at(0));
        let all: BTreeSet<u16> = (0..u32::from(SLOTS)).map(|turns| at(turns).number()).collect();
        assert_eq!(all.len(), usize::from(SLOTS));
        assert_eq!(at(u32::from(SLOTS)), at(0));
    }
}
