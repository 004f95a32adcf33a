//! Why a query cannot be answered; each message says what to do.

use super::{CursorError, MAX_DEPTH, MAX_FILTERS, MAX_IDS, MAX_ORDER, MAX_TYPES, MAX_VISITED};
use crate::{limits, read};

/// A query cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a query names {0} ids: give it at most {MAX_IDS}")]
    Ids(usize),
    #[error("a query names {0} edge types: give it at most {MAX_TYPES}")]
    Types(usize),
    #[error("a query has {0} property filters: give it at most {MAX_FILTERS}")]
    Filters(usize),
    #[error("a traversal or path goes from depth {min} to {max}: let it end at 1 to {MAX_DEPTH}, not before it begins")]
    Depth { min: u32, max: u32 },
    #[error("the query is refused")]
    Name(#[from] limits::Error),
    #[error("a query is ordered by {0} properties: give it at most {MAX_ORDER}")]
    Order(usize),
    #[error("the property {0} is named twice in the order of a query: name it once")]
    OrderTwice(String),
    #[error("{0} is not ordered by properties: only nodes and edges that are searched and traversals are")]
    NoOrder(&'static str),
    #[error("{0} has no cursor: ask for it in one answer")]
    NoCursor(&'static str),
    #[error(
        "the rows to be ordered take more than {0} bytes of memory: give the query a limit or a lower one, or filters"
    )]
    Memory(usize),
    #[error(
        "the query reached more than {MAX_VISITED} nodes: lower its depth, name edge types or, for a traversal, give it a limit"
    )]
    Visited,
    #[error(transparent)]
    Cursor(#[from] CursorError),
    #[error(transparent)]
    Read(#[from] read::Error),
}
