//! The clock on the wall, which jumps: forward by hours when it is set, backward, or as another member's never did.
//!
//! It is for people: when something happened. What is decided by time goes by clocks that only run on (`Instant`): leases,
//! time-outs, silence, retention, and the lives of transactions (`transaction/leader/sightings.rs`). The one decision
//! that needs a time which outlives a leader, that a member has failed for long, goes by the median of the
//! clocks of all members that answer (`catalogue/driver/observe.rs`).

use std::time::{SystemTime, UNIX_EPOCH};

/// The time of day, or something that stands for it in a test.
pub trait WallClock: Send + Sync + 'static {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> u64;
}

/// The system's.
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}
