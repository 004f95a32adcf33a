//! How groups are timed and how much memory and disk they may use. Defaults need no thought; tests shorten them.

use std::time::Duration;

use kotoba_state::ids::GroupId;
use openraft::{Config, SnapshotPolicy};

/// Largest command that is accepted: four of them fit a message between members, with room for their frames.
pub const MAX_PROPOSAL_BYTES: usize = 4 << 20;
/// A snapshot of this age is given up: its pinned view costs disk at the sender all the while.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Calls that may wait for one group's core; beyond, callers wait in front of it.
const CALL_QUEUE: u64 = 4_096;
/// Entries in one replication request; bytes are bounded where they are read.
const MAX_REQUEST_ENTRIES: u64 = 1_024;
/// Pause between attempts to reach a replica that is not reached; a link that comes up ends it.
const UNREACHABLE_BACKOFF: &str = "200ms";

/// Timing of the groups of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// How often a leader without writes makes itself heard.
    pub heartbeat_interval: Duration,
    /// A follower that hears nothing for a random time between these two becomes a candidate.
    pub election_timeout_min: Duration,
    /// Also how long a leader may go without a majority before it refuses writes.
    pub election_timeout_max: Duration,
    /// Entries after which the log may be shortened.
    pub snapshot_every_entries: u64,
    /// Entries that stay in the log, so that a short absence needs no snapshot.
    pub kept_entries: u64,
}

/// All settings of a member's consensus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub meta: GroupSettings,
    pub partition: GroupSettings,
    /// Whether a leader may answer reads by its lease; else it asks a majority each time.
    pub lease_reads: bool,
    /// Newest entries that all replicas together keep in memory, so that followers in step are never fed from the disk.
    pub log_cache_bytes: usize,
    /// Page cache of all state files together.
    pub state_cache_bytes: usize,
    /// Replicas this member is meant for; each state file gets its part of the cache when it is opened.
    pub expected_replicas: usize,
    /// A state file with more changes than this is made durable.
    pub checkpoint_dirty_bytes: usize,
    /// A state file with changes older than this is made durable: a restart re-applies no more than that.
    pub checkpoint_age: Duration,
    /// Bytes of snapshots, and of entries read from the disk for those who are behind, that this member sends in a second, to
    /// all others together.
    pub snapshot_bytes_per_s: u64,
    /// After this the outcome of a proposal counts as unknown.
    pub propose_timeout: Duration,
    /// After this a read barrier counts as failed.
    pub barrier_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            meta: GroupSettings {
                heartbeat_interval: Duration::from_millis(100),
                election_timeout_min: Duration::from_millis(500),
                election_timeout_max: Duration::from_millis(650),
                snapshot_every_entries: 1_000,
                kept_entries: 1_000,
            },
            partition: GroupSettings {
                heartbeat_interval: Duration::from_millis(250),
                election_timeout_min: Duration::from_millis(500),
                election_timeout_max: Duration::from_millis(650),
                snapshot_every_entries: 20_000,
                kept_entries: 10_000,
            },
            lease_reads: true,
            log_cache_bytes: 64 << 20,
            state_cache_bytes: 512 << 20,
            expected_replicas: 16,
            checkpoint_dirty_bytes: 8 << 20,
            checkpoint_age: Duration::from_secs(5),
            // About half of what a gigabit link carries.
            snapshot_bytes_per_s: 64 << 20,
            propose_timeout: Duration::from_secs(10),
            barrier_timeout: Duration::from_secs(5),
        }
    }
}

impl Settings {
    pub fn of(&self, group: GroupId) -> &GroupSettings {
        match group {
            GroupId::Meta => &self.meta,
            GroupId::Partition(_) => &self.partition,
        }
    }

    /// The cache of one state file.
    pub(super) fn file_cache_bytes(&self, open_files: usize) -> usize {
        /// Below this, a B-tree's inner pages are read again and again.
        const FLOOR: usize = 8 << 20;
        let files = self.expected_replicas.max(open_files + 1);
        (self.state_cache_bytes / files).max(FLOOR)
    }
}

impl Settings {
    /// By how much a leader may date the word of a follower too late. It is half of what it leaves unused of its lease: the
    /// other half is for clocks that differ.
    pub(super) fn lease_margin(&self) -> Duration {
        let unused = |group: &GroupSettings| group.lease().saturating_sub(group.used_lease());
        unused(&self.meta).min(unused(&self.partition)) / 2
    }
}

impl GroupSettings {
    /// How long those who answered a leader vote for no other one.
    pub fn lease(&self) -> Duration {
        self.election_timeout_max
    }

    /// What a leader uses of that, so that clocks of different rates do not matter.
    pub fn used_lease(&self) -> Duration {
        self.election_timeout_min
    }

    /// openraft's configuration; an error names the two values that do not go together.
    pub(super) fn config(&self, cluster_id: &str) -> Result<Config, openraft::ConfigError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: cluster_id.to_owned(),
            heartbeat_interval: millis(self.heartbeat_interval),
            // A follower that just took entries needs no heartbeat; the next one has to come before it looks for a leader.
            heartbeat_min_interval: Some(millis(self.heartbeat_interval / 2)),
            election_timeout_min: millis(self.election_timeout_min),
            election_timeout_max: millis(self.election_timeout_max),
            install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
            max_payload_entries: MAX_REQUEST_ENTRIES,
            replication_lag_threshold: self.kept_entries + self.snapshot_every_entries,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every_entries),
            max_in_snapshot_log_to_keep: self.kept_entries,
            api_channel_size: Some(CALL_QUEUE),
            // Followers write while the leader does; its own copy counts for a majority only once it is durable (Raft
            // dissertation, 10.2.1). Measured: a tenth to a quarter more writes per second.
            broadcast_submitted_on_append: Some(true),
            enable_pre_vote: Some(true),
            // A restarted leader would lead on with a state that may lag behind what it served before.
            enable_leader_restore: Some(false),
            // Else a leader without a majority keeps renewing the leases of those it still reaches (openraft#2080).
            quorum_loss_probe_interval: Some(2 * millis(self.election_timeout_max)),
            backoff: UNREACHABLE_BACKOFF.to_owned(),
            ..Config::default()
        };
        config.validate()
    }
}
