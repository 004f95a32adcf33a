//! Short answers at a snapshot that was not taken for them.
//!
//! It stands only if nothing that is read has changed since (why: `transaction/coordinator/unchanged.rs`), which is not known
//! before all is read. So nothing is sent until then, and what takes long or gives much begins anew, at a snapshot taken for it.

use kotoba_graph::query::{Query, QueryStep, Row, row_bytes};

use super::{Ask, QueryError, Running};
use crate::gateway::snapshot::Snapshot;
use crate::transaction::ReadError;

/// Steps until it is better to take a timestamp: a walk of three hops takes about five.
const MAX_STEPS: usize = 8;
/// Of the rows that are held back.
const MAX_BYTES: usize = 1 << 20;

/// A whole answer.
pub(super) struct Whole {
    pub rows: Vec<Row>,
    pub total: u64,
    pub snapshot: Snapshot,
}

impl Running<'_> {
    /// The whole answer, if it is short and nothing that is read has changed since a known timestamp.
    pub(super) async fn if_unchanged(&self, ask: &Ask) -> Result<Option<Whole>, QueryError> {
        let snapshot = match ask.is_short() {
            true => self.snapshots.if_unchanged(ask.reading.bookmark),
            false => None,
        };
        let Some(snapshot) = snapshot else {
            return Ok(None);
        };
        let mut whole = Whole {
            rows: Vec::new(),
            total: 0,
            snapshot,
        };
        let mut plan = ask.plan(None, self.limits)?;
        let mut step = plan.advance(Vec::new())?;
        let mut bytes = 0;
        for _ in 0..MAX_STEPS {
            let reads = step.next.take();
            let is_cut = step.cut.is_some();
            bytes += step.rows.iter().map(row_bytes).sum::<usize>();
            whole.take(step, ask.count_only);
            match reads {
                _ if bytes > MAX_BYTES => return Ok(None),
                // Who follows the cursor would read at this snapshot what was not read now.
                None => return Ok((!is_cut).then_some(whole)),
                Some(reads) => match self.read(snapshot, reads).await {
                    Ok(answers) => step = plan.advance(answers)?,
                    Err(ReadError::Changed) => return Ok(None),
                    Err(error) => return Err(error.into()),
                },
            }
        }
        Ok(None)
    }
}

impl Whole {
    fn take(&mut self, step: QueryStep, count_only: bool) {
        self.total += step.count;
        if !count_only {
            self.rows.extend(step.rows);
        }
    }
}

impl Ask {
    /// Whether it begins at what it names, and gives no cursor.
    fn is_short(&self) -> bool {
        self.is_now()
            && match &self.query {
                // Its newest version will do, whenever that was written.
                Query::GetNodes { .. } => !self.names_one_node(),
                Query::GetEdges { .. } | Query::ShortestPath(_) => true,
                Query::EdgesOf { limit, .. } => limit.is_none(),
                Query::Traverse(walk) => walk.limit.is_none() || self.order.is_empty(),
                // Beside a look at all partitions a timestamp is nothing.
                Query::FindNodes { .. } | Query::FindEdges { .. } => false,
            }
    }
}
