//! How long open transactions are known here: the measure of their lives.
//!
//! A transaction whose coordinator is gone is rolled back. Its coordinator is asked whether it carries on: one that says no, or
//! that gives no answer for a while, has left it, and even one that says yes has a time for it. A deadline on the coordinator's
//! wall clock is no measure of that: by a clock that is hours ahead every transaction would be over before it began, and by one
//! that is behind none ever would, with its intents in everybody's way. So the primary's leader counts from when it first heard
//! of the transaction, by a clock that only runs on. A new leader counts anew.
//!
//! Only liveness hangs on all this. What is rolled back too soon fails as by a conflict.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_state::partition::TxnId;
use tokio::time::Instant;

use crate::transaction::boundary::CoordinatorSays;

/// Above this, transactions nobody has asked about for long are forgotten.
const TIDY_ABOVE: usize = 1_024;
/// More open transactions are not counted: they live until others have ended.
const MAX_SIGHTINGS: usize = 65_536;
/// Most transactions end sooner, and are not asked about.
const ASK_AFTER: Duration = Duration::from_millis(50);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// A coordinator that gave no answer for so long is taken to be gone: it could not commit here either.
const MAX_SILENCE: Duration = Duration::from_millis(500);

/// Transactions that somebody asked about while they were open.
#[derive(Debug, Default)]
pub struct Sightings(Mutex<BTreeMap<TxnId, Sighting>>);

#[derive(Debug)]
struct Sighting {
    first: Instant,
    last: Instant,
    /// When its coordinator was asked the last time.
    asked: Option<Instant>,
    coordinator: Coordinator,
}

/// As far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinator {
    CarriesOn,
    SilentSince(Instant),
    Gone,
}

impl Sightings {
    /// Whether an open transaction, which is seen now, may still end by itself.
    pub fn is_live(&self, txn: TxnId, now: Instant, lifetime: Duration) -> bool {
        let mut seen = self.lock();
        if seen.len() > TIDY_ABOVE && !seen.contains_key(&txn) {
            seen.retain(|_, sighting| now - sighting.last < 2 * lifetime);
            if seen.len() >= MAX_SIGHTINGS {
                return true;
            }
        }
        let sighting = seen.entry(txn).or_insert_with(|| Sighting::new(now));
        sighting.last = now;
        now - sighting.first < lifetime && sighting.coordinator != Coordinator::Gone
    }

    /// Whether the coordinator of a transaction that was seen is to be asked now; whoever is told so asks it.
    pub fn is_to_ask(&self, txn: TxnId, now: Instant) -> bool {
        let mut seen = self.lock();
        let Some(sighting) = seen.get_mut(&txn) else {
            return false;
        };
        let is_due = sighting.asked.is_none_or(|asked| now - asked >= ASK_AGAIN_AFTER);
        let asks = is_due && now - sighting.first >= ASK_AFTER && sighting.coordinator != Coordinator::Gone;
        if asks {
            sighting.asked = Some(now);
        }
        asks
    }

    /// Notes what its coordinator says of a transaction, now.
    pub fn hear(&self, txn: TxnId, says: CoordinatorSays, now: Instant) {
        let mut seen = self.lock();
        let Some(sighting) = seen.get_mut(&txn) else { return };
        sighting.coordinator = match (says, sighting.coordinator) {
            (CoordinatorSays::Ended, _) | (_, Coordinator::Gone) => Coordinator::Gone,
            (CoordinatorSays::UnderWay, _) => Coordinator::CarriesOn,
            (CoordinatorSays::Nothing { silent_for }, known) => {
                let known_for = match known {
                    Coordinator::SilentSince(since) => now - since,
                    Coordinator::CarriesOn | Coordinator::Gone => Duration::ZERO,
                };
                let silent_for = silent_for.max(known_for);
                match silent_for < MAX_SILENCE {
                    true => Coordinator::SilentSince(now.checked_sub(silent_for).unwrap_or(now)),
                    false => Coordinator::Gone,
                }
            }
        };
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TxnId, Sighting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sighting {
    fn new(now: Instant) -> Self {
        Sighting {
            first: now,
            last: now,
            asked: None,
            coordinator: Coordinator::CarriesOn,
        }
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

    fn nothing(silent_for: Duration) -> CoordinatorSays {
        CoordinatorSays::Nothing { silent_for }
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
    fn a_coordinator_is_asked_after_a_while_and_then_now_and_again() {
        let (sightings, begun) = (Sightings::default(), Instant::now());
        let is_to_ask = |after| sightings.is_to_ask(txn(1), begun + after);
        assert!(!is_to_ask(ASK_AFTER), "it was not seen");
        assert!(sightings.is_live(txn(1), begun, LIFETIME));
        assert!(!is_to_ask(Duration::ZERO));
        assert!(is_to_ask(ASK_AFTER));
        assert!(!is_to_ask(ASK_AFTER), "by one only");
        sightings.hear(txn(1), CoordinatorSays::UnderWay, begun + ASK_AFTER);
        assert!(is_to_ask(ASK_AFTER + ASK_AGAIN_AFTER));
        sightings.hear(txn(1), CoordinatorSays::Ended, begun + ASK_AFTER + ASK_AGAIN_AFTER);
        assert!(!sightings.is_live(txn(1), begun + ASK_AFTER + ASK_AGAIN_AFTER, LIFETIME));
        assert!(!is_to_ask(LIFETIME));
    }

    #[test]
    fn one_that_is_silent_for_long_is_gone_and_one_that_answers_between_is_not() {
        let (sightings, begun) = (Sightings::default(), Instant::now());
        let hear = |says, after| sightings.hear(txn(1), says, begun + after);
        let is_live = |after| sightings.is_live(txn(1), begun + after, LIFETIME);
        assert!(is_live(Duration::ZERO));
        hear(nothing(Duration::ZERO), Duration::ZERO);
        hear(nothing(Duration::ZERO), MAX_SILENCE / 2);
        hear(CoordinatorSays::UnderWay, MAX_SILENCE / 2);
        hear(nothing(Duration::ZERO), MAX_SILENCE);
        assert!(is_live(MAX_SILENCE));
        hear(nothing(Duration::ZERO), 2 * MAX_SILENCE);
        assert!(!is_live(2 * MAX_SILENCE));
        hear(CoordinatorSays::UnderWay, 2 * MAX_SILENCE);
        assert!(!is_live(2 * MAX_SILENCE), "it may be rolled back already");
    }

    #[test]
    fn what_is_known_of_its_silence_already_counts() {
        let (sightings, begun) = (Sightings::default(), Instant::now());
        let is_live = |after| sightings.is_live(txn(1), begun + after, LIFETIME);
        assert!(is_live(Duration::ZERO));
        sightings.hear(txn(1), nothing(MAX_SILENCE / 2), begun);
        assert!(is_live(Duration::ZERO));
        sightings.hear(txn(1), nothing(Duration::ZERO), begun + MAX_SILENCE / 2);
        assert!(!is_live(MAX_SILENCE / 2));
        assert!(sightings.is_live(txn(2), begun, LIFETIME));
        sightings.hear(txn(2), nothing(MAX_SILENCE), begun);
        assert!(!sightings.is_live(txn(2), begun, LIFETIME));
    }

    #[test]
    fn what_nobody_asks_about_any_more_is_forgotten() {
        let (sightings, begun) = (Sightings::default(), Instant::now());
        let count = TIDY_ABOVE as u64 + 1;
        for counter in 0..count {
            sightings.is_live(txn(counter), begun, LIFETIME);
        }
        assert!(sightings.is_live(txn(count), begun + 3 * LIFETIME, LIFETIME));
        assert_eq!(sightings.lock().len(), 1);
    }
}
