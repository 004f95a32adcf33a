//! Settings under which a cluster lives fast: short elections, a short log, quick failure detection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kotoba_node::config::{Config, IntegrityConfig, MembershipConfig, Settings, Timing};
use kotoba_node::raft::{GroupSettings, Settings as RaftSettings};

use crate::links::Links;

/// What a test may choose.
#[derive(Clone)]
pub struct Pace {
    /// Entries after which a log is shortened, and entries that stay.
    pub snapshot_every_entries: u64,
    pub kept_entries: u64,
    pub membership: MembershipConfig,
    pub integrity: IntegrityConfig,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            snapshot_every_entries: 1_000,
            kept_entries: 500,
            membership: MembershipConfig::default(),
            integrity: IntegrityConfig::default(),
        }
    }
}

impl Pace {
    /// A member that was away for a moment needs a snapshot.
    pub fn with_short_log() -> Self {
        Pace {
            snapshot_every_entries: 20,
            kept_entries: 5,
            ..Pace::default()
        }
    }

    /// A member that is away is suspected and failed within seconds.
    pub fn with_quick_detection() -> Self {
        Pace {
            membership: MembershipConfig {
                heartbeat_interval: Duration::from_millis(250),
                failure_detection_interval: Duration::from_millis(100),
                max_missed_heartbeats: 3,
                failure_timeout: Duration::from_millis(2_500),
                ..MembershipConfig::default()
            },
            ..Pace::default()
        }
    }

    /// The settings of one member; its addresses are filled in when its ports are open.
    pub fn config(&self, data_dir: &Path, name: &str, zone: &str, links: &Arc<Links>) -> Config {
        Config {
            data_dir: data_dir.to_owned(),
            name: name.to_owned(),
            zone: zone.to_owned(),
            membership: self.membership.clone(),
            integrity: self.integrity.clone(),
            timing: Timing {
                driver_interval: Duration::from_millis(50),
                request_timeout: Duration::from_secs(20),
                peer_call_timeout: Duration::from_secs(3),
            },
            raft: self.raft(),
            link_filter: Some(links.clone()),
            ..Settings::default().into_config().unwrap()
        }
    }

    fn raft(&self) -> RaftSettings {
        let timing = GroupSettings {
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(400),
            election_timeout_max: Duration::from_millis(800),
            snapshot_every_entries: self.snapshot_every_entries,
            kept_entries: self.kept_entries,
        };
        RaftSettings {
            meta: timing.clone(),
            partition: timing,
            log_cache_bytes: 8 << 20,
            state_cache_bytes: 32 << 20,
            checkpoint_age: Duration::from_millis(300),
            propose_timeout: Duration::from_secs(5),
            barrier_timeout: Duration::from_secs(2),
            ..RaftSettings::default()
        }
    }
}
