//! openCypher's comparability: `=`, `<>`, `<` and their like, with the third answer "not known".
//!
//! Values that cannot be compared (null, a number with a text, maps by size) give `None`, which a filter takes for
//! "does not hold". The total order over all values, for sorting, is [`super::order`].

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::order::{integer_to_float, temporal_key};
use super::{Value, integer_equals_float};

impl Value {
    /// openCypher's `=` with three answers; `None` where a null decides.
    pub fn same(&self, other: &Value) -> Option<bool> {
        match (self, other) {
            (Value::Null, _) | (_, Value::Null) => None,
            (Value::Integer(integer), Value::Float(float)) | (Value::Float(float), Value::Integer(integer)) => {
                Some(integer_equals_float(*integer, *float))
            }
            (Value::List(mine), Value::List(theirs)) => same_lists(mine, theirs),
            (Value::Map(mine), Value::Map(theirs)) => same_maps(mine, theirs),
            (mine, theirs) => Some(mine == theirs),
        }
    }

    /// How two values that have an order relate; `None` where they have none. NaN is neither below, equal to nor above
    /// a number; booleans are false before true; texts go by code point; zoned times by their instant.
    pub fn compared(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Integer(mine), Value::Integer(theirs)) => Some(mine.cmp(theirs)),
            (Value::Float(mine), Value::Float(theirs)) => mine.partial_cmp(theirs),
            (Value::Integer(mine), Value::Float(theirs)) => integer_to_float(*mine, *theirs),
            (Value::Float(mine), Value::Integer(theirs)) => integer_to_float(*theirs, *mine).map(Ordering::reverse),
            (Value::Boolean(mine), Value::Boolean(theirs)) => Some(mine.cmp(theirs)),
            (Value::String(mine), Value::String(theirs)) => Some(mine.cmp(theirs)),
            (Value::Bytes(mine), Value::Bytes(theirs)) => Some(mine.cmp(theirs)),
            (Value::List(mine), Value::List(theirs)) => compared_lists(mine, theirs),
            (mine, theirs) => {
                let (mine, theirs) = (temporal_key(mine)?, temporal_key(theirs)?);
                (mine.kind == theirs.kind).then(|| mine.cmp(&theirs))
            }
        }
    }
}

/// False as soon as one pair differs, whatever is not known about the others.
fn same_lists(mine: &[Value], theirs: &[Value]) -> Option<bool> {
    if mine.len() != theirs.len() {
        return Some(false);
    }
    all_same(mine.iter().zip(theirs))
}

fn same_maps(mine: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) -> Option<bool> {
    if !mine.keys().eq(theirs.keys()) {
        return Some(false);
    }
    all_same(mine.values().zip(theirs.values()))
}

fn all_same<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Option<bool> {
    let mut all = Some(true);
    for (mine, theirs) in pairs {
        match mine.same(theirs) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => all = None,
        }
    }
    all
}

/// By the first pair that is not equal; a list that is the other's beginning comes first.
fn compared_lists(mine: &[Value], theirs: &[Value]) -> Option<Ordering> {
    for (mine, theirs) in mine.iter().zip(theirs) {
        match mine.same(theirs)? {
            true => {}
            false => return mine.compared(theirs),
        }
    }
    Some(mine.len().cmp(&theirs.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Date, DateTime, Duration, Time};

    fn list<const N: usize>(values: [Value; N]) -> Value {
        Value::List(values.into())
    }

    #[test]
    fn null_makes_an_equality_unknown_unless_something_else_differs() {
        let one = || Value::from(1);
        assert_eq!(Value::Null.same(&Value::Null), None);
        assert_eq!(one().same(&Value::from("1")), Some(false));
        assert_eq!(list([Value::Null, one()]).same(&list([one(), one()])), None);
        assert_eq!(
            list([Value::Null, one()]).same(&list([one(), Value::from(2)])),
            Some(false)
        );
        assert_eq!(list([Value::Null]).same(&list([one(), one()])), Some(false));
        let nan = Value::from(f64::NAN);
        assert_eq!(nan.same(&nan), Some(false));
    }

    #[test]
    fn numbers_compare_across_their_types_exactly() {
        let above = (1i64 << 53) + 1;
        let below = (1i64 << 53) as f64;
        assert_eq!(
            Value::from(above).compared(&Value::from(below)),
            Some(Ordering::Greater)
        );
        assert_eq!(Value::from(below).compared(&Value::from(above)), Some(Ordering::Less));
        assert_eq!(Value::from(1).compared(&Value::from(1.0)), Some(Ordering::Equal));
        assert_eq!(Value::from(1).compared(&Value::from(f64::NAN)), None);
        assert_eq!(
            Value::from(i64::MAX).compared(&Value::from(f64::INFINITY)),
            Some(Ordering::Less)
        );
    }

    #[test]
    fn what_has_no_common_order_is_not_compared() {
        let map = || Value::Map(BTreeMap::new());
        let duration = || Value::Duration(Duration::normalised(1, 0, 0, 0).unwrap());
        let pairs = [
            (Value::from(1), Value::from("a")),
            (Value::Null, Value::from(1)),
            (map(), map()),
            (duration(), duration()),
            (Value::Date(Date { days: 1 }), Value::from(1)),
        ];
        for (left, right) in pairs {
            assert_eq!(left.compared(&right), None, "{left:?} {right:?}");
        }
    }

    #[test]
    fn zoned_times_compare_by_their_instant() {
        let at = |hour: u64, offset_hours: i32| {
            Value::Time(Time {
                nanoseconds: hour * 3_600_000_000_000,
                offset_seconds: offset_hours * 3_600,
            })
        };
        assert_eq!(at(12, 2).compared(&at(11, 0)), Some(Ordering::Less));
        let moment = |seconds, zone: &str| {
            Value::DateTime(DateTime {
                seconds,
                nanoseconds: 0,
                offset_seconds: 0,
                zone: Some(zone.to_owned()),
            })
        };
        assert_eq!(moment(1, "B").compared(&moment(2, "A")), Some(Ordering::Less));
    }

    #[test]
    fn lists_compare_by_their_first_difference() {
        let one = || Value::from(1);
        assert_eq!(
            list([one(), Value::Null]).compared(&list([Value::from(2), Value::Null])),
            Some(Ordering::Less)
        );
        assert_eq!(
            list([one()]).compared(&list([one(), Value::Null])),
            Some(Ordering::Less)
        );
        assert_eq!(list([Value::Null]).compared(&list([one()])), None);
        assert_eq!(list([Value::from("a")]).compared(&list([one()])), None);
    }
}
