//! Why a request is refused. Every refusal says which operation caused it and what to do.

use super::{MAX_DETACHED_EDGES, MAX_MUTATION_BYTES, MAX_OPERATIONS};
use crate::cid::VersionCid;
use crate::id::EntityId;
use crate::{limits, read};

/// A request cannot be done; nothing of it is applied. Operations are counted from 0, as in the request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a request has {0} operations: give it 1 to {MAX_OPERATIONS}")]
    OperationCount(usize),
    #[error("operation {operation}: the entity is refused")]
    Entity {
        operation: usize,
        #[source]
        source: limits::Error,
    },
    #[error("operation {operation}: label {label} is both added and removed: name it once")]
    LabelTwice { operation: usize, label: String },
    #[error("operation {operation} refers to operation {to}, which is not an earlier one that creates a {wanted}")]
    Reference {
        operation: usize,
        to: usize,
        wanted: &'static str,
    },
    #[error("operation {operation}: node {id} does not exist")]
    NodeNotFound { operation: usize, id: EntityId },
    #[error("operation {operation}: edge {id} does not exist")]
    EdgeNotFound { operation: usize, id: EntityId },
    #[error("operation {operation}: entity {id} is at version {actual}, not {expected}: read it again and decide anew")]
    OtherVersion {
        operation: usize,
        id: EntityId,
        expected: VersionCid,
        actual: VersionCid,
    },
    #[error("operation {operation}: node {id} has edges: delete them first, or delete it with detach")]
    HasEdges { operation: usize, id: EntityId },
    #[error(
        "a request that deletes nodes would read more than {MAX_DETACHED_EDGES} of their edges: delete edges in smaller requests first"
    )]
    TooManyEdges,
    #[error("the request writes {0} bytes, more than {MAX_MUTATION_BYTES}: split it")]
    TooLarge(usize),
    #[error(transparent)]
    Read(#[from] read::Error),
}

impl Error {
    /// The operation that caused the refusal, where it is one.
    pub fn operation(&self) -> Option<usize> {
        match self {
            Error::Entity { operation, .. }
            | Error::LabelTwice { operation, .. }
            | Error::Reference { operation, .. }
            | Error::NodeNotFound { operation, .. }
            | Error::EdgeNotFound { operation, .. }
            | Error::OtherVersion { operation, .. }
            | Error::HasEdges { operation, .. } => Some(*operation),
            Error::OperationCount(_) | Error::TooManyEdges | Error::TooLarge(_) | Error::Read(_) => None,
        }
    }
}
