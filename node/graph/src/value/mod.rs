//! Property values: openCypher's, plus bytes and links.
//!
//! Limits are checked by [`crate::limits`], the hashed form is made by [`crate::cid`], the stored one by
//! [`crate::record`]. The order of the variants is part of the stored form: new ones go to the end.

mod compare;
mod order;
mod temporal;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use temporal::{
    Date, DateTime, Duration, LocalDateTime, LocalTime, MAX_DAYS, MAX_OFFSET_SECONDS, MAX_SECONDS, NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_SECOND, Point, Time,
};

use crate::cid::VersionCid;

/// The properties of a node or an edge. A stored one is never null.
pub type Properties = BTreeMap<String, Value>;

/// A property value. `==` compares the representation; [`Value::equals`] is openCypher's `=`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    String(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Link(VersionCid),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Date(Date),
    LocalTime(LocalTime),
    Time(Time),
    LocalDateTime(LocalDateTime),
    DateTime(DateTime),
    Duration(Duration),
    Point(Point),
}

impl Value {
    /// Whether openCypher's `=` is true: 1 = 1.0; NaN and null equal nothing, not even themselves, at any depth.
    pub fn equals(&self, other: &Value) -> bool {
        match self {
            Value::Null => false,
            Value::Integer(integer) => {
                matches!(other, Value::Float(float) if integer_equals_float(*integer, *float)) || self == other
            }
            Value::Float(float) => {
                matches!(other, Value::Integer(integer) if integer_equals_float(*integer, *float)) || self == other
            }
            Value::List(mine) => matches!(other, Value::List(theirs) if lists_equal(mine, theirs)),
            Value::Map(mine) => matches!(other, Value::Map(theirs) if maps_equal(mine, theirs)),
            Value::Boolean(_)
            | Value::String(_)
            | Value::Bytes(_)
            | Value::Link(_)
            | Value::Date(_)
            | Value::LocalTime(_)
            | Value::Time(_)
            | Value::LocalDateTime(_)
            | Value::DateTime(_)
            | Value::Duration(_)
            | Value::Point(_) => self == other,
        }
    }
}

/// Exact: converting the integer to a float would make 2^53 and 2^53 + 1 equal.
fn integer_equals_float(integer: i64, float: f64) -> bool {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    (-TWO_TO_63..TWO_TO_63).contains(&float) && float.fract() == 0.0 && float as i64 == integer
}

fn lists_equal(mine: &[Value], theirs: &[Value]) -> bool {
    mine.len() == theirs.len() && mine.iter().zip(theirs).all(|(a, b)| a.equals(b))
}

fn maps_equal(mine: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) -> bool {
    mine.len() == theirs.len()
        && mine
            .iter()
            .zip(theirs)
            .all(|((my_key, my_value), (key, value))| my_key == key && my_value.equals(value))
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Value::Integer(integer)
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Value::Float(float)
    }
}

impl From<bool> for Value {
    fn from(boolean: bool) -> Self {
        Value::Boolean(boolean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_across_their_types_exactly() {
        assert!(Value::from(1).equals(&Value::from(1.0)));
        assert!(Value::from(-0.0).equals(&Value::from(0)));
        assert!(Value::from(i64::MIN).equals(&Value::from(i64::MIN as f64)));
        assert!(!Value::from(i64::MAX).equals(&Value::from(i64::MAX as f64)));
        let above = (1i64 << 53) + 1;
        assert!(!Value::from(above).equals(&Value::from(above as f64)));
        assert!(!Value::from(1).equals(&Value::from(1.5)));
        assert!(!Value::from(1).equals(&Value::from("1")));
    }

    #[test]
    fn null_and_nan_equal_nothing_at_any_depth() {
        for never in [Value::Null, Value::from(f64::NAN)] {
            assert!(!never.equals(&never));
            let list = Value::List(vec![Value::from(1), never.clone()]);
            assert!(!list.equals(&list));
            let map = Value::Map(BTreeMap::from([("a".to_owned(), never)]));
            assert!(!map.equals(&map));
        }
    }

    #[test]
    fn lists_and_maps_are_equal_by_their_elements() {
        let integers = Value::List(vec![Value::from(1), Value::from(2)]);
        let floats = Value::List(vec![Value::from(1.0), Value::from(2.0)]);
        assert!(integers.equals(&floats));
        assert!(!integers.equals(&Value::List(vec![Value::from(1)])));
        let entry = |key: &str, value| Value::Map(BTreeMap::from([(key.to_owned(), value)]));
        assert!(entry("a", integers).equals(&entry("a", floats)));
        assert!(!entry("a", Value::from(1)).equals(&entry("b", Value::from(1))));
    }

    #[test]
    fn a_duration_has_one_form() {
        let duration = Duration::normalised(1, 2, 3, -1).unwrap();
        assert_eq!((duration.seconds, duration.nanoseconds), (2, 999_999_999));
        assert_eq!(Duration::normalised(0, 0, i64::MAX, 1_000_000_000), None);
    }
}
