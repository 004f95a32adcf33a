//! Waiting on a condition with a deadline; the only way in which the tests wait.
//!
//! A probe that fails counts as "not yet", because members and the API server are down for moments on purpose here.
//! The last reason is in the error, so that a deadline says what was missing.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::say::{duration_text, say};

/// Between two probes: short beside what is waited for, long beside what a probe costs.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// One probe; a hanging connection must not eat the deadline.
const PROBE_LIMIT: Duration = Duration::from_secs(15);
/// At most one line of progress in this time per wait.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What a probe saw.
#[derive(Debug)]
pub enum Seen<T> {
    Done(T),
    /// Not yet, and why.
    Waiting(String),
}

/// `Done` if there is nothing missing.
pub fn when_none(missing: Option<String>) -> Seen<()> {
    match missing {
        None => Seen::Done(()),
        Some(reason) => Seen::Waiting(reason),
    }
}

/// Probes until the condition holds.
pub async fn until<T, P, F>(what: &str, limit: Duration, mut probe: P) -> Result<T>
where
    P: FnMut() -> F,
    F: Future<Output = Result<Seen<T>>>,
{
    let began = Instant::now();
    let mut progress = Progress::new(what);
    loop {
        match probe_once(&mut probe).await {
            Seen::Done(value) => return Ok(value),
            Seen::Waiting(reason) if began.elapsed() >= limit => {
                bail!("no {what} within {}: {reason}", duration_text(limit))
            }
            Seen::Waiting(reason) => progress.note(reason),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn probe_once<T, P, F>(probe: &mut P) -> Seen<T>
where
    P: FnMut() -> F,
    F: Future<Output = Result<Seen<T>>>,
{
    match tokio::time::timeout(PROBE_LIMIT, probe()).await {
        Ok(Ok(seen)) => seen,
        Ok(Err(error)) => Seen::Waiting(format!("{error:#}")),
        Err(_) => Seen::Waiting(format!("no answer within {}", duration_text(PROBE_LIMIT))),
    }
}

/// Says a reason when it is new, but not more often than a person can read.
struct Progress<'a> {
    what: &'a str,
    said: String,
    at: Option<Instant>,
}

impl<'a> Progress<'a> {
    fn new(what: &'a str) -> Self {
        Progress {
            what,
            said: String::new(),
            at: None,
        }
    }

    fn note(&mut self, reason: String) {
        let quiet = self.at.is_some_and(|at| at.elapsed() < PROGRESS_INTERVAL);
        if quiet || reason == self.said {
            return;
        }
        say(format!("waiting for {}: {reason}", self.what));
        self.said = reason;
        self.at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_names_what_was_missing_last() {
        let error = until("peace", Duration::from_millis(10), || async {
            Ok(Seen::<()>::Waiting("noise".into()))
        })
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "no peace within 10 ms: noise");
    }

    #[tokio::test]
    async fn a_failing_probe_is_probed_again() {
        let mut tries = 0;
        let value = until("an answer", Duration::from_secs(60), || {
            tries += 1;
            let now = tries;
            async move {
                if now < 3 {
                    bail!("down")
                }
                Ok(Seen::Done(now))
            }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }
}
