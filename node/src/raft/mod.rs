//! Consensus: runs the Raft groups of this member. Bytes in, bytes out.
//!
//! This module wraps openraft completely: nobody outside it names one of its types. It owns the log file that all groups
//! share, the state file of each replica, and the lanes between members. It knows nothing of what the bytes mean.
//!
//! Start at [`Groups`] (all replicas of this member) and [`Group`] (one running replica).

mod codec;
mod counters;
mod fatal;
mod group;
mod groups;
mod lock;
mod log;
mod network;
mod patient_file;
mod room;
mod settings;
mod snapshot;
mod state;
mod types;

#[cfg(test)]
mod suite;

pub use counters::Counts;
pub use fatal::{Fatal, FatalHook};
pub use group::{
    BarrierError, Group, GroupObservation, LeaderSearch, Leadership, MembershipError, ProposeError, Proposed,
    ReplicaProgress, SavedVote, WaitError,
};
pub use groups::{DiskUsage, Groups, GroupsConfig, OpenError, RebuildError, RetireError, StartError};
pub use network::{LinkFilter, PeerAddresses, RaftEndpoint, peer_server};
pub use room::DiskRoom;
pub use settings::{GroupSettings, MAX_PROPOSAL_BYTES, Settings};
pub use state::StateView;
