//! The machine of a query as its caller sees it.

use super::check::check;
use super::gather::Gather;
use super::order::{OrderBy, Rank};
use super::path::Path;
use super::top::Top;
use super::traverse::Traverse;
use super::{CursorError, DEFAULT_MEMORY_BYTES, Error, Position, Query, Row};
use crate::read::{Answer, Read};

/// How a query is to be answered, besides what it asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Empty: nodes and edges come in the order of the keys they are found by where there is a limit, else in any.
    pub order: Vec<OrderBy>,
    /// Only rows behind this place, which an answer to the same query at the same snapshot gave.
    pub after: Option<Position>,
    /// Rows are only counted: their order does not matter, there is no place to go on from, and they may stay away.
    pub count_only: bool,
    /// What rows that are held to be ordered may take.
    pub max_bytes: usize,
    /// Begins with more values than are known to fit: fewer steps, where it is borne that one gives too much.
    pub hasty: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Terms {
            order: Vec::new(),
            after: None,
            count_only: false,
            max_bytes: DEFAULT_MEMORY_BYTES,
            hasty: false,
        }
    }
}

/// A query under way.
#[derive(Debug)]
pub struct Plan {
    machine: Machine,
    /// Where rows are ordered by properties.
    top: Option<Top>,
    remaining: Remaining,
}

#[derive(Debug)]
enum Machine {
    Gather(Gather),
    Traverse(Traverse),
    Path(Path),
}

/// What one step of a query gives.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryStep {
    pub rows: Vec<Row>,
    /// How many rows there are in this step, those that were only counted among them.
    pub count: u64,
    /// Independent reads: answer each at its position. `None`: the query is done.
    pub next: Option<Vec<Read>>,
    /// In the last step, where the limit cut the answer: the place to go on from. What is left may be no row.
    pub cut: Option<Position>,
}

impl Plan {
    /// Checks a query and plans it.
    pub fn new(query: Query) -> Result<Self, Error> {
        Plan::with_terms(query, Terms::default())
    }

    /// Checks a query and plans it: in an order, or from a place on.
    pub fn with_terms(query: Query, terms: Terms) -> Result<Self, Error> {
        check(&query, &terms)?;
        let limit = query.limit();
        let mut machine = Machine::of(query);
        if terms.hasty {
            machine = machine.hasty();
        }
        if terms.count_only && terms.after.is_none() {
            return Ok(Plan {
                machine: machine.counting(),
                top: None,
                remaining: Remaining(limit),
            });
        }
        if terms.order.is_empty() {
            if limit.is_some() || terms.after.is_some() {
                machine = machine.in_order_of_keys(terms.after)?;
            }
            return Ok(Plan {
                machine,
                top: None,
                remaining: Remaining(limit),
            });
        }
        let after = terms.after.map(|after| rank_of(after, &terms.order)).transpose()?;
        Ok(Plan {
            machine,
            top: Some(Top::new(terms.order, after, limit, terms.max_bytes)),
            remaining: Remaining(limit.filter(|limit| *limit == 0)),
        })
    }

    /// Takes the answers to the reads of the last step, first none; gives rows, and what to read next.
    pub fn advance(&mut self, answers: Vec<Answer>) -> Result<QueryStep, Error> {
        let mut rows = self.machine.absorb(answers, self.remaining)?;
        if let Some(top) = &mut self.top {
            top.put(std::mem::take(&mut rows))?;
        }
        self.remaining.take(&mut rows);
        let mut count = rows.len() as u64 + self.machine.take_count(&mut self.remaining);
        let reads = match self.remaining.is_zero() {
            true => Vec::new(),
            false => self.machine.ask(self.remaining),
        };
        // A traversal counts a level when it turns to it.
        count += self.machine.take_count(&mut self.remaining);
        if reads.is_empty() {
            return Ok(self.finish(rows, count));
        }
        Ok(QueryStep {
            rows,
            count,
            next: Some(reads),
            cut: None,
        })
    }

    fn finish(&mut self, rows: Vec<Row>, count: u64) -> QueryStep {
        let next = None;
        match &mut self.top {
            Some(top) => {
                let (rows, cut) = top.finish();
                let count = rows.len() as u64;
                QueryStep { rows, count, next, cut }
            }
            None => {
                let cut = self.machine.rest().filter(|_| self.remaining.is_zero());
                QueryStep { rows, count, next, cut }
            }
        }
    }
}

impl Machine {
    fn of(query: Query) -> Self {
        match query {
            Query::GetNodes { ids } => Machine::Gather(Gather::nodes(ids)),
            Query::GetEdges { ids } => Machine::Gather(Gather::edges(ids)),
            Query::FindNodes { label, filters, .. } => Machine::Gather(Gather::find_nodes(label.as_deref(), filters)),
            Query::FindEdges { edge_type, filters, .. } => Machine::Gather(Gather::find_edges(edge_type, filters)),
            Query::EdgesOf {
                node,
                direction,
                types,
                filters,
                ..
            } => Machine::Gather(Gather::edges_of(node, direction, &types, filters)),
            Query::Traverse(traversal) => Machine::Traverse(Traverse::new(traversal)),
            Query::ShortestPath(path) => Machine::Path(Path::new(path)),
        }
    }

    fn in_order_of_keys(self, after: Option<Position>) -> Result<Self, CursorError> {
        match (self, after) {
            (Machine::Gather(gather), None) => Ok(Machine::Gather(gather.in_order())),
            (Machine::Gather(gather), Some(Position::Key(place))) => {
                Ok(Machine::Gather(gather.in_order().after(&place)?))
            }
            (machine @ (Machine::Traverse(_) | Machine::Path(_)), None) => Ok(machine),
            (_, Some(_)) => Err(CursorError::Malformed),
        }
    }

    fn hasty(self) -> Self {
        match self {
            Machine::Gather(gather) => Machine::Gather(gather.hasty()),
            Machine::Traverse(traverse) => Machine::Traverse(traverse.hasty()),
            Machine::Path(_) => self,
        }
    }

    fn counting(self) -> Self {
        match self {
            Machine::Gather(gather) => Machine::Gather(gather.counting()),
            Machine::Traverse(traverse) => Machine::Traverse(traverse.counting()),
            Machine::Path(_) => self,
        }
    }

    fn take_count(&mut self, remaining: &mut Remaining) -> u64 {
        match self {
            Machine::Gather(gather) => remaining.take_count(|most| gather.take_count(most)),
            Machine::Traverse(traverse) => remaining.take_count(|most| traverse.take_count(most)),
            Machine::Path(_) => 0,
        }
    }

    fn absorb(&mut self, answers: Vec<Answer>, remaining: Remaining) -> Result<Vec<Row>, Error> {
        match self {
            Machine::Gather(gather) => {
                gather.absorb(answers)?;
                Ok(gather.take_rows(remaining.at_most(usize::MAX)))
            }
            Machine::Traverse(traverse) => traverse.absorb(answers),
            Machine::Path(path) => path.absorb(answers),
        }
    }

    fn ask(&mut self, remaining: Remaining) -> Vec<Read> {
        match self {
            Machine::Gather(gather) => gather.ask(remaining),
            Machine::Traverse(traverse) => traverse.ask(remaining),
            Machine::Path(path) => path.ask(),
        }
    }

    fn rest(&self) -> Option<Position> {
        match self {
            Machine::Gather(gather) => gather.rest().map(|place| Position::Key(place.into())),
            Machine::Traverse(_) | Machine::Path(_) => None,
        }
    }
}

fn rank_of(position: Position, order: &[OrderBy]) -> Result<Rank, CursorError> {
    match position {
        Position::Rank { values, id } if values.len() == order.len() => Ok(Rank::new(values, id, order)),
        Position::Rank { .. } | Position::Key(_) => Err(CursorError::Malformed),
    }
}

/// Rows that may still be given; `None` where there is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Remaining(Option<u64>);

impl Remaining {
    pub const ALL: Remaining = Remaining(None);

    /// Cuts rows to what may still be given, and counts them.
    fn take(&mut self, rows: &mut Vec<Row>) {
        rows.truncate(self.at_most(rows.len()));
        if let Some(remaining) = &mut self.0 {
            *remaining -= rows.len() as u64;
        }
    }

    /// Takes as many of what is only counted as may still be given.
    fn take_count(&mut self, take: impl FnOnce(u64) -> u64) -> u64 {
        let taken = take(self.0.unwrap_or(u64::MAX));
        if let Some(remaining) = &mut self.0 {
            *remaining -= taken;
        }
        taken
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

    /// An equal share of what may still be given, at most so much.
    pub fn share_of(self, parts: usize, most: usize) -> usize {
        let remaining = self.0.map(|remaining| usize::try_from(remaining).unwrap_or(usize::MAX));
        remaining.map_or(most, |remaining| most.min(remaining / parts.max(1)))
    }

    /// Whether this many rows are all that may still be given.
    pub fn is_met_by(self, rows: usize) -> bool {
        self.0.is_some_and(|remaining| rows as u64 >= remaining)
    }
}
