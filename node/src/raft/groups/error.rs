//! Why this member's replicas cannot be opened, started or retired.

use std::path::PathBuf;

use kotoba_state::ids::ReplicaId;

use crate::raft::log::LogError;
use crate::raft::snapshot::FetchError;
use crate::raft::state::StateError;
use crate::raft::types::ReplicaKey;

/// Why the stores cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the directory {path} cannot be used: may this user write there?")]
    Directory {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("opening the stores failed unexpectedly: {0}")]
    Panic(String),
}

/// Why a replica does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{key} was retired here, and an id is never used twice")]
    Retired { key: ReplicaKey },
    #[error("{key} cannot start while replica {running} of its group runs here; retire that one first")]
    Occupied { key: ReplicaKey, running: ReplicaId },
    #[error(
        "{key} has a state but no log: the log file was lost or exchanged, and with it perhaps a vote; \
         retire this replica and place it anew"
    )]
    LogLost { key: ReplicaKey },
    #[error("the timing of the group does not go together: {0}")]
    Settings(String),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{key} cannot recover: {reason}")]
    Raft { key: ReplicaKey, reason: String },
    #[error("this member shuts down")]
    Closed,
}

impl StartError {
    /// The state on disk is not what was written, or is missing; the log is as it was.
    pub fn is_damage(&self) -> bool {
        matches!(self, StartError::State(StateError::Damaged { .. }))
    }
}

/// Why a replica was not rebuilt. Its log and its vote are as they were, and it may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{key} cannot be stopped while replica {running} of its group runs here")]
    Occupied { key: ReplicaKey, running: ReplicaId },
    #[error("the leader's state is older than what the log of {key} still holds")]
    Older { key: ReplicaKey },
    #[error("the log of {key} cannot be written")]
    Log {
        key: ReplicaKey,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("rebuilding failed unexpectedly: {0}")]
    Panic(String),
}

/// Why a replica is not gone for good.
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the files of {key} cannot be deleted; its id is refused already, and a restart tries again")]
    Remove {
        key: ReplicaKey,
        #[source]
        source: std::io::Error,
    },
}
