//! The order of rows: by properties, each ascending or descending, then by id.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Row;
use crate::id::EntityId;
use crate::value::Value;

/// One property that rows are ordered by, in openCypher's order of all values. A missing one is null: last when
/// ascending, first when descending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBy {
    pub property: String,
    pub descending: bool,
}

/// The place of a row in an order: total, since no two rows have one id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    values: Vec<Directed>,
    pub id: EntityId,
}

/// A value that sorts in the direction it is asked in.
#[derive(Clone, Debug)]
struct Directed {
    value: Value,
    descending: bool,
}

impl Rank {
    pub fn of(row: &Row, order: &[OrderBy]) -> Self {
        let value = |by: &OrderBy| row.entity.properties().get(&by.property).cloned();
        let values = order.iter().map(|by| value(by).unwrap_or(Value::Null)).collect();
        Rank::new(values, row.entity.id(), order)
    }

    /// One value for each property of the order.
    pub fn new(values: Vec<Value>, id: EntityId, order: &[OrderBy]) -> Self {
        let directed = |(value, by): (Value, &OrderBy)| Directed {
            value,
            descending: by.descending,
        };
        Rank {
            values: values.into_iter().zip(order).map(directed).collect(),
            id,
        }
    }

    pub fn into_values(self) -> Vec<Value> {
        self.values.into_iter().map(|directed| directed.value).collect()
    }
}

impl Ord for Directed {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.descending {
            false => self.value.ordered(&other.value),
            true => other.value.ordered(&self.value),
        }
    }
}

impl PartialOrd for Directed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By the order, so that 1 and 1.0 have one place.
impl PartialEq for Directed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Directed {}
