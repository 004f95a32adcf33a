//! What this member's consensus did since it started, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts, one set per member; only ever growing.
#[derive(Debug, Default)]
pub struct Counters {
    pub proposals: AtomicU64,
    pub log_bytes: AtomicU64,
    pub log_commits: AtomicU64,
    pub checkpoints: AtomicU64,
    pub leader_changes: AtomicU64,
    pub snapshots_sent: AtomicU64,
    pub snapshots_installed: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands accepted by a group that this member led.
    pub proposals: u64,
    /// Bytes of entries written to the log file.
    pub log_bytes: u64,
    /// Commits of the log file; each is one fsync.
    pub log_commits: u64,
    /// Durable commits of state files.
    pub checkpoints: u64,
    /// Times a replica here learnt of another leader of its group.
    pub leader_changes: u64,
    pub snapshots_sent: u64,
    pub snapshots_installed: u64,
}

impl Counters {
    pub fn read(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            proposals: read(&self.proposals),
            log_bytes: read(&self.log_bytes),
            log_commits: read(&self.log_commits),
            checkpoints: read(&self.checkpoints),
            leader_changes: read(&self.leader_changes),
            snapshots_sent: read(&self.snapshots_sent),
            snapshots_installed: read(&self.snapshots_installed),
        }
    }
}

pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
