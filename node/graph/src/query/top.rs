//! Orders rows: the first of them where there is a limit, else all, in bounded memory.

use std::collections::BTreeMap;

use super::budget::row_bytes;
use super::order::{OrderBy, Rank};
use super::{Error, Position, Row};

/// The rows that come first, of all that were put in.
#[derive(Debug)]
pub struct Top {
    order: Vec<OrderBy>,
    /// Only rows behind this place.
    after: Option<Rank>,
    limit: Option<usize>,
    rows: BTreeMap<Rank, Held>,
    bytes: usize,
    max_bytes: usize,
    /// Whether the limit cut rows off.
    dropped: bool,
}

#[derive(Debug)]
struct Held {
    row: Row,
    bytes: usize,
}

impl Top {
    pub fn new(order: Vec<OrderBy>, after: Option<Rank>, limit: Option<u64>, max_bytes: usize) -> Self {
        Top {
            order,
            after,
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            rows: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            dropped: false,
        }
    }

    pub fn put(&mut self, rows: Vec<Row>) -> Result<(), Error> {
        rows.into_iter().try_for_each(|row| self.put_one(row))
    }

    fn put_one(&mut self, row: Row) -> Result<(), Error> {
        let rank = Rank::of(&row, &self.order);
        if self.after.as_ref().is_some_and(|after| rank <= *after) {
            return Ok(());
        }
        let bytes = row_bytes(&row);
        self.bytes += bytes;
        self.rows.insert(rank, Held { row, bytes });
        if self.limit.is_some_and(|limit| self.rows.len() > limit) {
            self.dropped = true;
            if let Some((_, last)) = self.rows.pop_last() {
                self.bytes -= last.bytes;
            }
        }
        if self.bytes > self.max_bytes {
            return Err(Error::Memory(self.max_bytes));
        }
        Ok(())
    }

    /// The rows in their order, and where to go on if the limit cut rows off.
    pub fn finish(&mut self) -> (Vec<Row>, Option<Position>) {
        let last = self.rows.last_key_value().map(|(rank, _)| rank.clone());
        let position = last.filter(|_| self.dropped).map(|rank| Position::Rank {
            id: rank.id,
            values: rank.into_values(),
        });
        let rows = std::mem::take(&mut self.rows);
        (rows.into_values().map(|held| held.row).collect(), position)
    }
}
