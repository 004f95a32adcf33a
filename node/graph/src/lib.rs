//! The graph as keys and values: values, ids, content ids, keys, and operations and queries as machines.
//!
//! Nothing here awaits, reads a clock, draws a random number or opens a file: [`operation::Batch`] and
//! [`query::Plan`] say what they want read, the caller reads it in one snapshot and feeds the answers back.
//!
//! | word | meaning |
//! |---|---|
//! | node | an entity of the graph (vertex); never a process |
//! | edge, label, type, property | as in openCypher |
//! | slot | one of 4,096 hash slots, the first two bytes of every key; fixed for ever |
//! | partition | a range of hash slots with one Raft group of its own |
//! | member | one running database process with its own disk |
//! | gateway | the part of every member that takes a client's request, plans it and coordinates its transaction |
//! | timestamp | a u64 from the meta group's oracle; a snapshot is the timestamp a transaction reads at |
//! | bookmark | a commit timestamp in a client's hand |
//! | half | one of the two keys of an edge: the out half beside its source, the in half beside its target |
//! | locator | the key that finds an edge's halves from its id |

pub mod cid;
pub mod id;
pub mod key;
pub mod limits;
pub mod operation;
pub mod query;
pub mod read;
pub mod receipt;
pub mod record;
pub mod value;
