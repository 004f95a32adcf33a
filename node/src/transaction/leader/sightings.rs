//! How long open transactions are known here: the measure of their lives.
//!
//! A transaction whose coordinator is gone is rolled back once it had its time. A deadline on the coordinator's wall clock is no
//! measure of that: by a clock that is hours ahead every transaction would be over before it began, and by one that is behind
//! none ever would, with its intents in everybody's way. So the primary's leader counts from when it first heard of the
//! transaction, by a clock that only runs on. A new leader counts anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kotoba_state::partition::TxnId;
use tokio::time::Instant;

/// Above this, transactions nobody has asked about for long are forgotten.
const TIDY_ABOVE: usize = 1_024;
/// More open transactions are not counted: they live until others have ended.
const MAX_SIGHTINGS: usize = 65_536;

/// Transactions that somebody asked about while they were open.
#[derive(Debug, Default)]
pub struct Sightings(Mutex<BTreeMap<TxnId, Sighting>>);

#[derive(Debug)]
struct Sighting {
    first: Instant,
    last: Instant,
}

impl Sightings {
    /// Whether an open transaction, which is seen now, still has some of its time left.
    pub fn is_live(&self, txn: TxnId, now: Instant, lifetime: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > TIDY_ABOVE && !seen.contains_key(&txn) {
            seen.retain(|_, sighting| now - sighting.last < 2 * lifetime);
            if seen.len() >= MAX_SIGHTINGS {
                return true;
            }
        }
        let sighting = seen.entry(txn).or_insert(Sighting { first: now, last: now });
        sighting.last = now;
        now - sighting.first < lifetime
    }
}

#[cfg(test)]
mod tests {
    use kotoba_state::ids::MemberId;

    use super::*;

    const LIFETIME: Duration = Duration::from_secs(10);

    fn txn(counter: u64) -> TxnId {
        TxnId {
            member: MemberId(1),
            incarnation: 1,
            counter,
        }
    }

    #[test]
    fn a_transaction_lives_for_its_time_from_when_it_was_first_heard_of() {
        let (sightings, begun) = (Sightings::default(), Instant::now());
        let is_live = |counter, after| sightings.is_live(txn(counter), begun + after, LIFETIME);
        assert!(is_live(1, Duration::ZERO));
        assert!(is_live(1, LIFETIME / 2) && is_live(2, LIFETIME / 2));
        assert!(!is_live(1, LIFETIME));
        assert!(is_live(2, LIFETIME));
    }

    #[test]
    fn what_nobody_asks_about_any_more_is_forgotten() {
        let (sightings, begun) = (Sightings::default(), Instant::now());
        let count = TIDY_ABOVE as u64 + 1;
        for counter in 0..count {
            sightings.is_live(txn(counter), begun, LIFETIME);
        }
        assert!(sightings.is_live(txn(count), begun + 3 * LIFETIME, LIFETIME));
        assert_eq!(sightings.0.lock().unwrap().len(), 1);
    }
}
