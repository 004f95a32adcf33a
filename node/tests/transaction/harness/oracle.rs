//! The timestamp oracle in memory: strictly increasing, and nothing is kept by who asks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use kotoba_node::transaction::{CallError, Timestamps};
use kotoba_state::ids::Timestamp;

/// Below it are the timestamps of what the tests find in the store when they begin.
const FIRST: u64 = 100;

pub struct Oracle {
    issued: AtomicU64,
    /// Whether write-only transactions may start at the newest issued timestamp.
    lends: AtomicBool,
}

impl Default for Oracle {
    fn default() -> Self {
        Oracle {
            issued: AtomicU64::new(FIRST),
            lends: AtomicBool::new(true),
        }
    }
}

impl Oracle {
    pub fn issue(&self) -> Timestamp {
        Timestamp(self.issued.fetch_add(1, Ordering::SeqCst) + 1)
    }

    pub fn newest(&self) -> Timestamp {
        Timestamp(self.issued.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Timestamps for Oracle {
    async fn take(&self) -> Result<Timestamp, CallError> {
        tokio::task::yield_now().await;
        Ok(self.issue())
    }

    fn recent(&self) -> Option<Timestamp> {
        self.lends.load(Ordering::SeqCst).then(|| self.newest())
    }
}
