//! What the Raft shell needs of a state machine: bytes in, bytes out.

use crate::store::{StoreError, Write};

/// Where in the log an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryPosition {
    /// The term of the leader that proposed it.
    pub term: u64,
    pub index: u64,
}

/// A deterministic state machine over a store.
///
/// A command that cannot be decoded is a bug or a newer version's entry: the replica stops rather than skip it.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies one entry and returns the answer for whoever proposed it.
    fn apply(&self, store: &mut dyn Write, at: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError>;
}
