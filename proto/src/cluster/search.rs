//! A query with how its answer is to come: in which order, and from which page on.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::{KotobaCluster, Rows};
use crate::ClusterError;
use crate::cid::{base32, decode};
use crate::v1::{OrderBy, Query, Row};

/// Where an answer that its limit cut goes on. Opaque; it holds for the same query and order, with any limit, as long as
/// the cluster keeps the versions of its snapshot.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(Bytes);

/// The text is not a cursor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor: give one as an answer printed it, it begins with b and is made of a-z and 2-7")]
pub struct ParseCursorError;

impl Cursor {
    /// An answer without more has no bytes here.
    pub(super) fn of_answer(bytes: Bytes) -> Option<Self> {
        (!bytes.is_empty()).then_some(Cursor(bytes))
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.trim().strip_prefix('b').and_then(decode).ok_or(ParseCursorError)?;
        Cursor::of_answer(bytes.into()).ok_or(ParseCursorError)
    }
}

/// A query, its order, and the page it goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub query: Query,
    pub order_by: Vec<OrderBy>,
    pub cursor: Option<Cursor>,
}

impl Search {
    pub fn ordered_by(self, order_by: impl IntoIterator<Item = OrderBy>) -> Self {
        Search {
            order_by: order_by.into_iter().collect(),
            ..self
        }
    }

    /// Goes on where an earlier answer was cut.
    pub fn after(self, cursor: Cursor) -> Self {
        Search {
            cursor: Some(cursor),
            ..self
        }
    }
}

impl From<Query> for Search {
    fn from(query: Query) -> Self {
        Search {
            query,
            order_by: Vec::new(),
            cursor: None,
        }
    }
}

/// The rows of an answer page by page, all at one snapshot: the limit of the query is the length of a page.
pub struct Pages {
    cluster: KotobaCluster,
    search: Search,
    rows: Option<Rows>,
}

impl Pages {
    pub(super) fn new(cluster: KotobaCluster, search: Search) -> Self {
        Pages {
            cluster,
            search,
            rows: None,
        }
    }

    /// The next row; `None` after the last of the last page.
    ///
    /// # Errors
    /// As a query's; the beginning of a page is asked for again where that helps, what is in its middle is not.
    pub async fn next(&mut self) -> Result<Option<Row>, ClusterError> {
        loop {
            let rows = match &mut self.rows {
                Some(rows) => rows,
                None => self.rows.insert(self.cluster.execute_query(self.search.clone()).await?),
            };
            if let Some(row) = rows.next().await? {
                return Ok(Some(row));
            }
            match rows.cursor() {
                Some(cursor) => self.search.cursor = Some(cursor.clone()),
                None => return Ok(None),
            }
            self.rows = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        let cursor = Cursor::of_answer(Bytes::from_static(&[1, 200, 0, 7])).unwrap();
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "b", "x17", "b!"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
