//! What is measured, in words that hold for every peer.

use clap::ValueEnum;
use serde::Serialize;

/// Length of the value of every record.
pub const VALUE_BYTES: usize = 256;
/// Records of one transaction of a batch.
pub const BATCH: u64 = 100;
/// Records that are there before anything is measured, to be read.
pub const LOADED: u64 = 10_000;
/// Of what is there, what changes have in common: few, so that they are in each other's way.
pub const SHARED: usize = 100;

/// The same text for every record of a length.
pub fn value(bytes: usize) -> String {
    "v".repeat(bytes)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// One new record of 256 bytes: a node, a put to a new key
    Create,
    /// Create 100 of them in one transaction
    Batch,
    /// A new relationship between two of 10,000 nodes, nearly always of two partitions
    Edge,
    /// One record, as new as can be: strong, linearizable
    Read,
    /// One record from the next member as it has it: eventual, serializable
    ReadEventual,
}

impl Operation {
    pub const ALL: [Operation; 5] = [
        Operation::Create,
        Operation::Batch,
        Operation::Edge,
        Operation::Read,
        Operation::ReadEventual,
    ];

    /// Records that one operation makes or reads.
    pub fn records(self) -> u64 {
        match self {
            Operation::Batch => BATCH,
            Operation::Create | Operation::Edge | Operation::Read | Operation::ReadEventual => 1,
        }
    }

    pub fn is_read(self) -> bool {
        match self {
            Operation::Read | Operation::ReadEventual => true,
            Operation::Create | Operation::Batch | Operation::Edge => false,
        }
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Operation::Create => "create",
            Operation::Batch => "batch",
            Operation::Edge => "edge",
            Operation::Read => "read",
            Operation::ReadEventual => "read-eventual",
        })
    }
}
