//! Bounds the bytes that a member sends per second to replicas that are behind, as snapshots or as entries that it has to read
//! from its disk, so that copying a replica leaves room for clients.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::raft::lock::lock;

/// All that one member sends so shares it.
#[derive(Debug)]
pub struct Pace {
    bytes_per_s: u64,
    /// When what was let through so far is paid for.
    free_at: Mutex<Instant>,
}

impl Pace {
    pub fn new(bytes_per_s: u64) -> Self {
        Pace {
            bytes_per_s: bytes_per_s.max(1),
            free_at: Mutex::new(Instant::now()),
        }
    }

    /// Waits until the bytes may be sent. Callers wait in the order in which they came; who sends none of them waits for nobody.
    pub async fn take(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let now = Instant::now();
        let turn = self.reserve(bytes, now);
        // A timer that is due already would still take until the next millisecond.
        if turn > now {
            sleep_until(turn).await;
        }
    }

    /// When these bytes may be sent; those that come next wait until they are paid for.
    fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let mut free_at = lock(&self.free_at);
        let turn = now.max(*free_at);
        *free_at = turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        turn
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn no_more_bytes_pass_in_a_second_than_allowed() {
        let (pace, begun) = (Pace::new(1_000), Instant::now());
        let turns: Vec<_> = (0..5).map(|_| pace.reserve(500, begun) - begun).collect();
        assert_eq!(turns, [0, 500, 1_000, 1_500, 2_000].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn who_need_not_wait_is_let_through_without_a_timer() {
        let pace = Pace::new(1_000);
        assert_eq!(pace.take(500).now_or_never(), Some(()));
        assert_eq!(
            pace.take(0).now_or_never(),
            Some(()),
            "the log in memory does not wait for a copy"
        );
        assert_eq!(pace.take(1).now_or_never(), None);
    }

    #[test]
    fn a_pause_is_not_saved_up_for_a_burst() {
        let (pace, begun) = (Pace::new(1_000), Instant::now());
        pace.reserve(100, begun);
        let later = begun + Duration::from_secs(60);
        assert_eq!(pace.reserve(1_000, later), later);
        assert_eq!(pace.reserve(1, later), later + Duration::from_secs(1));
    }
}
