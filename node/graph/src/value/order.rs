//! openCypher's orderability: one total order over all values, for sorting.
//!
//! Ascending: map, list, point, zoned date-time, local date-time, date, zoned time, local time, duration, text, bytes, link,
//! boolean, number (NaN above all others), null. Bytes and links are ours; the rest is openCypher's, with points where
//! Neo4j puts them. Values that `=` calls equal across types (1 and 1.0) are equal here too.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Duration, Point, Value};

/// An average month of the Gregorian calendar, by which durations are sorted.
const SECONDS_PER_MONTH: i128 = 2_629_746;
const SECONDS_PER_DAY: i128 = 86_400;

impl Value {
    /// The place of two values in the total order.
    pub fn ordered(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Map(mine), Value::Map(theirs)) => order_maps(mine, theirs),
            (Value::List(mine), Value::List(theirs)) => order_lists(mine, theirs),
            (Value::Point(mine), Value::Point(theirs)) => order_points(mine, theirs),
            (Value::Duration(mine), Value::Duration(theirs)) => length_of(mine).cmp(&length_of(theirs)),
            (Value::Link(mine), Value::Link(theirs)) => mine.to_bytes().cmp(&theirs.to_bytes()),
            (Value::Float(mine), Value::Float(theirs)) => order_floats(*mine, *theirs),
            // Where the types are the same only NaN is left, which is the largest number.
            _ => match rank(self).cmp(&rank(other)) {
                Ordering::Equal => self.compared(other).unwrap_or_else(|| is_nan(self).cmp(&is_nan(other))),
                different => different,
            },
        }
    }
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Map(_) => 0,
        Value::List(_) => 1,
        Value::Point(_) => 2,
        Value::DateTime(_) => 3,
        Value::LocalDateTime(_) => 4,
        Value::Date(_) => 5,
        Value::Time(_) => 6,
        Value::LocalTime(_) => 7,
        Value::Duration(_) => 8,
        Value::String(_) => 9,
        Value::Bytes(_) => 10,
        Value::Link(_) => 11,
        Value::Boolean(_) => 12,
        Value::Integer(_) | Value::Float(_) => 13,
        Value::Null => 14,
    }
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(float) if float.is_nan())
}

/// Zeros of both signs are one number.
fn order_floats(mine: f64, theirs: f64) -> Ordering {
    mine.partial_cmp(&theirs)
        .unwrap_or_else(|| mine.is_nan().cmp(&theirs.is_nan()))
}

fn order_lists(mine: &[Value], theirs: &[Value]) -> Ordering {
    let pairs = mine.iter().zip(theirs).map(|(mine, theirs)| mine.ordered(theirs));
    first_difference(pairs).then(mine.len().cmp(&theirs.len()))
}

/// By size, then by keys, then by the values in the order of the keys.
fn order_maps(mine: &BTreeMap<String, Value>, theirs: &BTreeMap<String, Value>) -> Ordering {
    let values = mine.values().zip(theirs.values());
    mine.len()
        .cmp(&theirs.len())
        .then_with(|| mine.keys().cmp(theirs.keys()))
        .then_with(|| first_difference(values.map(|(mine, theirs)| mine.ordered(theirs))))
}

fn first_difference(mut pairs: impl Iterator<Item = Ordering>) -> Ordering {
    pairs
        .find(|ordering| *ordering != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

fn order_points(mine: &Point, theirs: &Point) -> Ordering {
    let z = |point: &Point| point.z.unwrap_or(f64::NEG_INFINITY);
    mine.srid
        .cmp(&theirs.srid)
        .then_with(|| order_floats(mine.x, theirs.x))
        .then_with(|| order_floats(mine.y, theirs.y))
        .then_with(|| mine.z.is_some().cmp(&theirs.z.is_some()))
        .then_with(|| order_floats(z(mine), z(theirs)))
}

/// By average length; durations of one length that are written differently stay apart.
fn length_of(duration: &Duration) -> (i128, u32, i64, i64) {
    let months = i128::from(duration.months) * SECONDS_PER_MONTH;
    let days = i128::from(duration.days) * SECONDS_PER_DAY;
    let seconds = months + days + i128::from(duration.seconds);
    (seconds, duration.nanoseconds, duration.months, duration.days)
}

/// How an integer relates to a float, exactly; `None` for NaN.
pub(super) fn integer_to_float(integer: i64, float: f64) -> Option<Ordering> {
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= TWO_TO_63 {
        return Some(Ordering::Less);
    }
    if float < -TWO_TO_63 {
        return Some(Ordering::Greater);
    }
    // Within the range of i64 the whole part converts exactly; what is cut off decides between equals.
    let whole = float.trunc();
    let by_whole = integer.cmp(&(whole as i64));
    Some(by_whole.then(0.0.partial_cmp(&(float - whole))?))
}

/// What a moment or a time of day is compared by: its kind, its instant, and then how it is written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TemporalKey<'a> {
    pub kind: u8,
    instant: i128,
    offset_seconds: i32,
    zone: Option<&'a str>,
}

/// The key of a value of a temporal type that has an order; durations have none.
pub(super) fn temporal_key(value: &Value) -> Option<TemporalKey<'_>> {
    const SECOND: i128 = super::NANOSECONDS_PER_SECOND as i128;
    let moment = |seconds: i64, nanoseconds: u32| i128::from(seconds) * SECOND + i128::from(nanoseconds);
    let (instant, offset_seconds, zone) = match value {
        Value::Date(date) => (i128::from(date.days), 0, None),
        Value::LocalTime(time) => (i128::from(time.nanoseconds), 0, None),
        Value::Time(time) => {
            let utc = i128::from(time.nanoseconds) - i128::from(time.offset_seconds) * SECOND;
            (utc, time.offset_seconds, None)
        }
        Value::LocalDateTime(time) => (moment(time.seconds, time.nanoseconds), 0, None),
        Value::DateTime(time) => {
            let instant = moment(time.seconds, time.nanoseconds);
            (instant, time.offset_seconds, time.zone.as_deref())
        }
        Value::Null
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::Link(_)
        | Value::List(_)
        | Value::Map(_)
        | Value::Duration(_)
        | Value::Point(_) => return None,
    };
    Some(TemporalKey {
        kind: rank(value),
        instant,
        offset_seconds,
        zone,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cid::VersionCid;
    use crate::value::{Date, DateTime, LocalDateTime, LocalTime, Time};

    fn ascending() -> Vec<Value> {
        let point = |x: f64| {
            Value::Point(Point {
                srid: 7203,
                x,
                y: 0.0,
                z: None,
            })
        };
        let duration = |days, seconds| Value::Duration(Duration::normalised(0, days, seconds, 0).unwrap());
        let zoned = |seconds| {
            Value::DateTime(DateTime {
                seconds,
                nanoseconds: 0,
                offset_seconds: 0,
                zone: None,
            })
        };
        vec![
            Value::Map(BTreeMap::new()),
            Value::Map(BTreeMap::from([("a".to_owned(), Value::from(1))])),
            Value::Map(BTreeMap::from([("a".to_owned(), Value::from(2))])),
            Value::Map(BTreeMap::from([("b".to_owned(), Value::from(0))])),
            Value::List(vec![]),
            Value::List(vec![Value::from(1)]),
            Value::List(vec![Value::from(1), Value::from("a")]),
            Value::List(vec![Value::from(2)]),
            point(-1.0),
            point(3.5),
            zoned(-5),
            zoned(7),
            Value::LocalDateTime(LocalDateTime {
                seconds: 0,
                nanoseconds: 0,
            }),
            Value::Date(Date { days: -1 }),
            Value::Date(Date { days: 4 }),
            Value::Time(Time {
                nanoseconds: 5,
                offset_seconds: 60,
            }),
            Value::Time(Time {
                nanoseconds: 5,
                offset_seconds: 0,
            }),
            Value::LocalTime(LocalTime { nanoseconds: 1 }),
            duration(0, 86_399),
            duration(1, 0),
            Value::from(""),
            Value::from("A"),
            Value::from("a"),
            Value::from("é"),
            Value::Bytes(vec![0]),
            Value::Link(VersionCid::of_block(b"x")),
            Value::from(false),
            Value::from(true),
            Value::from(f64::NEG_INFINITY),
            Value::from(-2),
            Value::from(-1.5),
            Value::from(-1),
            Value::from(-0.5),
            Value::from(0),
            Value::from(0.5),
            Value::from(1i64 << 53),
            Value::from((1i64 << 53) + 1),
            Value::from(i64::MAX),
            Value::from(f64::INFINITY),
            Value::from(f64::NAN),
            Value::Null,
        ]
    }

    #[test]
    fn the_order_of_all_types_is_as_written() {
        let values = ascending();
        for (i, left) in values.iter().enumerate() {
            for (j, right) in values.iter().enumerate() {
                assert_eq!(left.ordered(right), i.cmp(&j), "{left:?} and {right:?}");
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop::sample::select(ascending());
        let floats = any::<f64>().prop_map(Value::from);
        let integers = any::<i64>().prop_map(Value::from);
        let near = (-3i64..3, -1i8..2).prop_map(|(whole, half)| Value::from(whole as f64 + f64::from(half) / 2.0));
        let texts = "[a-cé]{0,3}".prop_map(|text| Value::from(text.as_str()));
        let leaf = prop_oneof![leaf, floats, integers, near, texts];
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::List),
                prop::collection::btree_map("[ab]", inner, 0..3).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn the_order_is_total(a in any_value(), b in any_value(), c in any_value()) {
            prop_assert_eq!(a.ordered(&b), b.ordered(&a).reverse());
            if a.ordered(&b).is_le() && b.ordered(&c).is_le() {
                prop_assert!(a.ordered(&c).is_le());
            }
        }

        #[test]
        fn the_order_agrees_with_every_comparison(a in any_value(), b in any_value()) {
            if let Some(compared) = a.compared(&b) {
                prop_assert_eq!(a.ordered(&b), compared);
            }
            prop_assert_eq!(a.same(&b) == Some(true), a.equals(&b));
            if a.equals(&b) {
                prop_assert_eq!(a.ordered(&b), Ordering::Equal);
            }
        }
    }
}
