//! The line: requests of this member's clients that are in each other's way, one behind the other.
//!
//! Of transactions that read a key and then write it, one can commit and the others were tried in vain; the more of them begin
//! anew beside each other, the less of their work is of use, until none is. So whoever lost once, and whoever comes where
//! somebody stands already, waits until those before him on the same keys are done. All keys of a request are taken at once, so
//! nobody waits for one who waits for him.
//!
//! Only speed hangs on it: clients of other members stand in lines of their own, and conflicts are found by the commit as ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_state::partition::Key;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Whoever takes longer holds up the others no more: he may wait for a partition that they do not need.
const AT_FRONT_FOR: Duration = Duration::from_millis(500);

/// All who stand, by the keys that they are about to read.
#[derive(Clone, Debug, Default)]
pub struct Line(Arc<Mutex<Queues>>);

#[derive(Debug, Default)]
struct Queues {
    /// Who is at the front of a key, and behind him who waits.
    standing: BTreeMap<Key, VecDeque<Ticket>>,
    waiting: BTreeMap<Ticket, Waiting>,
    next: Ticket,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

#[derive(Debug)]
struct Waiting {
    /// Keys at whose front somebody else is.
    behind: usize,
    told: oneshot::Sender<()>,
}

/// A place in the line, given up when it is dropped.
#[derive(Debug)]
struct Entry {
    line: Line,
    ticket: Ticket,
    keys: BTreeSet<Key>,
}

/// The place at the front of all keys of a request.
#[derive(Debug)]
pub struct Front {
    _entry: Entry,
    until: Instant,
}

impl Line {
    /// Whether somebody stands at one of the keys.
    pub fn is_at(&self, keys: &BTreeSet<Key>) -> bool {
        let queues = self.lock();
        !queues.standing.is_empty() && keys.iter().any(|key| queues.standing.contains_key(key))
    }

    /// Waits behind all who stand at the keys; none where that takes too long.
    pub async fn stand(&self, keys: BTreeSet<Key>, deadline: Instant) -> Option<Front> {
        let (entry, told) = self.enter(keys);
        if let Some(told) = told {
            timeout_at(deadline, told).await.ok()?.ok()?;
        }
        Some(Front {
            _entry: entry,
            until: Instant::now() + AT_FRONT_FOR,
        })
    }

    fn enter(&self, keys: BTreeSet<Key>) -> (Entry, Option<oneshot::Receiver<()>>) {
        let mut queues = self.lock();
        let ticket = queues.next;
        queues.next = Ticket(ticket.0 + 1);
        let mut behind = 0;
        for key in &keys {
            let queue = queues.standing.entry(key.clone()).or_default();
            behind += usize::from(!queue.is_empty());
            queue.push_back(ticket);
        }
        let told = (behind > 0).then(|| {
            let (told, is_told) = oneshot::channel();
            queues.waiting.insert(ticket, Waiting { behind, told });
            is_told
        });
        let line = self.clone();
        (Entry { line, ticket, keys }, told)
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn leave(&mut self, ticket: Ticket, keys: &BTreeSet<Key>) {
        self.waiting.remove(&ticket);
        for key in keys {
            let Some(queue) = self.standing.get_mut(key) else {
                continue;
            };
            let was_at_front = queue.front() == Some(&ticket);
            queue.retain(|standing| *standing != ticket);
            let next = queue.front().copied();
            if next.is_none() {
                self.standing.remove(key);
            }
            if let Some(next) = next.filter(|_| was_at_front) {
                self.come_to_front(next);
            }
        }
    }

    /// At one more of his keys.
    fn come_to_front(&mut self, ticket: Ticket) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else {
            return;
        };
        waiting.behind -= 1;
        if waiting.behind == 0
            && let Some(waiting) = self.waiting.remove(&ticket)
        {
            // One who has just given up leaves by himself.
            let _ = waiting.told.send(());
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.line.lock().leave(self.ticket, &self.keys);
    }
}

/// Does what the place at the front was waited for; gives it up where that takes too long.
pub async fn at_front<T>(front: &mut Option<Front>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Some(held) = front {
        if let Ok(done) = timeout_at(held.until, &mut work).await {
            return done;
        }
        *front = None;
    }
    work.await
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn keys(names: &str) -> BTreeSet<Key> {
        names.bytes().map(|name| vec![name]).collect()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn who_comes_to_the_same_keys_waits_and_others_do_not() {
        let line = Line::default();
        assert!(!line.is_at(&keys("a")));
        let first = line.stand(keys("ab"), later()).await.unwrap();
        assert!(line.is_at(&keys("bc")) && !line.is_at(&keys("c")));
        let mut second = Box::pin(line.stand(keys("bc"), later()));
        assert!(second.as_mut().now_or_never().is_none());
        let beside = line.stand(keys("d"), later()).now_or_never().flatten();
        assert!(beside.is_some());
        drop(first);
        assert!(second.now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn all_are_served_in_the_order_in_which_they_came() {
        let line = Line::default();
        let first = line.stand(keys("a"), later()).await.unwrap();
        let mut second = Box::pin(line.stand(keys("ab"), later()));
        assert!(second.as_mut().now_or_never().is_none());
        // "b" is free, but the one before takes it with "a" together.
        let mut third = Box::pin(line.stand(keys("b"), later()));
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        drop(second.now_or_never().flatten().unwrap());
        assert!(third.now_or_never().flatten().is_some());
    }

    #[tokio::test]
    async fn who_gives_up_is_not_waited_for() {
        let line = Line::default();
        let first = line.stand(keys("a"), later()).await.unwrap();
        let mut second = Box::pin(line.stand(keys("ab"), later()));
        let mut third = Box::pin(line.stand(keys("b"), later()));
        let mut fourth = Box::pin(line.stand(keys("a"), later()));
        for waits in [&mut second, &mut third, &mut fourth] {
            assert!(waits.as_mut().now_or_never().is_none());
        }
        drop(second);
        assert!(third.now_or_never().flatten().is_some());
        assert!(fourth.as_mut().now_or_never().is_none(), "the first is still there");
        drop(first);
        drop(fourth.now_or_never().flatten().unwrap());
        let left = line.lock();
        assert!(left.standing.is_empty() && left.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_he_may_nor_for_one_who_takes_too_long() {
        let line = Line::default();
        let mut first = line.stand(keys("a"), later()).await;
        let soon = Instant::now() + AT_FRONT_FOR / 2;
        assert!(line.stand(keys("a"), soon).await.is_none());
        let (end, ended) = oneshot::channel::<()>();
        let slow = at_front(&mut first, ended);
        let (slow, second) = tokio::join!(slow, async {
            let second = line.stand(keys("a"), later()).await;
            end.send(()).unwrap();
            second
        });
        assert!(slow.is_ok() && second.is_some(), "the work went on without its place");
        assert!(first.is_none());
    }
}
