//! Short answers: what is tried first, in haste, and begun anew where it was too much.
//!
//! At a snapshot that was not taken for it an answer stands only if nothing that is read has changed since (why:
//! `transaction/coordinator/unchanged.rs`), which is not known before all is read. So nothing is sent until then, and what takes
//! long or gives much begins anew, at a snapshot taken for it.

use kotoba_graph::query::{Query, Row, row_bytes};

use super::Ask;
use crate::gateway::snapshot::{Level, Snapshot};
use crate::transaction::ReadFrom;

/// Steps for which rows are held back: a walk of three hops takes four or five.
const MAX_STEPS: usize = 6;
/// Of the rows that are held back.
const MAX_BYTES: usize = 1 << 20;

/// Rows that may not be sent yet.
pub(super) struct Held {
    rows: Vec<Row>,
    bytes: usize,
    steps: usize,
    stands: bool,
}

impl Held {
    pub fn of(snapshot: Snapshot) -> Self {
        Held {
            rows: Vec::new(),
            bytes: 0,
            steps: 0,
            stands: match snapshot.from {
                ReadFrom::Leaders | ReadFrom::Replicas => true,
                ReadFrom::IfUnchanged => false,
            },
        }
    }

    /// Whether what was read will do, whatever the rest of it gives.
    pub fn stands(&self) -> bool {
        self.stands
    }

    pub fn put(&mut self, rows: Vec<Row>) {
        if !self.stands {
            self.bytes += rows.iter().map(row_bytes).sum::<usize>();
        }
        self.rows.extend(rows);
    }

    pub fn take(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// Notes another step; whether it is one too many.
    pub fn is_full(&mut self) -> bool {
        self.steps += 1;
        self.steps > MAX_STEPS || self.bytes > MAX_BYTES
    }
}

impl Ask {
    /// Whether it is the first that is asked, of the present.
    pub(super) fn is_now(&self) -> bool {
        self.reading.level == Level::Strong && self.reading.as_of.is_none() && self.cursor.is_empty()
    }

    /// Whether one node is all that is asked for, as it is now.
    pub(super) fn is_of_one_node(&self) -> bool {
        self.is_now() && matches!(&self.query, Query::GetNodes { ids } if ids.len() == 1)
    }

    /// Whether it begins at what it names, and gives no cursor.
    pub(super) fn is_short(&self) -> bool {
        if !self.cursor.is_empty() {
            return false;
        }
        match &self.query {
            // Of one node the newest version will do.
            Query::GetNodes { ids } => ids.len() != 1,
            Query::GetEdges { .. } | Query::Traverse(_) | Query::ShortestPath(_) => true,
            Query::EdgesOf { limit, .. } => limit.is_none(),
            // Beside a look at all partitions a timestamp is nothing.
            Query::FindNodes { .. } | Query::FindEdges { .. } => false,
        }
    }
}
