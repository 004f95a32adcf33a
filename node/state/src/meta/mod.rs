//! The meta group's state machine: the catalogue of members, partitions, moves, ids and timestamps.
//!
//! Every command is idempotent or compare-and-set, so that a retry, or a late command of a deposed leader, does no
//! harm. Ids come from counters in here and are never given twice.

mod apply;
mod catalogue;
mod command;
mod departures;
mod diverged;
pub mod driver;
pub mod events;
#[cfg(test)]
mod laws;
mod leases;
mod leaving;
mod moves;
mod rows;
#[cfg(test)]
mod tests;

pub use apply::{MetaMachine, check_founding};
pub use catalogue::{
    Catalogue, Counters, Drain, Founding, Health, Leader, Member, MemberState, Move, MoveReason, MoveStep, Partition,
    Rebalance, Replica, ReplicaRole, Settings,
};
pub use command::{Answer, Command, ElectedLeader, FirstMember, FormatError, PlannedMove};
pub use diverged::{Diverged, Evidence};
