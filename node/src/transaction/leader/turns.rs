//! Who may have entries under way in a partition's log at the same time.
//!
//! One-phase commits latch their keys, so they know what those before them change. Everything else (Prepare, Commit, pushes,
//! resolutions, closed timestamps, floors) latches nothing. An Eventual commit is promised before it is applied, so while its
//! entry gets its place in the log nothing unlatched may be under way: it could be applied first and make the promise untrue.
//! Eventual commits never wait for the others, they are answered later instead; the others wait for the time of one write
//! to the disk.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Counts {
    /// From before they are proposed until they are applied.
    unlatched: usize,
    /// Until their entries are on disk, and so in their places.
    eventual: usize,
    waiting: usize,
    /// Number of the next unlatched proposal.
    next: u64,
    /// An unlatched proposal was given up and may still be under way. Once one of this number or a later one is applied it is
    /// either applied too or never will be.
    doubtful_until: Option<u64>,
}

/// The turns of one partition's leader.
#[derive(Debug, Default)]
pub struct Turns {
    counts: Mutex<Counts>,
    freed: Notify,
}

/// The turn of an unlatched proposal. Dropped without an answer, it leaves a doubt.
#[derive(Debug)]
pub struct UnlatchedTurn<'t> {
    turns: &'t Turns,
    number: u64,
    is_answered: bool,
}

/// The turn of an Eventual commit; over when dropped.
#[derive(Debug)]
pub struct EventualTurn<'t>(&'t Turns);

/// Counts whoever waits, for as long as they do.
struct Waiting<'t>(&'t Turns);

impl Turns {
    /// Waits until no Eventual commit is on its way into the log; none begins while somebody waits here.
    pub async fn unlatched(&self) -> UnlatchedTurn<'_> {
        self.lock().waiting += 1;
        let _waiting = Waiting(self);
        loop {
            let freed = self.freed.notified();
            {
                let mut counts = self.lock();
                if counts.eventual == 0 {
                    counts.unlatched += 1;
                    counts.next += 1;
                    return UnlatchedTurn {
                        turns: self,
                        number: counts.next - 1,
                        is_answered: false,
                    };
                }
            }
            freed.await;
        }
    }

    /// None where something else is, or may be, under way, or waits.
    pub fn try_eventual(&self) -> Option<EventualTurn<'_>> {
        let mut counts = self.lock();
        let is_free = counts.unlatched == 0 && counts.waiting == 0 && counts.doubtful_until.is_none();
        is_free.then(|| {
            counts.eventual += 1;
            EventualTurn(self)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnlatchedTurn<'_> {
    /// Its entry is applied, and so is, or never will be, every one that was proposed before it.
    pub fn applied(mut self) {
        self.is_answered = true;
        let mut counts = self.turns.lock();
        counts.doubtful_until = counts.doubtful_until.filter(|until| self.number < *until);
    }

    /// Nothing was proposed.
    pub fn not_proposed(mut self) {
        self.is_answered = true;
    }
}

impl Drop for UnlatchedTurn<'_> {
    fn drop(&mut self) {
        {
            let mut counts = self.turns.lock();
            counts.unlatched -= 1;
            if !self.is_answered {
                counts.doubtful_until = Some(counts.next);
            }
        }
        self.turns.freed.notify_waiters();
    }
}

impl Drop for EventualTurn<'_> {
    fn drop(&mut self) {
        self.0.lock().eventual -= 1;
        self.0.freed.notify_waiters();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn an_eventual_commit_goes_ahead_only_where_nothing_unlatched_is_under_way() {
        let turns = Turns::default();
        let unlatched = turns.unlatched().await;
        let other = timeout(SHORT, turns.unlatched()).await.unwrap();
        assert!(turns.try_eventual().is_none());
        unlatched.applied();
        other.not_proposed();
        let (first, second) = (turns.try_eventual().unwrap(), turns.try_eventual().unwrap());
        assert!(timeout(SHORT, turns.unlatched()).await.is_err(), "it waits for both");
        drop(first);
        let mut waiting = std::pin::pin!(turns.unlatched());
        assert!(timeout(SHORT, waiting.as_mut()).await.is_err());
        assert!(turns.try_eventual().is_none(), "whoever waits comes first");
        drop(second);
        timeout(SHORT, waiting).await.unwrap().applied();
        assert!(turns.try_eventual().is_some());
    }

    #[tokio::test]
    async fn a_proposal_that_was_given_up_is_in_doubt_until_a_later_one_is_applied() {
        let turns = Turns::default();
        let (given_up, earlier) = (turns.unlatched().await, turns.unlatched().await);
        drop(given_up);
        earlier.applied();
        assert!(turns.try_eventual().is_none(), "that one may have been proposed before");
        turns.unlatched().await.not_proposed();
        assert!(turns.try_eventual().is_none());
        turns.unlatched().await.applied();
        assert!(turns.try_eventual().is_some());
    }
}
