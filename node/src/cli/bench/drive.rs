//! Clients that send operations for a while, and what they measured.
//!
//! With a rate, an operation's time counts from when it was due. If it counted from when it was sent, a stall would hold back
//! the operations behind it, and they would look fast ("coordinated omission").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use kotoba_proto::ClusterError;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::work::{Kind, Work};
use crate::cli::output::Format;
use crate::cli::progress::Bar;

/// Microseconds: an hour, the longest that a call may take.
const LONGEST_US: u64 = 3_600_000_000;
/// Digits of a time that are kept: an error of a thousandth.
const DIGITS: u8 = 3;
const SHOW_EVERY: Duration = Duration::from_millis(200);

pub(super) struct Pace {
    pub clients: u16,
    pub duration: Duration,
    /// None: each client sends when it has been answered.
    pub rate_per_s: Option<u32>,
}

/// What was measured of one kind.
#[derive(Clone, Debug)]
pub(super) struct Times {
    /// Microseconds of those that were answered.
    pub answered: Histogram<u64>,
    pub errors: u64,
}

impl Default for Times {
    fn default() -> Self {
        let bounds = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Times {
            answered: bounds.expect("the bounds are constants that fit each other"),
            errors: 0,
        }
    }
}

/// What was measured.
#[derive(Default)]
pub(super) struct Measured {
    pub kinds: BTreeMap<Kind, Times>,
    pub took: Duration,
    pub first_error: Option<ClusterError>,
}

impl Measured {
    fn note(&mut self, kind: Kind, took: Duration, result: Result<(), ClusterError>) {
        let times = self.kinds.entry(kind).or_default();
        match result {
            Ok(()) => times.answered.saturating_record(micros(took)),
            Err(error) => {
                times.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn merge(&mut self, other: Measured) {
        for (kind, times) in other.kinds {
            let all = self.kinds.entry(kind).or_default();
            all.answered.add(&times.answered).expect("all have the same bounds");
            all.errors += times.errors;
        }
        self.first_error = self.first_error.take().or(other.first_error);
    }

    pub(super) fn errors(&self) -> u64 {
        self.kinds.values().map(|times| times.errors).sum()
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(LONGEST_US)
}

/// When operations are sent.
struct Schedule {
    begin: Instant,
    end: Instant,
    rate_per_s: Option<u32>,
    next: AtomicU64,
    stop: CancellationToken,
}

impl Schedule {
    /// The time from which the next operation counts, once that is here; `None` when no more is sent.
    async fn next(&self) -> Option<Instant> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = self.due(number, Instant::now())?;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            () = sleep_until(due) => Some(due),
        }
    }

    /// When the operation of this number counts from, whenever it is sent; `None` after the end.
    fn due(&self, number: u64, now: Instant) -> Option<Instant> {
        let due = match self.rate_per_s {
            Some(rate) => self.begin + Duration::from_secs_f64(number as f64 / f64::from(rate)),
            None => now,
        };
        (due < self.end).then_some(due)
    }
}

/// Sends operations until the time is over, and waits for the answers of those under way.
pub(super) async fn drive(work: Arc<Work>, pace: &Pace, stop: &CancellationToken, format: Format) -> Measured {
    let begin = Instant::now();
    let schedule = Arc::new(Schedule {
        begin,
        end: begin + pace.duration,
        rate_per_s: pace.rate_per_s,
        next: AtomicU64::new(0),
        stop: stop.clone(),
    });
    let done = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..pace.clients {
        clients.spawn(client(work.clone(), schedule.clone(), done.clone()));
    }
    let mut measured = Measured::default();
    let bar = Bar::start(format, pace.duration.as_secs());
    let mut show = interval(SHOW_EVERY);
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(Ok(part)) => measured.merge(part),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => break,
            },
            _ = show.tick() => {
                let so_far = begin.elapsed();
                let rate = done.load(Ordering::Relaxed) as f64 / so_far.as_secs_f64();
                bar.advance(so_far.as_secs(), || format!("{rate:.0} operations a second"));
            }
        }
    }
    measured.took = begin.elapsed();
    measured
}

async fn client(work: Arc<Work>, schedule: Arc<Schedule>, done: Arc<AtomicU64>) -> Measured {
    let mut measured = Measured::default();
    while let Some(from) = schedule.next().await {
        let kind = work.draw();
        let result = work.once(kind).await;
        measured.note(kind, from.elapsed(), result);
        done.fetch_add(1, Ordering::Relaxed);
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate_per_s: Option<u32>, duration: Duration) -> Schedule {
        let begin = Instant::now();
        Schedule {
            begin,
            end: begin + duration,
            rate_per_s,
            next: AtomicU64::new(0),
            stop: CancellationToken::new(),
        }
    }

    #[test]
    fn operations_are_due_at_their_rate_and_end_with_the_time() {
        let schedule = schedule(Some(4), Duration::from_secs(1));
        let due = (0..9).filter_map(|number| schedule.due(number, schedule.begin));
        let millis: Vec<u128> = due.map(|at| (at - schedule.begin).as_millis()).collect();
        assert_eq!(millis, [0, 250, 500, 750]);
    }

    #[test]
    fn what_a_stall_holds_back_counts_from_when_it_was_due() {
        let schedule = schedule(Some(10), Duration::from_secs(1));
        let stalled_until = schedule.begin + Duration::from_millis(500);
        let mut measured = Measured::default();
        for number in 0..10 {
            let due = schedule.due(number, stalled_until).unwrap();
            let answered = due.max(stalled_until);
            measured.note(Kind::Read, answered - due, Ok(()));
        }
        // Due at 0, 100, … 400 ms and answered at 500 ms; the rest at once.
        let times = &measured.kinds[&Kind::Read].answered;
        let above = |millis: u64| times.len() - times.count_between(0, millis * 1_000);
        assert_eq!([50, 150, 250, 350, 450].map(above), [5, 4, 3, 2, 1]);
    }

    #[test]
    fn without_a_rate_an_operation_counts_from_when_it_is_sent() {
        let schedule = schedule(None, Duration::from_secs(1));
        let now = schedule.begin + Duration::from_millis(7);
        assert_eq!(schedule.due(1_000_000, now), Some(now));
        assert_eq!(schedule.due(0, schedule.end), None);
    }

    #[tokio::test]
    async fn a_stop_ends_the_waiting_too() {
        let schedule = schedule(Some(1), Duration::from_secs(1_000));
        assert!(schedule.next().await.is_some());
        schedule.stop.cancel();
        assert!(schedule.next().await.is_none());
    }

    #[test]
    fn what_failed_is_counted_apart() {
        let mut all = Measured::default();
        let mut part = Measured::default();
        part.note(Kind::Write, Duration::from_millis(3), Ok(()));
        part.note(Kind::Write, Duration::ZERO, Err(ClusterError::NoLeader("x".into())));
        all.merge(part);
        all.note(Kind::Write, Duration::from_secs(9_000), Ok(()));
        let times = &all.kinds[&Kind::Write];
        assert_eq!((times.answered.len(), times.errors, all.errors()), (2, 1, 1));
        assert!(all.first_error.is_some());
    }
}
