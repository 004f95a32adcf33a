//! What is preferred to what: one number whose digits are the rules, the most important first.
//!
//! Zones, then the load window, then moves, then even loads, then the order of the ring. A rule is never broken to please
//! a lower one, because no sum of lower digits reaches the next digit: the limits of the parent module see to that.

use super::shares::Window;

/// Wide enough for all five digits of the largest cluster.
pub(super) type Cost = i128;

const RANK_BITS: u32 = 26;
const EVEN_BITS: u32 = 28;
const MOVE_BITS: u32 = 16;
const WINDOW_BITS: u32 = 26;

const EVEN: Cost = 1 << RANK_BITS;
const MOVE: Cost = EVEN << EVEN_BITS;
const WINDOW: Cost = MOVE << MOVE_BITS;
const ZONE: Cost = WINDOW << WINDOW_BITS;

/// Of one more replica in a zone that has `present` of the partition already: each costs more than the one before.
pub(super) fn of_zone(present: usize) -> Cost {
    count(present) * ZONE
}

/// Of one more replica on a member that has `load` already.
pub(super) fn of_load(load: usize, window: Window) -> Cost {
    let outside = if load < window.least {
        0
    } else {
        1 + (load + 1).saturating_sub(window.most)
    };
    count(outside) * WINDOW + count(load) * EVEN
}

/// Of a member for a partition: whether the replica would be new there, and how far clockwise the member is.
pub(super) fn of_holding(is_new: bool, rank: usize) -> Cost {
    Cost::from(is_new) * MOVE + count(rank)
}

fn count(number: usize) -> Cost {
    Cost::try_from(number).expect("a count of replicas or members")
}
