//! Property values.

use std::collections::BTreeMap;

use kotoba_graph::cid::VersionCid;
use kotoba_graph::value::{Date, DateTime, Duration, LocalDateTime, LocalTime, Point, Properties, Time, Value};
use kotoba_proto::v1;
use kotoba_proto::v1::value::Kind;

use super::Invalid;

/// Deepest value that is read off the wire; the graph's own limit is lower and gives the better message.
const MAX_WIRE_DEPTH: usize = 64;

/// The properties of an entity as they were sent.
pub fn properties_from(sent: BTreeMap<String, v1::Value>) -> Result<Properties, Invalid> {
    sent.into_iter()
        .map(|(key, value)| {
            let value = value_from(value).map_err(|invalid| invalid.within(&key))?;
            Ok((key, value))
        })
        .collect()
}

/// One value as it was sent.
pub fn value_from(sent: v1::Value) -> Result<Value, Invalid> {
    read(sent, 0)
}

/// The values of a list as they were sent.
pub fn list_from(sent: v1::ListValue) -> Result<Vec<Value>, Invalid> {
    sent.values.into_iter().map(value_from).collect()
}

fn read(sent: v1::Value, depth: usize) -> Result<Value, Invalid> {
    if depth > MAX_WIRE_DEPTH {
        return Err(Invalid::new("value", format!("is nested deeper than {MAX_WIRE_DEPTH}")));
    }
    let Some(kind) = sent.kind else {
        return Err(Invalid::new("value", "has no kind; send NullValue for null"));
    };
    Ok(match kind {
        Kind::Null(_) => Value::Null,
        Kind::Boolean(boolean) => Value::Boolean(boolean),
        Kind::Integer(integer) => Value::Integer(integer),
        Kind::Float(float) => Value::Float(float),
        Kind::String(string) => Value::String(string),
        Kind::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        Kind::Link(cid) => Value::Link(link(&cid)?),
        Kind::List(list) => Value::List(
            list.values
                .into_iter()
                .map(|value| read(value, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Kind::Map(map) => Value::Map(
            map.entries
                .into_iter()
                .map(|(key, value)| Ok((key, read(value, depth + 1)?)))
                .collect::<Result<_, _>>()?,
        ),
        Kind::Date(days) => Value::Date(Date { days }),
        Kind::LocalTime(nanoseconds) => Value::LocalTime(LocalTime { nanoseconds }),
        Kind::Time(time) => Value::Time(Time {
            nanoseconds: time.nanoseconds,
            offset_seconds: time.offset_seconds,
        }),
        Kind::LocalDateTime(time) => Value::LocalDateTime(LocalDateTime {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
        }),
        Kind::DateTime(time) => Value::DateTime(DateTime {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
            offset_seconds: time.offset_seconds,
            zone: (!time.zone.is_empty()).then_some(time.zone),
        }),
        Kind::Duration(duration) => Value::Duration(duration_from(&duration)?),
        Kind::Point(point) => Value::Point(Point {
            srid: point.srid,
            x: point.x,
            y: point.y,
            z: point.z,
        }),
    })
}

fn link(cid: &[u8]) -> Result<VersionCid, Invalid> {
    VersionCid::from_bytes(cid).map_err(|error| Invalid::new("link", error.to_string()))
}

fn duration_from(sent: &v1::Duration) -> Result<Duration, Invalid> {
    Duration::normalised(sent.months, sent.days, sent.seconds, sent.nanoseconds.into())
        .ok_or_else(|| Invalid::new("duration", "has more seconds than fit 64 bits"))
}

/// The properties of an entity as they are sent.
pub fn properties_to(properties: Properties) -> BTreeMap<String, v1::Value> {
    properties
        .into_iter()
        .map(|(key, value)| (key, value_to(value)))
        .collect()
}

fn value_to(value: Value) -> v1::Value {
    let kind = match value {
        Value::Null => Kind::Null(v1::NullValue {}),
        Value::Boolean(boolean) => Kind::Boolean(boolean),
        Value::Integer(integer) => Kind::Integer(integer),
        Value::Float(float) => Kind::Float(float),
        Value::String(string) => Kind::String(string),
        Value::Bytes(bytes) => Kind::Bytes(bytes.into()),
        Value::Link(cid) => Kind::Link(cid.to_bytes().to_vec().into()),
        Value::List(values) => Kind::List(v1::ListValue {
            values: values.into_iter().map(value_to).collect(),
        }),
        Value::Map(entries) => Kind::Map(v1::MapValue {
            entries: properties_to(entries),
        }),
        Value::Date(date) => Kind::Date(date.days),
        Value::LocalTime(time) => Kind::LocalTime(time.nanoseconds),
        Value::Time(time) => Kind::Time(v1::ZonedTime {
            nanoseconds: time.nanoseconds,
            offset_seconds: time.offset_seconds,
        }),
        Value::LocalDateTime(time) => Kind::LocalDateTime(v1::LocalDateTime {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
        }),
        Value::DateTime(time) => Kind::DateTime(v1::ZonedDateTime {
            seconds: time.seconds,
            nanoseconds: time.nanoseconds,
            offset_seconds: time.offset_seconds,
            zone: time.zone.unwrap_or_default(),
        }),
        Value::Duration(duration) => Kind::Duration(v1::Duration {
            months: duration.months,
            days: duration.days,
            seconds: duration.seconds,
            nanoseconds: i32::try_from(duration.nanoseconds).expect("nanoseconds of a duration are below a second"),
        }),
        Value::Point(point) => Kind::Point(v1::Point {
            srid: point.srid,
            x: point.x,
            y: point.y,
            z: point.z,
        }),
    };
    v1::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_comes_back_as_it_was() {
        let cid = VersionCid::of_block(b"block");
        let values = [
            Value::Null,
            Value::from(true),
            Value::from(i64::MIN),
            Value::from(-0.5),
            Value::from("ada"),
            Value::Bytes(vec![0, 255]),
            Value::Link(cid),
            Value::List(vec![Value::from(1), Value::Null]),
            Value::Map(BTreeMap::from([("k".to_owned(), Value::from(2))])),
            Value::Date(Date { days: -1 }),
            Value::LocalTime(LocalTime { nanoseconds: 7 }),
            Value::Time(Time {
                nanoseconds: 7,
                offset_seconds: -3_600,
            }),
            Value::LocalDateTime(LocalDateTime {
                seconds: -5,
                nanoseconds: 1,
            }),
            Value::DateTime(DateTime {
                seconds: 5,
                nanoseconds: 1,
                offset_seconds: 60,
                zone: Some("Europe/Berlin".to_owned()),
            }),
            Value::Duration(Duration::normalised(1, 2, 3, -4).unwrap()),
            Value::Point(Point {
                srid: 4326,
                x: 1.0,
                y: 2.0,
                z: Some(3.0),
            }),
        ];
        for value in values {
            assert_eq!(value_from(value_to(value.clone())), Ok(value));
        }
    }

    #[test]
    fn a_value_without_a_kind_and_one_too_deep_are_refused() {
        assert!(value_from(v1::Value { kind: None }).is_err());
        let mut deep = value_to(Value::Null);
        for _ in 0..=MAX_WIRE_DEPTH {
            deep = v1::Value {
                kind: Some(Kind::List(v1::ListValue { values: vec![deep] })),
            };
        }
        assert!(value_from(deep).is_err());
    }
}
