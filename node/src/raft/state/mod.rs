//! The state of each replica: one redb file, not durable per entry but per checkpoint; in between, the log stands for it.

mod error;
mod file;
mod generation;
mod replica;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod view;

pub use error::StateError;
pub use file::{Applied, PinnedKeys, StateFile, open_keys, write_applied};
pub use generation::ReplicaDirectory;
pub use replica::{CheckpointPolicy, ReplicaState};
pub use store::ReplicaStore;
pub use view::StateView;
