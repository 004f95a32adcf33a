//! The machine of a query as its caller sees it.

use super::check::check;
use super::gather::Gather;
use super::traverse::Traverse;
use super::{Error, Query, Row};
use crate::read::{Answer, Read};

/// A query under way.
#[derive(Debug)]
pub struct Plan {
    machine: Machine,
    remaining: Remaining,
}

#[derive(Debug)]
enum Machine {
    Gather(Gather),
    Traverse(Traverse),
}

/// What one step of a query gives.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryStep {
    pub rows: Vec<Row>,
    /// Independent reads: answer each at its position. `None`: the query is done.
    pub next: Option<Vec<Read>>,
}

impl Plan {
    /// Checks a query and plans it.
    pub fn new(query: Query) -> Result<Self, Error> {
        check(&query)?;
        let remaining = Remaining(limit_of(&query));
        let machine = match query {
            Query::GetNodes { ids } => Machine::Gather(Gather::nodes(ids)),
            Query::GetEdges { ids } => Machine::Gather(Gather::edges(ids)),
            Query::FindNodes { label, filters, .. } => {
                Machine::Gather(Gather::find_nodes(label.as_deref(), filters, remaining))
            }
            Query::FindEdges { edge_type, filters, .. } => {
                Machine::Gather(Gather::find_edges(edge_type, filters, remaining))
            }
            Query::EdgesOf {
                node, direction, types, ..
            } => Machine::Gather(Gather::edges_of(node, direction, &types, remaining)),
            Query::Traverse {
                start,
                direction,
                types,
                min_depth,
                max_depth,
                ..
            } => Machine::Traverse(Traverse::new(start, direction, types, min_depth..=max_depth)),
        };
        Ok(Plan { machine, remaining })
    }

    /// Takes the answers to the reads of the last step, first none; gives rows, and what to read next.
    pub fn advance(&mut self, answers: Vec<Answer>) -> Result<QueryStep, Error> {
        let mut rows = match &mut self.machine {
            Machine::Gather(gather) => gather.absorb(answers)?,
            Machine::Traverse(traverse) => traverse.absorb(answers)?,
        };
        self.remaining.take(&mut rows);
        let reads = match &mut self.machine {
            _ if self.remaining.is_zero() => Vec::new(),
            Machine::Gather(gather) => gather.ask(self.remaining),
            Machine::Traverse(traverse) => traverse.ask(self.remaining),
        };
        let next = (!reads.is_empty()).then_some(reads);
        Ok(QueryStep { rows, next })
    }
}

fn limit_of(query: &Query) -> Option<u64> {
    match query {
        Query::GetNodes { .. } | Query::GetEdges { .. } => None,
        Query::FindNodes { limit, .. }
        | Query::FindEdges { limit, .. }
        | Query::EdgesOf { limit, .. }
        | Query::Traverse { limit, .. } => *limit,
    }
}

/// Rows that may still be given; `None` where there is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Remaining(Option<u64>);

impl Remaining {
    /// Cuts rows to what may still be given, and counts them.
    fn take(&mut self, rows: &mut Vec<Row>) {
        rows.truncate(self.at_most(rows.len()));
        if let Some(remaining) = &mut self.0 {
            *remaining -= rows.len() as u64;
        }
    }

    fn is_zero(self) -> bool {
        self.0 == Some(0)
    }

    /// A number of rows, or what may still be given where that is less.
    pub fn at_most(self, rows: usize) -> usize {
        match self.0 {
            Some(remaining) => rows.min(usize::try_from(remaining).unwrap_or(usize::MAX)),
            None => rows,
        }
    }

    /// Whether this many rows are all that may still be given.
    pub fn is_met_by(self, rows: usize) -> bool {
        self.0.is_some_and(|remaining| rows as u64 >= remaining)
    }
}
