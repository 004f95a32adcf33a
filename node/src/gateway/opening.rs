//! In how many slots at a time those writes are made that may be made anywhere.
//!
//! What clients create at the same moment lies in the same entries of one partition's log then, instead of an entry, two messages and
//! two syncs of each partition's own. Which slots are open follows from the time, every slot as often as any other, so that over a
//! second all partitions have their share. How many follows from what this member serves, and its answers say so; they are hints:
//! whoever writes elsewhere is served as well.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kotoba_proto::cluster::OPEN_FOR;

/// Writes of one turn above which another slot is opened beside one: 20,000 a second, which keep a leader and its log busy.
const WRITES_OF_A_SLOT: u32 = 2_000;
const MAX_OPEN: u32 = 64;

/// Counts the writes that a member serves, turn by turn.
pub struct Opening {
    since: Instant,
    turn: Mutex<Turn>,
}

struct Turn {
    number: u128,
    writes: u32,
    open: u32,
}

impl Opening {
    pub fn begin() -> Self {
        let turn = Turn {
            number: 0,
            writes: 0,
            open: 1,
        };
        Opening {
            since: Instant::now(),
            turn: Mutex::new(turn),
        }
    }

    /// Counts one write; answers how many slots are open.
    pub fn note_write(&self, now: Instant) -> u32 {
        let number = now.saturating_duration_since(self.since).as_millis() / OPEN_FOR.as_millis();
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if number != turn.number {
            *turn = Turn {
                number,
                writes: 0,
                open: open_after(&turn),
            };
        }
        turn.writes = turn.writes.saturating_add(1);
        turn.open
    }
}

/// One of several slots has its share of the writes only, so those of all are reckoned by it.
fn open_after(turn: &Turn) -> u32 {
    let all = turn.writes.saturating_mul(turn.open);
    all.div_ceil(WRITES_OF_A_SLOT).clamp(1, MAX_OPEN).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many slots are open in each turn, where the member serves so many writes, shared by the slots that are open.
    fn open_in_turns(writes: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let opening = Opening::begin();
        let turns = writes.into_iter().enumerate().map(|(turn, writes): (usize, u32)| {
            let now = opening.since + OPEN_FOR * u32::try_from(turn).unwrap();
            let open = opening.note_write(now);
            (1..writes / open).for_each(|_| assert_eq!(opening.note_write(now), open));
            open
        });
        turns.collect()
    }

    #[test]
    fn one_slot_is_open_until_it_has_all_it_can_bear() {
        assert_eq!(open_in_turns([0, 10, 1_999, 2_000, 2_000]), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn more_are_open_the_more_is_written_and_fewer_again_when_it_is_less() {
        assert_eq!(open_in_turns([6_000, 6_000, 6_000]), [1, 4, 4]);
        assert_eq!(open_in_turns([6_000, 6_000, 10, 10]), [1, 4, 4, 1]);
        assert_eq!(open_in_turns([1_000_000, 1, 1])[1], MAX_OPEN);
    }
}
