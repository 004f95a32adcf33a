//! Asks again, on another member where that may help, until the deadline.
//!
//! Reads are sent again because they change nothing, writes because they carry a number by which the members know them: one
//! that was applied is not applied again. `Retry` decides and holds no connection; `call` does.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;

use super::Options;
use super::addresses::{Addresses, Client, Member};
use crate::ClusterError;
use crate::error::Failure;

/// About the time of one commit: a conflict is usually gone by then.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// About the time of one election; longer pauses only add latency.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// With less time left no attempt is begun: it would likely end in the middle, and a write's outcome would then be unknown
/// where now a definite error is at hand.
const LEAST_ATTEMPT: Duration = Duration::from_millis(100);

/// Whether sending a request twice does the same as sending it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Reads, and calls that are idempotent by their content.
    Always,
    /// Writes: the members tell an earlier attempt by its number.
    Numbered,
}

/// One sending of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Until the call's deadline.
    pub left: Duration,
    /// An earlier attempt may have been applied, or may still be under way.
    pub repeated: bool,
}

/// Calls `attempt` on one member after the other until it succeeds, is refused, or time is up; first on the one that leads the
/// slot, where the request belongs to one.
pub(crate) async fn call<T, F, Fut>(
    addresses: &Addresses,
    options: &Options,
    repeat: Repeat,
    slot: Option<u16>,
    attempt: F,
) -> Result<T, ClusterError>
where
    F: Fn(Client, Attempt) -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    let mut retry = Retry::new(options, addresses.len(), repeat, Instant::now());
    let mut leader = slot.and_then(|slot| addresses.leader(slot));
    loop {
        let member = leader.take().unwrap_or_else(|| retry.choose(addresses));
        let this = retry.attempt(Instant::now());
        let answer = tokio::time::timeout(this.left, attempt(addresses.client(&member, slot), this)).await;
        let failure = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(status)) => Failure::from_status(&status, &member.address),
            Err(_elapsed) => return Err(retry.deadline_passed()),
        };
        tracing::debug!(address = %member.address, error = %failure.error, "attempt failed");
        if matches!(failure.error, ClusterError::NetworkError { .. }) {
            addresses.silent(&member);
        }
        if is_connection_refused(&failure) {
            member.refused_connection();
        }
        retry.asked.push(member.address.clone());
        let others = addresses.others_than(&retry.asked);
        let pause = retry.decide(failure, others, Instant::now())?;
        tokio::time::sleep(pause).await;
    }
}

fn is_connection_refused(failure: &Failure) -> bool {
    failure.nothing_applied && matches!(failure.error, ClusterError::NetworkError { .. })
}

/// What happened so far in one call, and so what to do after the next failure.
struct Retry {
    repeat: Repeat,
    deadline: Duration,
    ends: Instant,
    /// When to stop if no connection could be made at all; moves out of the way at the first answer.
    unreachable_ends: Instant,
    addresses: usize,
    /// Since the last pause: while there are others, the next one is asked at once.
    asked: Vec<String>,
    unassigned: usize,
    redirected: bool,
    redirect: Option<String>,
    /// Some attempt may have been applied.
    uncertain: bool,
    backoff: Backoff,
    last: Option<ClusterError>,
}

impl Retry {
    fn new(options: &Options, addresses: usize, repeat: Repeat, now: Instant) -> Self {
        Retry {
            repeat,
            deadline: options.deadline,
            ends: now + options.deadline,
            unreachable_ends: now + options.unreachable_after.min(options.deadline),
            addresses,
            asked: Vec::new(),
            unassigned: 0,
            redirected: false,
            redirect: None,
            uncertain: false,
            backoff: Backoff { next: FIRST_PAUSE },
            last: None,
        }
    }

    fn choose(&mut self, addresses: &Addresses) -> Arc<Member> {
        self.redirect
            .take()
            .and_then(|address| addresses.redirect(&address))
            .unwrap_or_else(|| addresses.next(&self.asked))
    }

    fn attempt(&self, now: Instant) -> Attempt {
        Attempt {
            left: self.ends.saturating_duration_since(now),
            repeated: self.uncertain,
        }
    }

    /// How long to wait before the next attempt, or the error to give up with; `others` says whether anybody is left to be asked
    /// since the last pause.
    fn decide(&mut self, failure: Failure, others: bool, now: Instant) -> Result<Duration, ClusterError> {
        self.uncertain |= self.repeat == Repeat::Numbered && !failure.nothing_applied;
        if !is_connection_refused(&failure) {
            self.unreachable_ends = self.ends;
        }
        let Some(pause) = self.pause_after(&failure.error, others) else {
            return Err(self.give_up(failure.error));
        };
        if now + pause + LEAST_ATTEMPT >= self.unreachable_ends {
            return Err(self.give_up(failure.error));
        }
        self.last = Some(failure.error);
        Ok(pause)
    }

    /// The pause this error asks for; `None` if trying again cannot help.
    fn pause_after(&mut self, error: &ClusterError, others: bool) -> Option<Duration> {
        match error {
            ClusterError::NotLeader { leader } => Some(self.follow(leader.clone())),
            ClusterError::Transient(_) | ClusterError::UnknownOutcome(_) => Some(self.pause()),
            // It may be this member alone, which is only starting.
            ClusterError::NoLeader(_) | ClusterError::NetworkError { .. } => Some(self.next_in_round(others)),
            ClusterError::Unassigned(_) => {
                self.unassigned += 1;
                (self.unassigned < self.addresses).then(|| self.next_in_round(others))
            }
            ClusterError::Invalid(_)
            | ClusterError::NotFound(_)
            | ClusterError::Refused(_)
            | ClusterError::OtherVersion(_)
            | ClusterError::EventsLost { .. }
            | ClusterError::DiskFull(_)
            | ClusterError::ReceiptExpired(_)
            | ClusterError::Timeout { .. }
            | ClusterError::Unsupported { .. }
            | ClusterError::Address { .. }
            | ClusterError::Protocol(_) => None,
        }
    }

    /// The first redirect is followed at once; members that send us in circles are given time to agree. Whoever sends us on was
    /// asked: that comes to nothing is no reason to ask it again at once.
    fn follow(&mut self, leader: Option<String>) -> Duration {
        let at_once = leader.is_some() && !self.redirected;
        self.redirected = true;
        self.redirect = leader;
        if at_once { Duration::ZERO } else { self.backoff.pause() }
    }

    fn next_in_round(&mut self, others: bool) -> Duration {
        if others { Duration::ZERO } else { self.pause() }
    }

    fn pause(&mut self) -> Duration {
        self.asked.clear();
        self.backoff.pause()
    }

    fn deadline_passed(&mut self) -> ClusterError {
        let timeout = ClusterError::Timeout {
            deadline: self.deadline,
            last: self.last.take().map(Box::new),
        };
        match self.repeat {
            Repeat::Always => timeout,
            Repeat::Numbered => unknown_outcome(timeout),
        }
    }

    /// What is told at the end. A refusal is final for all attempts; any other failure says nothing of the earlier ones.
    fn give_up(&self, error: ClusterError) -> ClusterError {
        match self.uncertain && !is_refusal(&error) {
            true => unknown_outcome(error),
            false => error,
        }
    }
}

fn is_refusal(error: &ClusterError) -> bool {
    match error {
        ClusterError::Invalid(_)
        | ClusterError::NotFound(_)
        | ClusterError::Refused(_)
        | ClusterError::OtherVersion(_)
        | ClusterError::EventsLost { .. }
        | ClusterError::ReceiptExpired(_) => true,
        ClusterError::NotLeader { .. }
        | ClusterError::NoLeader(_)
        | ClusterError::NetworkError { .. }
        | ClusterError::Transient(_)
        | ClusterError::UnknownOutcome(_)
        // An earlier attempt may have come before the disk was full.
        | ClusterError::DiskFull(_)
        | ClusterError::Unassigned(_)
        | ClusterError::Timeout { .. }
        | ClusterError::Unsupported { .. }
        | ClusterError::Address { .. }
        | ClusterError::Protocol(_) => false,
    }
}

fn unknown_outcome(cause: ClusterError) -> ClusterError {
    if matches!(cause, ClusterError::UnknownOutcome(_)) {
        return cause;
    }
    ClusterError::UnknownOutcome(cause.to_string())
}

/// Exponential, with jitter so that clients that failed together do not come back together.
struct Backoff {
    next: Duration,
}

impl Backoff {
    fn pause(&mut self) -> Duration {
        let pause = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(addresses: usize, repeat: Repeat, now: Instant) -> Retry {
        Retry::new(&Options::default(), addresses, repeat, now)
    }

    fn network(nothing_applied: bool) -> Failure {
        Failure {
            error: ClusterError::NetworkError {
                address: "a:1".into(),
                reason: "gone".into(),
            },
            nothing_applied,
        }
    }

    fn answered(error: ClusterError) -> Failure {
        Failure {
            error,
            nothing_applied: true,
        }
    }

    #[test]
    fn other_addresses_are_tried_before_the_first_pause() {
        let now = Instant::now();
        let mut retry = retry(3, Repeat::Always, now);
        retry.asked = vec!["a:1".to_owned(), "b:1".to_owned()];
        assert_eq!(retry.decide(network(false), true, now), Ok(Duration::ZERO));
        assert_eq!(retry.asked.len(), 2);
        assert!(retry.decide(network(false), false, now).unwrap() >= FIRST_PAUSE / 2);
        assert!(retry.asked.is_empty(), "all are asked again");
    }

    #[test]
    fn a_member_that_is_only_starting_is_left_for_another_at_once() {
        let now = Instant::now();
        let mut retry = retry(2, Repeat::Numbered, now);
        let starting = || answered(ClusterError::NoLeader("this member is starting".into()));
        assert_eq!(retry.decide(starting(), true, now), Ok(Duration::ZERO));
        assert!(retry.decide(starting(), false, now).unwrap() >= FIRST_PAUSE / 2);
    }

    #[test]
    fn a_write_that_may_have_been_applied_is_sent_again_as_a_repeated_one() {
        let now = Instant::now();
        let mut retry = retry(3, Repeat::Numbered, now);
        assert!(retry.decide(network(true), false, now).is_ok());
        assert!(!retry.attempt(now).repeated);
        assert!(retry.decide(network(false), false, now).is_ok());
        assert!(retry.attempt(now).repeated);
    }

    #[test]
    fn only_a_refusal_tells_the_outcome_of_a_write_that_may_have_been_applied() {
        let now = Instant::now();
        let after_doubt = |error| {
            let mut retry = retry(3, Repeat::Numbered, now);
            retry.decide(network(false), false, now).unwrap();
            retry.decide(answered(error), false, now).unwrap_err()
        };
        let missing = ClusterError::NotFound("node 5".into());
        assert_eq!(after_doubt(missing.clone()), missing);
        let broken = ClusterError::Protocol("noise".into());
        assert!(matches!(after_doubt(broken), ClusterError::UnknownOutcome(_)));
    }

    #[test]
    fn pauses_grow_to_a_bound_and_end_at_the_deadline() {
        let start = Instant::now();
        let mut now = start;
        let mut retry = retry(1, Repeat::Always, now);
        let busy = || answered(ClusterError::Transient("busy".into()));
        let mut longest = Duration::ZERO;
        while let Ok(pause) = retry.decide(busy(), false, now) {
            longest = longest.max(pause);
            now += pause;
        }
        assert!(longest <= LONGEST_PAUSE && longest >= LONGEST_PAUSE / 2);
        let given_up_after = now - start;
        let deadline = Options::default().deadline;
        assert!(given_up_after < deadline && given_up_after + LONGEST_PAUSE + LEAST_ATTEMPT >= deadline);
    }

    #[test]
    fn where_nobody_listens_patience_ends_earlier() {
        let now = Instant::now();
        let options = Options {
            unreachable_after: Duration::from_secs(2),
            ..Options::default()
        };
        let late = now + Duration::from_secs(3);
        let mut retry = Retry::new(&options, 1, Repeat::Always, now);
        assert!(retry.decide(network(true), false, late).is_err());
        let mut retry = Retry::new(&options, 1, Repeat::Always, now);
        let no_leader = answered(ClusterError::NoLeader("election".into()));
        assert!(retry.decide(no_leader, false, now).is_ok());
        assert!(retry.decide(network(true), false, late).is_ok());
    }

    #[test]
    fn a_list_of_empty_disks_is_given_up_after_one_round() {
        let now = Instant::now();
        let mut retry = retry(2, Repeat::Always, now);
        let unassigned = || answered(ClusterError::Unassigned("empty disk".into()));
        assert_eq!(retry.decide(unassigned(), true, now), Ok(Duration::ZERO));
        assert!(retry.decide(unassigned(), true, now).is_err());
    }

    #[test]
    fn the_first_redirect_is_followed_at_once_and_a_circle_is_slowed() {
        let now = Instant::now();
        let mut retry = retry(1, Repeat::Numbered, now);
        let elsewhere = || {
            answered(ClusterError::NotLeader {
                leader: Some("b:1".into()),
            })
        };
        assert_eq!(retry.decide(elsewhere(), false, now), Ok(Duration::ZERO));
        assert_eq!(retry.redirect.as_deref(), Some("b:1"));
        retry.asked = vec!["a:1".to_owned()];
        assert!(retry.decide(elsewhere(), false, now).unwrap() > Duration::ZERO);
        assert_eq!(retry.asked, ["a:1"], "it would send us there again");
    }
}
