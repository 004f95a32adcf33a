//! Latches: keys that a one-phase transaction is about to write, from before its commit timestamp until its result is
//! visible. Readers and refreshes that meet one wait.
//!
//! They live in the leader's memory only. At step-down all vanish at once and whoever waits fails: letting readers go
//! on because "the latch is gone" would let them miss a commit that is still in flight (the protocol's hole 3).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_state::partition::{Key, Span, TxnId};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Why a latch was not had, or not waited out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LatchError {
    #[error("another transaction is writing the same keys")]
    Timeout,
    #[error("this replica does not lead its partition any more")]
    SteppedDown,
}

#[derive(Debug, Default)]
struct Table {
    held: BTreeMap<Key, TxnId>,
    /// What transactions read or require beside the keys they have latched: nobody may latch a key in there.
    guarded: BTreeMap<TxnId, Vec<Span>>,
    /// The term in which the held ones were taken.
    term: u64,
    /// Leadership of every term up to this one is over for good: a term has one leader, which never comes back in it.
    ended: u64,
}

/// The latches of one partition's leader.
#[derive(Debug, Default)]
pub struct Latches {
    table: Mutex<Table>,
    changed: Notify,
}

/// Latches held by one transaction; released when dropped.
#[derive(Debug)]
pub struct Held {
    latches: Arc<Latches>,
    txn: TxnId,
    keys: Vec<Key>,
    term: u64,
}

impl Latches {
    /// Latches all keys at once, as the leader of `term`, and keeps others from latching anything inside the guards; while one of
    /// either is latched by another, waits without holding any.
    pub async fn acquire(
        self: &Arc<Self>,
        term: u64,
        txn: TxnId,
        keys: impl Iterator<Item = &Key>,
        guards: Vec<Span>,
        within: Duration,
    ) -> Result<Held, LatchError> {
        let keys: Vec<Key> = keys.cloned().collect();
        self.wait_until(term, within, |table| {
            // Not even an earlier attempt of the same transaction shares its latches: whichever ended first would
            // take them from the other, whose commit timestamp is still in flight.
            let free = keys
                .iter()
                .all(|key| !table.held.contains_key(key) && !table.is_guarded(txn, key))
                && !table.foreign_inside(Some(txn), &guards);
            if free {
                table.held.extend(keys.iter().map(|key| (key.clone(), txn)));
                if !guards.is_empty() {
                    table.guarded.insert(txn, guards.clone());
                }
            }
            free
        })
        .await?;
        Ok(Held {
            latches: self.clone(),
            txn,
            keys,
            term,
        })
    }

    /// Waits, as the leader of `term`, until no other transaction holds a latch inside the spans.
    pub async fn wait_clear(
        &self,
        term: u64,
        txn: Option<TxnId>,
        spans: &[Span],
        within: Duration,
    ) -> Result<(), LatchError> {
        self.wait_until(term, within, |table| !table.foreign_inside(txn, spans))
            .await
    }

    /// Whether nobody holds a latch now, in the term of this leader.
    pub fn are_free(&self, term: u64) -> Result<bool, LatchError> {
        let mut table = self.lock();
        table.enter(term)?;
        Ok(table.held.is_empty())
    }

    /// Whether an attempt of this transaction is under way.
    pub fn is_held_by(&self, txn: TxnId) -> bool {
        self.lock().held.values().any(|holder| *holder == txn)
    }

    /// Voids the latches of all terms up to this one, and fails who waits in them.
    pub fn step_down(&self, term: u64) {
        let mut table = self.lock();
        table.ended = table.ended.max(term);
        if table.term <= term {
            table.clear();
        }
        drop(table);
        self.changed.notify_waiters();
    }

    async fn wait_until(
        &self,
        term: u64,
        within: Duration,
        mut ready: impl FnMut(&mut Table) -> bool,
    ) -> Result<(), LatchError> {
        let deadline = Instant::now() + within;
        loop {
            let changed = self.changed.notified();
            {
                let mut table = self.lock();
                table.enter(term)?;
                if ready(&mut table) {
                    return Ok(());
                }
            }
            timeout_at(deadline, changed).await.map_err(|_| LatchError::Timeout)?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whoever comes first in a new term ends the ones before it.
    fn enter(&mut self, term: u64) -> Result<(), LatchError> {
        if term > self.term {
            self.clear();
            self.ended = self.ended.max(self.term);
            self.term = term;
        }
        match term < self.term || term <= self.ended {
            true => Err(LatchError::SteppedDown),
            false => Ok(()),
        }
    }

    fn clear(&mut self) {
        self.held.clear();
        self.guarded.clear();
    }

    /// Whether another transaction guards what holds the key.
    fn is_guarded(&self, txn: TxnId, key: &Key) -> bool {
        let mut foreign = self.guarded.iter().filter(|(holder, _)| **holder != txn);
        foreign.any(|(_, spans)| {
            let mut ranges = spans.iter().flat_map(Span::ranges);
            ranges.any(|(from, to)| from <= *key && *key < to)
        })
    }

    fn foreign_inside(&self, txn: Option<TxnId>, spans: &[Span]) -> bool {
        if self.held.is_empty() {
            return false;
        }
        spans
            .iter()
            .flat_map(Span::ranges)
            .any(|(from, to)| from < to && self.held.range(from..to).any(|(_, holder)| Some(*holder) != txn))
    }
}

impl Held {
    /// The leadership in which these latches were taken has not ended.
    pub fn is_valid(&self) -> bool {
        let table = self.latches.lock();
        table.term == self.term && table.ended < self.term
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.latches.lock();
        if table.term == self.term {
            for key in &self.keys {
                if table.held.get(key) == Some(&self.txn) {
                    table.held.remove(key);
                }
            }
            table.guarded.remove(&self.txn);
        }
        drop(table);
        self.latches.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(20);

    fn txn(counter: u64) -> TxnId {
        TxnId {
            counter,
            ..TxnId::default()
        }
    }

    fn key(name: &str) -> Key {
        name.as_bytes().to_vec()
    }

    #[tokio::test]
    async fn a_second_writer_waits_for_the_first() {
        let latches = Arc::new(Latches::default());
        let first = latches
            .acquire(1, txn(1), [key("a"), key("b")].iter(), Vec::new(), LONG)
            .await
            .unwrap();
        let refused = latches.acquire(1, txn(2), [key("b")].iter(), Vec::new(), SHORT).await;
        assert_eq!(refused.unwrap_err(), LatchError::Timeout);
        drop(first);
        latches
            .acquire(1, txn(2), [key("b")].iter(), Vec::new(), SHORT)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_reader_of_a_range_waits_for_a_key_inside_it() {
        let latches = Arc::new(Latches::default());
        let held = latches
            .acquire(1, txn(1), [key("b")].iter(), Vec::new(), LONG)
            .await
            .unwrap();
        let range = [Span::Range {
            from: key("a"),
            to: key("c"),
        }];
        assert_eq!(
            latches.wait_clear(1, None, &range, SHORT).await,
            Err(LatchError::Timeout)
        );
        assert_eq!(latches.wait_clear(1, Some(txn(1)), &range, SHORT).await, Ok(()));
        drop(held);
        assert_eq!(latches.wait_clear(1, None, &range, SHORT).await, Ok(()));
    }

    #[tokio::test]
    async fn nobody_latches_what_another_guards_until_that_one_is_done() {
        let latches = Arc::new(Latches::default());
        let guard = vec![Span::Range {
            from: key("b"),
            to: key("d"),
        }];
        let first = latches
            .acquire(1, txn(1), [key("a")].iter(), guard.clone(), LONG)
            .await
            .unwrap();
        let inside = latches.acquire(1, txn(2), [key("c")].iter(), Vec::new(), SHORT).await;
        assert_eq!(inside.unwrap_err(), LatchError::Timeout);
        let beside = latches
            .acquire(1, txn(2), [key("d")].iter(), Vec::new(), SHORT)
            .await
            .unwrap();
        let over_a_latch = vec![Span::Key(key("d"))];
        let late = latches.acquire(1, txn(3), [key("x")].iter(), over_a_latch, SHORT).await;
        assert_eq!(late.unwrap_err(), LatchError::Timeout);
        drop((first, beside));
        latches
            .acquire(1, txn(2), [key("c"), key("d")].iter(), Vec::new(), SHORT)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn at_step_down_waiting_readers_fail_and_latches_are_void() {
        let latches = Arc::new(Latches::default());
        let held = latches
            .acquire(1, txn(1), [key("a")].iter(), Vec::new(), LONG)
            .await
            .unwrap();
        let waiting = {
            let latches = latches.clone();
            tokio::spawn(async move { latches.wait_clear(1, None, &[Span::Key(key("a"))], LONG).await })
        };
        tokio::task::yield_now().await;
        latches.step_down(1);
        assert_eq!(waiting.await.unwrap(), Err(LatchError::SteppedDown));
        assert!(!held.is_valid());
        let next = latches
            .acquire(2, txn(2), [key("a")].iter(), Vec::new(), SHORT)
            .await
            .unwrap();
        drop(held);
        // News of the old step-down that come late do not touch the new leadership.
        latches.step_down(1);
        assert!(next.is_valid(), "a void latch released one of the new leadership");
        let blocked = latches.wait_clear(2, None, &[Span::Key(key("a"))], SHORT).await;
        assert_eq!(blocked, Err(LatchError::Timeout));
    }

    #[tokio::test]
    async fn nobody_acts_in_a_term_that_has_ended() {
        let latches = Arc::new(Latches::default());
        latches.step_down(3);
        let late = latches.acquire(3, txn(1), [key("a")].iter(), Vec::new(), SHORT).await;
        assert_eq!(late.unwrap_err(), LatchError::SteppedDown);
        assert_eq!(
            latches.wait_clear(2, None, &[], SHORT).await,
            Err(LatchError::SteppedDown)
        );
        assert_eq!(latches.wait_clear(4, None, &[], SHORT).await, Ok(()));
    }
}
