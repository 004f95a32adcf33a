//! Cursors: where an answer was cut by its limit, as opaque bytes in a client's hand.
//!
//! One format byte, then postcard. A cursor carries the snapshot, so that all pages are of one state of the graph, and
//! a fingerprint of the query, so that it is not taken for the cursor of another.

use serde::{Deserialize, Serialize};

use super::{OrderBy, Query};
use crate::id::EntityId;
use crate::value::Value;

const FORMAT: u8 = 1;
/// Largest cursor that is read: the values that rows are ordered by are part of one entity, which is smaller.
const MAX_BYTES: usize = 2 << 20;

/// A place in the answer to one query at one snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// The timestamp that the answer is read at.
    pub snapshot: u64,
    fingerprint: [u8; 16],
    pub position: Position,
}

/// The last row that was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Position {
    /// Rows come in the order of the keys they are found by.
    Key(Vec<u8>),
    /// Rows come in an order by properties.
    Rank { values: Vec<Value>, id: EntityId },
}

/// Bytes that are no cursor, or not of this query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("the cursor is damaged: send it as it came, or ask again without one")]
    Malformed,
    #[error("the cursor has format {0}, this member reads format {FORMAT}: ask again without one")]
    UnknownFormat(u8),
    #[error("the cursor belongs to another query: send the same query and order, only the limit may change")]
    OtherQuery,
}

impl Cursor {
    pub fn new(snapshot: u64, query: &Query, order: &[OrderBy], position: Position) -> Self {
        Cursor {
            snapshot,
            fingerprint: fingerprint(query, order),
            position,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self, vec![FORMAT])
    }

    /// Reads a cursor that was given for this query.
    pub fn decode(bytes: &[u8], query: &Query, order: &[OrderBy]) -> Result<Self, CursorError> {
        let (format, body) = bytes.split_first().ok_or(CursorError::Malformed)?;
        if *format != FORMAT {
            return Err(CursorError::UnknownFormat(*format));
        }
        if bytes.len() > MAX_BYTES {
            return Err(CursorError::Malformed);
        }
        let Ok((cursor, [])) = postcard::take_from_bytes::<Cursor>(body) else {
            return Err(CursorError::Malformed);
        };
        if cursor.fingerprint != fingerprint(query, order) {
            return Err(CursorError::OtherQuery);
        }
        Ok(cursor)
    }
}

/// Names a query without its limit.
fn fingerprint(query: &Query, order: &[OrderBy]) -> [u8; 16] {
    let mut query = query.clone();
    if let Some(limit) = query.limit_mut() {
        *limit = None;
    }
    let hash = blake3::hash(&encode(&(query, order), Vec::new()));
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_bytes()[..16]);
    short
}

fn encode(value: &impl Serialize, into: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, into).expect("sequences and maps know their length, and a vector takes every byte")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(label: &str, limit: u64) -> Query {
        Query::FindNodes {
            label: Some(label.to_owned()),
            filters: Vec::new(),
            limit: Some(limit),
        }
    }

    fn by(property: &str) -> Vec<OrderBy> {
        vec![OrderBy {
            property: property.to_owned(),
            descending: false,
        }]
    }

    fn cursor() -> Cursor {
        let position = Position::Rank {
            values: vec![Value::from(7)],
            id: EntityId::for_node(1),
        };
        Cursor::new(99, &find("A", 5), &by("p"), position)
    }

    #[test]
    fn a_cursor_comes_back_also_when_only_the_limit_changes() {
        let bytes = cursor().encode();
        assert_eq!(Cursor::decode(&bytes, &find("A", 800), &by("p")), Ok(cursor()));
    }

    #[test]
    fn a_cursor_of_another_query_or_order_is_refused() {
        let bytes = cursor().encode();
        for (query, order) in [(find("B", 5), by("p")), (find("A", 5), by("q"))] {
            assert_eq!(Cursor::decode(&bytes, &query, &order), Err(CursorError::OtherQuery));
        }
    }

    #[test]
    fn bytes_that_are_no_cursor_are_refused_with_what_to_do() {
        let bytes = cursor().encode();
        let decode = |bytes: &[u8]| Cursor::decode(bytes, &find("A", 5), &by("p")).unwrap_err();
        assert_eq!(decode(&[]), CursorError::Malformed);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), CursorError::Malformed);
        assert_eq!(decode(&[&bytes[..], &[0]].concat()), CursorError::Malformed);
        assert_eq!(decode(&[1; 40]), CursorError::Malformed);
        let newer = decode(&[&[2], &bytes[1..]].concat());
        assert_eq!(newer, CursorError::UnknownFormat(2));
        assert!(newer.to_string().contains("ask again without"));
    }
}
