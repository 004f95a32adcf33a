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
    let mut retry = Retry::new(options, repeat, Instant::now());
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
        let pause = retry.decide(addresses, &member.address, failure, Instant::now())?;
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
    fn new(options: &Options, repeat: Repeat, now: Instant) -> Self {
        Retry {
            repeat,
            deadline: options.deadline,
            ends: now + options.deadline,
            unreachable_ends: now + options.unreachable_after.min(options.deadline),
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

    /// How long to wait before the next attempt after what came of asking an address, or the error to give up with.
    fn decide(
        &mut self,
        addresses: &Addresses,
        asked: &str,
        failure: Failure,
        now: Instant,
    ) -> Result<Duration, ClusterError> {
        self.asked.push(asked.to_owned());
        self.uncertain |= self.repeat == Repeat::Numbered && !failure.nothing_applied;
        if !is_connection_refused(&failure) {
            self.unreachable_ends = self.ends;
        }
        let Some(pause) = self.pause_after(addresses, &failure.error) else {
            return Err(self.give_up(failure.error));
        };
        if now + pause + LEAST_ATTEMPT >= self.unreachable_ends {
            return Err(self.give_up(failure.error));
        }
        self.last = Some(failure.error);
        Ok(pause)
    }

    /// The pause this error asks for; `None` if trying again cannot help.
    fn pause_after(&mut self, addresses: &Addresses, error: &ClusterError) -> Option<Duration> {
        match error {
            ClusterError::NotLeader { leader } => Some(self.follow(leader.clone())),
            ClusterError::Transient(_) | ClusterError::UnknownOutcome(_) => Some(self.pause()),
            // It may be this member alone, which is only starting.
            ClusterError::NoLeader(_) | ClusterError::NetworkError { .. } => Some(self.next_in_round(addresses)),
            ClusterError::Unassigned(_) => {
                self.unassigned += 1;
                (self.unassigned < addresses.len()).then(|| self.next_in_round(addresses))
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

    fn next_in_round(&mut self, addresses: &Addresses) -> Duration {
        match addresses.others_than(&self.asked) {
            true => Duration::ZERO,
            false => self.pause(),
        }
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
    /// That the named leader is not reached says more than that it was named once more.
    fn give_up(&self, error: ClusterError) -> ClusterError {
        let error = match (&error, &self.last) {
            (
                ClusterError::NotLeader { leader: Some(leader) },
                Some(last @ ClusterError::NetworkError { address, .. }),
            ) if leader == address => last.clone(),
            _ => error,
        };
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

    /// One call, by what came of asking `a:1`, `b:1` and so on.
    struct Call {
        retry: Retry,
        addresses: Addresses,
    }

    impl Call {
        fn decide(&mut self, asked: &str, failure: Failure, now: Instant) -> Result<Duration, ClusterError> {
            self.retry.decide(&self.addresses, asked, failure, now)
        }
    }

    fn call_with(options: &Options, addresses: &str, repeat: Repeat, now: Instant) -> Call {
        Call {
            retry: Retry::new(options, repeat, now),
            addresses: Addresses::parse(addresses).unwrap(),
        }
    }

    fn call(addresses: &str, repeat: Repeat, now: Instant) -> Call {
        call_with(&Options::default(), addresses, repeat, now)
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
        let mut call = call("a:1,b:1,c:1", Repeat::Always, now);
        assert_eq!(call.decide("b:1", network(false), now), Ok(Duration::ZERO));
        assert_eq!(call.decide("c:1", network(false), now), Ok(Duration::ZERO));
        assert!(call.decide("a:1", network(false), now).unwrap() >= FIRST_PAUSE / 2);
        assert_eq!(
            call.decide("b:1", network(false), now),
            Ok(Duration::ZERO),
            "all are asked again"
        );
    }

    #[test]
    fn a_member_that_is_only_starting_is_left_for_another_at_once() {
        let now = Instant::now();
        let mut call = call("a:1,b:1", Repeat::Numbered, now);
        let starting = || answered(ClusterError::NoLeader("this member is starting".into()));
        assert_eq!(call.decide("a:1", starting(), now), Ok(Duration::ZERO));
        assert!(call.decide("b:1", starting(), now).unwrap() >= FIRST_PAUSE / 2);
    }

    #[test]
    fn a_write_that_may_have_been_applied_is_sent_again_as_a_repeated_one() {
        let now = Instant::now();
        let mut call = call("a:1,b:1,c:1", Repeat::Numbered, now);
        assert!(call.decide("a:1", network(true), now).is_ok());
        assert!(!call.retry.attempt(now).repeated);
        assert!(call.decide("a:1", network(false), now).is_ok());
        assert!(call.retry.attempt(now).repeated);
    }

    #[test]
    fn only_a_refusal_tells_the_outcome_of_a_write_that_may_have_been_applied() {
        let now = Instant::now();
        let after_doubt = |error| {
            let mut call = call("a:1,b:1,c:1", Repeat::Numbered, now);
            call.decide("a:1", network(false), now).unwrap();
            call.decide("a:1", answered(error), now).unwrap_err()
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
        let mut call = call("a:1", Repeat::Always, now);
        let busy = || answered(ClusterError::Transient("busy".into()));
        let mut longest = Duration::ZERO;
        while let Ok(pause) = call.decide("a:1", busy(), now) {
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
        let mut call = call_with(&options, "a:1", Repeat::Always, now);
        assert!(call.decide("a:1", network(true), late).is_err());
        let mut call = call_with(&options, "a:1", Repeat::Always, now);
        let no_leader = answered(ClusterError::NoLeader("election".into()));
        assert!(call.decide("a:1", no_leader, now).is_ok());
        assert!(call.decide("a:1", network(true), late).is_ok());
    }

    #[test]
    fn a_list_of_empty_disks_is_given_up_after_one_round() {
        let now = Instant::now();
        let mut call = call("a:1,b:1", Repeat::Always, now);
        let unassigned = || answered(ClusterError::Unassigned("empty disk".into()));
        assert_eq!(call.decide("a:1", unassigned(), now), Ok(Duration::ZERO));
        assert!(call.decide("b:1", unassigned(), now).is_err());
    }

    #[test]
    fn of_a_leader_that_is_not_reached_this_is_told_whoever_was_asked_last() {
        let now = Instant::now();
        let late = now + Options::default().deadline;
        let names = |leader: &str| {
            answered(ClusterError::NotLeader {
                leader: Some(leader.into()),
            })
        };
        for (leader, told) in [("a:1", network(false)), ("b:1", names("b:1"))] {
            let mut call = call("c:1", Repeat::Always, now);
            call.decide("a:1", network(false), now).unwrap();
            assert_eq!(call.decide("c:1", names(leader), late), Err(told.error));
        }
    }

    #[test]
    fn the_first_redirect_is_followed_at_once_and_a_circle_is_slowed() {
        let now = Instant::now();
        let mut call = call("a:1", Repeat::Numbered, now);
        let elsewhere = || {
            answered(ClusterError::NotLeader {
                leader: Some("b:1".into()),
            })
        };
        assert_eq!(call.decide("a:1", elsewhere(), now), Ok(Duration::ZERO));
        assert_eq!(call.retry.redirect.as_deref(), Some("b:1"));
        assert!(call.decide("a:1", elsewhere(), now).unwrap() > Duration::ZERO);
        assert!(
            call.decide("b:1", network(true), now).unwrap() > Duration::ZERO,
            "it would send us there again"
        );
    }
}
