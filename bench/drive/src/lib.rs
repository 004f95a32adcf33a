//! Clients that send operations for a while, and what they measured. `kotoba bench` and the comparison with peers use it alike.
//!
//! With a rate, an operation's time counts from when it was due. If it counted from when it was sent, a stall would hold back
//! the operations behind it, and they would look fast ("coordinated omission").

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

/// Microseconds: an hour, the longest that a call may take.
const LONGEST_US: u64 = 3_600_000_000;
/// Digits of a time that are kept: an error of a thousandth.
const DIGITS: u8 = 3;
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// The operations that are measured.
pub trait Work: Send + Sync + 'static {
    /// Kinds are counted apart.
    type Kind: Copy + Ord + Send + 'static;
    type Error: Send + 'static;

    /// The kind of the next operation.
    fn draw(&self) -> Self::Kind;

    /// Does one operation for a client, numbered from 0; an answer that is wrong is an error.
    fn once(&self, client: usize, kind: Self::Kind) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// How many clients send how fast, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Operations under way at once.
    pub clients: u16,
    pub duration: Duration,
    /// None: each client sends when it has been answered.
    pub rate_per_s: Option<u32>,
}

/// What was measured of one kind.
#[derive(Clone, Debug)]
pub struct Times {
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

impl Times {
    /// Adds what another measured.
    pub fn merge(&mut self, other: &Times) {
        self.answered.add(&other.answered).expect("all have the same bounds");
        self.errors += other.errors;
    }

    /// In milliseconds: the time within which this part of the answers came, 0 to 1.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.answered.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

/// What was measured.
pub struct Measured<W: Work> {
    pub kinds: BTreeMap<W::Kind, Times>,
    pub took: Duration,
    pub first_error: Option<W::Error>,
}

impl<W: Work> Default for Measured<W> {
    fn default() -> Self {
        Measured {
            kinds: BTreeMap::new(),
            took: Duration::ZERO,
            first_error: None,
        }
    }
}

impl<W: Work> Measured<W> {
    fn note(&mut self, kind: W::Kind, took: Duration, result: Result<(), W::Error>) {
        let times = self.kinds.entry(kind).or_default();
        match result {
            Ok(()) => times.answered.saturating_record(micros(took)),
            Err(error) => {
                times.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        for (kind, times) in other.kinds {
            self.kinds.entry(kind).or_default().merge(&times);
        }
        self.first_error = self.first_error.take().or(other.first_error);
    }

    /// Operations that failed.
    pub fn errors(&self) -> u64 {
        self.kinds.values().map(|times| times.errors).sum()
    }

    /// All kinds together.
    pub fn all(&self) -> Times {
        let mut all = Times::default();
        for times in self.kinds.values() {
            all.merge(times);
        }
        all
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
        let now = Instant::now();
        let due = self.due(number, now)?;
        // A timer is not asked where nothing is left to wait for: it wakes at the next millisecond.
        if due <= now {
            return (!self.stop.is_cancelled()).then_some(due);
        }
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

/// Sends operations until the time is over or it is stopped, and waits for the answers of those under way. `show` hears now and
/// then how long that has taken and how many were done.
pub async fn drive<W: Work>(
    work: Arc<W>,
    pace: &Pace,
    stop: &CancellationToken,
    mut show: impl FnMut(Duration, u64),
) -> Measured<W> {
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
    for number in 0..usize::from(pace.clients) {
        clients.spawn(client(number, work.clone(), schedule.clone(), done.clone()));
    }
    let mut measured = Measured::default();
    let mut show_now = interval(SHOW_EVERY);
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(Ok(part)) => measured.merge(part),
                Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
                None => break,
            },
            _ = show_now.tick() => show(begin.elapsed(), done.load(Ordering::Relaxed)),
        }
    }
    measured.took = begin.elapsed();
    measured
}

async fn client<W: Work>(number: usize, work: Arc<W>, schedule: Arc<Schedule>, done: Arc<AtomicU64>) -> Measured<W> {
    let mut measured = Measured::default();
    while let Some(from) = schedule.next().await {
        let kind = work.draw();
        let result = work.once(number, kind).await;
        measured.note(kind, from.elapsed(), result);
        done.fetch_add(1, Ordering::Relaxed);
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once; every third operation fails.
    struct Instantly(AtomicU64);

    impl Work for Instantly {
        type Kind = &'static str;
        type Error = &'static str;

        fn draw(&self) -> Self::Kind {
            "read"
        }

        async fn once(&self, _: usize, _: Self::Kind) -> Result<(), Self::Error> {
            match self.0.fetch_add(1, Ordering::Relaxed) % 3 {
                2 => Err("third"),
                _ => Ok(()),
            }
        }
    }

    type Noted = Measured<Instantly>;

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
        let mut measured = Noted::default();
        for number in 0..10 {
            let due = schedule.due(number, stalled_until).unwrap();
            let answered = due.max(stalled_until);
            measured.note("read", answered - due, Ok(()));
        }
        // Due at 0, 100, … 400 ms and answered at 500 ms; the rest at once.
        let times = &measured.kinds["read"].answered;
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

    /// The clock of the test stands still where nobody waits for it.
    #[tokio::test(start_paused = true)]
    async fn what_is_due_is_sent_at_once() {
        let schedule = schedule(None, Duration::from_secs(1_000));
        let begin = Instant::now();
        assert!(schedule.next().await.is_some());
        assert_eq!(begin.elapsed(), Duration::ZERO);
        schedule.stop.cancel();
        assert!(schedule.next().await.is_none());
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
        let mut all = Noted::default();
        let mut part = Noted::default();
        part.note("write", Duration::from_millis(3), Ok(()));
        part.note("write", Duration::ZERO, Err("no leader"));
        all.merge(part);
        all.note("write", Duration::from_secs(9_000), Ok(()));
        let times = &all.kinds["write"];
        assert_eq!((times.answered.len(), times.errors, all.errors()), (2, 1, 1));
        assert_eq!(all.first_error, Some("no leader"));
    }

    #[tokio::test]
    async fn every_operation_of_every_client_is_counted() {
        let work = Arc::new(Instantly(AtomicU64::new(0)));
        let pace = Pace {
            clients: 3,
            duration: Duration::from_secs(1),
            rate_per_s: Some(30),
        };
        let measured = drive(work, &pace, &CancellationToken::new(), |_, _| {}).await;
        assert_eq!((measured.all().answered.len(), measured.errors()), (20, 10));
    }
}
