//! What this member's consensus did since it started, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use crate::metrics::Seconds;

/// Counts, one set per member; only ever growing.
#[derive(Debug, Default)]
pub struct Counters {
    pub proposals: AtomicU64,
    pub log_bytes: AtomicU64,
    pub log_commits: AtomicU64,
    /// Time of each commit of the log file.
    pub log_fsync: Seconds,
    pub checkpoints: AtomicU64,
    /// State files that were rewritten for the room in them.
    pub rewrites: AtomicU64,
    /// Time of each durable commit of a state file.
    pub checkpoint: Seconds,
    pub leader_changes: AtomicU64,
    pub snapshots_sent: AtomicU64,
    pub snapshot_bytes_sent: AtomicU64,
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
    /// State files that were rewritten for the room in them.
    pub rewrites: u64,
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
            rewrites: read(&self.rewrites),
            leader_changes: read(&self.leader_changes),
            snapshots_sent: read(&self.snapshots_sent),
            snapshots_installed: read(&self.snapshots_installed),
        }
    }
}

impl Counters {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "raft_log_fsync_seconds",
            "Time of the log's commits, each of which is one sync of the disk",
            self.log_fsync.histogram(),
        );
        registry.register(
            "checkpoint_seconds",
            "Time in which states were made durable",
            self.checkpoint.histogram(),
        );
        let counts = [
            (
                "raft_proposals",
                "Commands that groups led here have applied",
                &self.proposals,
            ),
            (
                "raft_log_written_bytes",
                "Bytes of entries written to the log",
                &self.log_bytes,
            ),
            (
                "raft_leader_changes",
                "Times that a replica here learnt of another leader of its group",
                &self.leader_changes,
            ),
            (
                "snapshots_sent",
                "Snapshots that other members installed from here",
                &self.snapshots_sent,
            ),
            (
                "snapshot_sent_bytes",
                "Bytes of replicas that were sent to other members as snapshots",
                &self.snapshot_bytes_sent,
            ),
            (
                "snapshots_installed",
                "Snapshots installed here",
                &self.snapshots_installed,
            ),
        ];
        for (name, help, count) in counts {
            registry.register(name, help, ConstCounter::new(count.load(Ordering::Relaxed)));
        }
    }
}

pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
