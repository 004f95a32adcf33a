//! What clients ask: operations and queries become transactions here, status and events come from the catalogue.

pub mod convert;
pub mod events;
mod exactly_once;
mod history;
pub mod leaving;
mod line;
pub mod measured;
mod opening;
mod operations;
mod queries;
mod refusal;
pub mod service;
mod snapshot;
pub mod status;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use history::Subject;
use opening::Opening;
pub use operations::OperationError;
pub use queries::{Ask, QueryError, QueryLimits, RowBatch};
use snapshot::Snapshots;
pub use snapshot::{Level, Reading};

use line::Line;

use crate::member::Sequences;
use crate::transaction::{ClosedSnapshots, Coordinator, Outcomes};

/// Runs the operations and queries of this member's clients.
pub struct Gateway {
    coordinator: Arc<Coordinator>,
    closed: Arc<ClosedSnapshots>,
    sequences: Sequences,
    opening: Opening,
    line: Line,
    /// The longest a request may take, all attempts included.
    request_timeout: Duration,
    query_limits: QueryLimits,
}

impl Gateway {
    pub fn new(
        coordinator: Coordinator,
        closed: Arc<ClosedSnapshots>,
        sequences: Sequences,
        request_timeout: Duration,
        query_limits: QueryLimits,
    ) -> Self {
        Gateway {
            coordinator: Arc::new(coordinator),
            closed,
            sequences,
            opening: Opening::begin(),
            line: Line::default(),
            request_timeout,
            query_limits,
        }
    }

    /// How the transactions of this member's clients ended.
    pub fn outcomes(&self) -> &Outcomes {
        self.coordinator.outcomes()
    }

    /// Counts a write; says in how many slots those are best made that may be made anywhere.
    pub fn note_write(&self) -> u32 {
        self.opening.note_write(Instant::now())
    }

    fn snapshots(&self) -> Snapshots<'_> {
        Snapshots {
            coordinator: &self.coordinator,
            closed: &self.closed,
        }
    }
}
