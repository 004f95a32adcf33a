//! The two replicated state machines, as pure functions over an ordered key-value store.
//!
//! Nothing here awaits, reads a clock, draws a random number or knows Raft: entries come in as bytes with
//! their log position, answers go out as bytes. Equal logs give equal stores on every replica.
//!
//! | word | meaning |
//! |---|---|
//! | member | one running database process with its own disk, known by a `MemberId` that is never used twice |
//! | partition | a range of hash slots with one Raft group of its own |
//! | replica | one copy of one partition on one member; its `ReplicaId` is its Raft id, never used twice |
//! | meta group | the one Raft group that holds members, placement, schema and timestamps: the catalogue |
//! | placement | which member holds which replica in which role |
//! | move | one change of placement: add learner, catch up, joint change, remove |
//! | timestamp | a u64 from the meta group's oracle; a snapshot is the timestamp a transaction reads at |

pub mod ids;
pub mod machine;
pub mod meta;
pub mod partition;
pub mod placement;
pub mod store;
