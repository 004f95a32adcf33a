//! The state of each replica: one redb file that is written at checkpoints, and memtables for what came since; for these the
//! log stands when the power fails.

mod error;
mod file;
mod gaps;
mod generation;
mod layers;
mod memtable;
#[cfg(test)]
mod model_tests;
mod pins;
mod ranges;
mod replica;
mod rewrite;
#[cfg(test)]
mod rewrite_tests;
mod sorted;
mod store;
#[cfg(test)]
mod tests;
mod transaction;
mod view;

pub use error::StateError;
pub use file::{Applied, FileSettings, StateFile};
pub use generation::ReplicaDirectory;
pub use replica::{CheckpointPolicy, ReplicaState};
pub use store::ReplicaStore;
pub use view::StateView;
