//! What the log needs of a disk: load once, commit batches, read old entries. A narrow door, so that tests can break it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::raft::codec::{CodecError, Coded};
use crate::raft::types::{LogId, ReplicaKey, Vote};

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the raft log {path} cannot be {action}")]
    File {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "the raft log {path} is damaged: {what}; this member must not vote with a log that lost entries: \
         empty its data directory and let it join as a new member"
    )]
    Damaged { path: PathBuf, what: String },
    #[error("the raft log {path} has format {found}, this version reads {known}; start the version that wrote it")]
    Format { path: PathBuf, found: u8, known: u8 },
    #[error(
        "the raft log {path} belongs to {owner}, not to {expected}: was a file copied? put back the one that was here"
    )]
    Owner {
        path: PathBuf,
        owner: String,
        expected: String,
    },
    #[error("the raft log failed earlier: {0}")]
    Failed(String),
    #[error("the raft log is closed")]
    Closed,
}

impl From<LogError> for std::io::Error {
    fn from(error: LogError) -> Self {
        std::io::Error::other(error)
    }
}

/// What is kept of a replica besides its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    /// Entries up to here are gone, on disk or about to be.
    pub purged: Option<LogId>,
}

impl Coded for Row {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        self.committed.encode(out);
        self.purged.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(Row {
            vote: Option::decode(input)?,
            committed: Option::decode(input)?,
            purged: Option::decode(input)?,
        })
    }
}

/// An encoded entry and the place it gets in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub sequence: u64,
    pub key: ReplicaKey,
    /// The entry as `codec` writes it, format byte first.
    pub entry: Vec<u8>,
}

/// Changes that become durable together. The sets do not depend on each other's order: sequences are never used twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    pub inserts: Vec<Record>,
    /// Entries that others take the place of: they are never found again.
    pub deletes: Vec<u64>,
    /// Entries that a durable row says are gone: their room may be used again, at any time.
    pub drops: Vec<u64>,
    pub rows: BTreeMap<ReplicaKey, Row>,
    pub retired: BTreeSet<ReplicaKey>,
}

impl Batch {
    /// Whether it says more than what may be used again.
    pub fn says_something(&self) -> bool {
        let Batch {
            inserts,
            deletes,
            drops: _,
            rows,
            retired,
        } = self;
        !(inserts.is_empty() && deletes.is_empty() && rows.is_empty() && retired.is_empty())
    }
}

/// An entry found at start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundEntry {
    pub sequence: u64,
    pub key: ReplicaKey,
    pub log_id: LogId,
    pub bytes: usize,
}

/// Everything but the entries, at start-up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub rows: BTreeMap<ReplicaKey, Row>,
    pub retired: BTreeSet<ReplicaKey>,
}

/// The log's disk, or something that stands for it in a test. All calls block.
pub trait LogDisk: Send + Sync + 'static {
    fn rows(&self) -> Result<Found, LogError>;

    /// Visits all entries that were there at the start, in the order of their sequences. Once: they are let go.
    fn entries(&self, visit: &mut dyn FnMut(FoundEntry) -> Result<(), LogError>) -> Result<(), LogError>;

    /// Makes a batch durable, all of it or nothing. After an error the disk is not written to again.
    fn commit(&self, batch: &Batch) -> Result<(), LogError>;

    /// Pins entries that are committed now.
    fn pin(&self, sequences: &[u64]) -> Result<Box<dyn PinnedLog>, LogError>;

    /// What it takes on the disk.
    fn file_bytes(&self) -> u64;

    /// Whether commits without a change would give room back.
    fn is_untidy(&self) -> bool;

    /// Lets go of the file; later calls fail.
    fn close(&self);

    /// A damage found by the reader of this disk, in its words.
    fn damaged(&self, what: String) -> LogError;
}

/// A consistent view of the log.
pub trait PinnedLog {
    /// The encoded entry at a sequence; `None` where it was gone before the view was pinned.
    fn read(&mut self, sequence: u64) -> Result<Option<Vec<u8>>, LogError>;
}
