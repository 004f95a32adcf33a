//! The types openraft runs with, and short names for those it derives from them.

use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kotoba_state::ids::{GroupId, MemberId, ReplicaId};
use openraft::type_config::alias;
use tokio::sync::oneshot;

use super::lock::lock;
use super::state::ReplicaStore;

/// What the leader appends: a command of the state machine above, opaque here.
#[derive(Clone)]
pub struct Command {
    pub bytes: Bytes,
    /// Only at the member that proposed it, and only where somebody wants to know.
    pub witness: Option<Witness>,
}

/// Tells a proposer that the entry is on the disk of the proposing member, which is before a majority has it.
#[derive(Clone)]
pub struct Witness(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Witness {
    pub fn new(on_disk: oneshot::Sender<()>) -> Self {
        Witness(Arc::new(Mutex::new(Some(on_disk))))
    }

    /// Once; whoever does not listen any more is not told.
    pub fn tell(&self) {
        if let Some(on_disk) = lock(&self.0).take() {
            let _ = on_disk.send(());
        }
    }
}

impl From<Bytes> for Command {
    fn from(bytes: Bytes) -> Self {
        Command { bytes, witness: None }
    }
}

/// Who wants to hear of a command is no part of it.
impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Command {}

/// What the state machine answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(pub Vec<u8>);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

openraft::declare_raft_types!(
    /// A node of openraft is a replica; its address is the member it lives on, looked up outside of Raft.
    pub TypeConfig:
        D = Command,
        R = Answer,
        NodeId = ReplicaId,
        Node = MemberId,
);

pub type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub type LogId = alias::LogIdOf<TypeConfig>;
pub type Vote = alias::VoteOf<TypeConfig>;
pub type Entry = alias::EntryOf<TypeConfig>;
pub type Payload = alias::PayloadOf<TypeConfig>;
pub type Membership = openraft::Membership<ReplicaId, MemberId>;
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub type Snapshot = alias::SnapshotOf<TypeConfig, super::snapshot::SnapshotData>;
pub type AppendRequest = openraft::raft::AppendEntriesRequest<TypeConfig>;
pub type AppendResult = openraft::raft::StreamAppendResult<TypeConfig>;
pub type VoteRequest = openraft::raft::VoteRequest<TypeConfig>;
pub type VoteResponse = openraft::raft::VoteResponse<TypeConfig>;
pub type TransferRequest = openraft::raft::TransferLeaderRequest<TypeConfig>;
pub type TransferResponse = openraft::raft::TransferLeaderResponse<TypeConfig>;
pub type Raft = openraft::Raft<TypeConfig, ReplicaStore>;

/// One replica of one group: what stores and lanes are keyed by. A pair is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaKey {
    pub group: GroupId,
    pub replica: ReplicaId,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "replica {} of {}", self.replica, self.group)
    }
}
