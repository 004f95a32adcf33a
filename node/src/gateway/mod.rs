//! What clients ask: operations and queries become transactions here, status and events come from the catalogue.

pub mod convert;
pub mod events;
mod operations;
mod queries;
pub mod service;
pub mod status;

use std::time::Duration;

pub use operations::OperationError;
pub use queries::{Ask, QueryError, QueryLimits, RowBatch};

use crate::member::Sequences;
use crate::transaction::Coordinator;

/// Runs the operations and queries of this member's clients.
pub struct Gateway {
    coordinator: Coordinator,
    sequences: Sequences,
    /// The longest a request may take, all attempts included.
    request_timeout: Duration,
    query_limits: QueryLimits,
}

impl Gateway {
    pub fn new(
        coordinator: Coordinator,
        sequences: Sequences,
        request_timeout: Duration,
        query_limits: QueryLimits,
    ) -> Self {
        Gateway {
            coordinator,
            sequences,
            request_timeout,
            query_limits,
        }
    }
}
