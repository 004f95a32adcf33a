//! Transactions: snapshot reads, buffered writes, commit by one phase or two, and resolving what others left behind.
//!
//! It knows partitions as ranges of keys, and nothing of nodes and edges. The protocol is the model-checked one of the
//! design's transaction reference; a change of it passes the model first. `Coordinator` runs on the gateway,
//! `PartitionLeader` beside the leader replica of each partition.

mod avoided;
mod boundary;
mod closed;
mod coordinator;
mod latch;
mod leader;
mod maintenance;
pub mod message;
mod outcomes;
mod under_way;

pub use boundary::{Admission, CallError, CoordinatorSays, GroupError, PartitionGroup, Partitions, Timestamps};
pub use closed::{ClosedSnapshot, ClosedSnapshots};
pub use coordinator::{
    Acknowledgement, CommitError, Coordinator, Here, MAX_TRANSACTION_BYTES, ReadError, ReadFrom, Transaction, Writes,
};
pub use latch::{LatchError, Latches};
pub use leader::{LeaderSettings, Opened, PartitionLeader};
pub use message::{Failure, Newest, Reply, Request, Response};
pub use outcomes::Outcomes;
pub use under_way::UnderWay;
