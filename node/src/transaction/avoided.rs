//! What is not tried again for a moment, because it was of no use the last time.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Until when something is avoided.
pub struct Avoided {
    begun: Instant,
    /// Microseconds after `begun`.
    until: AtomicU64,
}

impl Default for Avoided {
    fn default() -> Self {
        Avoided {
            begun: Instant::now(),
            until: AtomicU64::new(0),
        }
    }
}

impl Avoided {
    pub fn at(&self, now: Instant) -> bool {
        self.micros(now) < self.until.load(Ordering::Relaxed)
    }

    pub fn until(&self, end: Instant) {
        self.until.fetch_max(self.micros(end), Ordering::Relaxed);
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.begun).as_micros()).unwrap_or(u64::MAX)
    }
}
