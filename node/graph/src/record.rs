//! What is stored under the keys: records of nodes and edges, and locators.
//!
//! One format byte, then postcard. A reader refuses a format it does not know, so that a rolling upgrade can
//! write a new one only when every member reads it. The bytes of format 1 are frozen by a test.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cid::{self, VersionCid};
use crate::id::EntityId;
use crate::key;
use crate::limits;
use crate::value::{Properties, Value};

const FORMAT: u8 = 1;

/// One version of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub labels: BTreeSet<String>,
    /// Invariant: none is null.
    pub properties: Properties,
    pub cid: VersionCid,
}

/// One version of an edge; its type and ends are in its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgeRecord {
    /// Invariant: none is null.
    pub properties: Properties,
    pub cid: VersionCid,
}

/// Where an edge's halves are: it never changes while the edge lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locator {
    pub edge_type: String,
    pub source: EntityId,
    pub target: EntityId,
}

/// Stored bytes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a record is empty")]
    Empty,
    #[error("a record has format {0}, this version reads format {FORMAT}: upgrade this member")]
    UnknownFormat(u8),
    #[error("a record of format {FORMAT} is malformed")]
    Malformed(#[source] postcard::Error),
    #[error("a record has {0} bytes too many")]
    TooLong(usize),
}

impl NodeRecord {
    /// A checked version; null properties are left out.
    pub fn new(id: EntityId, labels: BTreeSet<String>, properties: Properties) -> Result<Self, limits::Error> {
        let properties = without_nulls(properties);
        limits::check_node(&labels, &properties)?;
        let block = cid::node_block(id, &labels, &properties);
        limits::check_size(&block)?;
        Ok(NodeRecord {
            labels,
            properties,
            cid: VersionCid::of_block(&block),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes)
    }
}

impl EdgeRecord {
    /// A checked version of the edge at a locator; null properties are left out.
    pub fn new(id: EntityId, locator: &Locator, properties: Properties) -> Result<Self, limits::Error> {
        let properties = without_nulls(properties);
        limits::check_edge(&locator.edge_type, &properties)?;
        let Locator {
            edge_type,
            source,
            target,
        } = locator;
        let block = cid::edge_block(id, edge_type, *source, *target, &properties);
        limits::check_size(&block)?;
        Ok(EdgeRecord {
            properties,
            cid: VersionCid::of_block(&block),
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes)
    }
}

impl Locator {
    /// The key of the out half of the edge that has this locator.
    pub fn out_half(&self, edge: EntityId) -> Vec<u8> {
        key::out_half(self.source, &self.edge_type, self.target, edge)
    }

    /// The key of the in half of the edge that has this locator.
    pub fn in_half(&self, edge: EntityId) -> Vec<u8> {
        key::in_half(self.target, &self.edge_type, self.source, edge)
    }

    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode(bytes)
    }
}

fn without_nulls(properties: Properties) -> Properties {
    properties
        .into_iter()
        .filter(|(_, value)| *value != Value::Null)
        .collect()
}

/// Room for what most records take: growing into it step by step copies them several times.
const MOST_BYTES: usize = 512;

fn encode(record: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MOST_BYTES);
    bytes.push(FORMAT);
    postcard::to_extend(record, bytes).expect("sequences and maps know their length, and a vector takes every byte")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (format, body) = bytes.split_first().ok_or(Error::Empty)?;
    if *format != FORMAT {
        return Err(Error::UnknownFormat(*format));
    }
    match postcard::take_from_bytes(body).map_err(Error::Malformed)? {
        (record, []) => Ok(record),
        (_, rest) => Err(Error::TooLong(rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::printable;
    use crate::value::{Date, Point};

    fn record() -> NodeRecord {
        let properties = Properties::from([
            ("age".to_owned(), Value::from(42)),
            ("born".to_owned(), Value::Date(Date { days: -1 })),
            ("gone".to_owned(), Value::Null),
            (
                "home".to_owned(),
                Value::Point(Point {
                    srid: 7203,
                    x: 1.5,
                    y: 2.0,
                    z: None,
                }),
            ),
        ]);
        let labels = BTreeSet::from(["Person".to_owned()]);
        NodeRecord::new(EntityId::for_node(1), labels, properties).unwrap()
    }

    #[test]
    fn format_1_is_frozen() {
        let fields = "0106506572736f6e0303616765025404626f726e090104686f6d650fa338\
            000000000000f83f000000000000004000";
        let digest = "883d5b94643ca5feafe282f2497a47d6d41cd67892c608ac7d8bc7ba08f8b78f";
        assert_eq!(printable(&record().encode()), format!("01{fields}{digest}"));
    }

    #[test]
    fn records_come_back_and_hold_no_null() {
        let record = record();
        assert_eq!(NodeRecord::decode(&record.encode()).unwrap(), record);
        assert!(!record.properties.contains_key("gone"));
        let locator = Locator {
            edge_type: "KNOWS".to_owned(),
            source: EntityId::for_node(1),
            target: EntityId::for_node(2),
        };
        assert_eq!(Locator::decode(&locator.encode()).unwrap(), locator);
        let edge = EdgeRecord::new(EntityId::for_node(3), &locator, record.properties).unwrap();
        assert_eq!(EdgeRecord::decode(&edge.encode()).unwrap(), edge);
    }

    #[test]
    fn an_unknown_format_says_what_to_do() {
        let mut bytes = record().encode();
        bytes[0] = 2;
        let error = NodeRecord::decode(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a record has format 2, this version reads format 1: upgrade this member"
        );
    }

    #[test]
    fn damaged_records_are_refused() {
        let bytes = record().encode();
        assert!(matches!(NodeRecord::decode(&[]), Err(Error::Empty)));
        let cut = NodeRecord::decode(&bytes[..bytes.len() - 1]);
        assert!(matches!(cut, Err(Error::Malformed(_))));
        let long = NodeRecord::decode(&[bytes.as_slice(), &[0]].concat());
        assert!(matches!(long, Err(Error::TooLong(1))));
    }

    #[test]
    fn an_entity_above_its_size_is_refused_although_each_property_fits() {
        let half = Value::Bytes(vec![0; 600_000]);
        let properties = Properties::from([("a".to_owned(), half.clone()), ("b".to_owned(), half)]);
        let refused = NodeRecord::new(EntityId::for_node(1), BTreeSet::new(), properties);
        assert!(matches!(refused, Err(limits::Error::Entity(1_200_000..))));
    }
}
