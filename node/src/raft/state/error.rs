//! What can go wrong with a replica's state, in words for whoever runs the member.

use std::path::{Path, PathBuf};

use kotoba_state::store::StoreError;

use crate::raft::codec::CodecError;
use crate::raft::log::LogError;
use crate::raft::types::ReplicaKey;

/// Why the state of a replica cannot be used. The replica stops; nothing is retried.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("the state file {path} cannot be {action}")]
    Database {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: Box<redb::Error>,
    },
    #[error("{path} cannot be {action}")]
    File {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the state file {path} is damaged: {what}; it is rebuilt where its group has a majority of others")]
    Damaged { path: PathBuf, what: String },
    #[error("the state file {path} has format {found}, this version reads {known}; start the version that wrote it")]
    Format { path: PathBuf, found: u8, known: u8 },
    #[error("the state file {path} belongs to {owner}, not to {expected}: was a directory copied?")]
    Owner {
        path: PathBuf,
        owner: String,
        expected: ReplicaKey,
    },
    #[error("the state file of {key} cannot be read to be rewritten")]
    Rewrite {
        key: ReplicaKey,
        #[source]
        source: StoreError,
    },
    #[error("{key} cannot apply entry {index}")]
    Apply {
        key: ReplicaKey,
        index: u64,
        #[source]
        source: StoreError,
    },
    #[error("a snapshot of {key} cannot be installed: {what}")]
    Snapshot { key: ReplicaKey, what: String },
    #[error("{key} stopped earlier: {reason}")]
    Failed { key: ReplicaKey, reason: String },
    #[error("the log under the state failed")]
    Log(#[from] LogError),
}

impl From<StateError> for std::io::Error {
    fn from(error: StateError) -> Self {
        std::io::Error::other(error)
    }
}

impl StateError {
    pub fn file(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| StateError::File { path, action, source }
    }

    pub fn database<E: Into<redb::Error>>(path: &Path, action: &'static str) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| match source.into() {
            redb::Error::Corrupted(what) => StateError::Damaged { path, what },
            // What a file that is cut short, of something else, or gone comes to.
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound
                ) =>
            {
                let what = error.to_string();
                StateError::Damaged { path, what }
            }
            source => StateError::Database {
                path,
                action,
                source: Box::new(source),
            },
        }
    }

    pub fn codec(path: &Path) -> impl FnOnce(CodecError) -> Self {
        let path = path.to_owned();
        move |error| StateError::Damaged {
            path,
            what: error.to_string(),
        }
    }
}
