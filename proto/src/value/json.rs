//! Values to JSON, for programs that read our output, and from JSON, for values typed by a person.
//!
//! The way out is one way: dates, bytes and links become strings, since JSON has no such types; numbers that JSON cannot hold too.

use std::collections::BTreeMap;

use serde_json::{Number, json};

use super::{Value, calendar};
use crate::ContentId;
use crate::v1::Point;
use crate::v1::value::Kind;

/// Turns any JSON into a value. Numbers without fraction that fit become integers, all others floats.
pub fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::null(),
        serde_json::Value::Bool(value) => value.into(),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map(Value::from)
            .unwrap_or_else(|| number.as_f64().into()),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(values) => Value::list(values.into_iter().map(from_json)),
        serde_json::Value::Object(entries) => {
            Value::map(entries.into_iter().map(|(key, value)| (key, from_json(value))))
        }
    }
}

/// Prints a value as JSON; temporal values in ISO 8601, bytes in hexadecimal digits, links as CID text.
pub fn to_json(value: &Value) -> serde_json::Value {
    let Some(kind) = &value.kind else {
        return serde_json::Value::Null;
    };
    match kind {
        Kind::Null(_) => serde_json::Value::Null,
        Kind::Boolean(value) => json!(value),
        Kind::Integer(value) => json!(value),
        Kind::Float(value) => float(*value),
        Kind::String(text) => json!(text),
        Kind::Bytes(bytes) => json!(hex(bytes)),
        Kind::Link(bytes) => json!(ContentId::from(bytes.clone()).to_string()),
        Kind::List(list) => list.values.iter().map(to_json).collect(),
        Kind::Map(map) => properties_to_json(&map.entries),
        Kind::Date(days) => json!(calendar::date(*days)),
        Kind::LocalTime(nanoseconds) => json!(calendar::local_time(*nanoseconds)),
        Kind::Time(time) => json!(calendar::time(time)),
        Kind::LocalDateTime(value) => json!(calendar::local_date_time(value)),
        Kind::DateTime(value) => json!(calendar::date_time(value)),
        Kind::Duration(value) => json!(calendar::duration(value)),
        Kind::Point(point) => point_to_json(point),
    }
}

fn properties_to_json(entries: &BTreeMap<String, Value>) -> serde_json::Value {
    let pairs = entries.iter().map(|(key, value)| (key.clone(), to_json(value)));
    serde_json::Value::Object(pairs.collect())
}

fn float(value: f64) -> serde_json::Value {
    match Number::from_f64(value) {
        Some(number) => serde_json::Value::Number(number),
        None => json!(value.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn point_to_json(point: &Point) -> serde_json::Value {
    match point.z {
        Some(z) => json!({"srid": point.srid, "x": point.x, "y": point.y, "z": z}),
        None => json!({"srid": point.srid, "x": point.x, "y": point.y}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_can_say_comes_back_the_same() {
        let text = r#"{"a":null,"b":true,"c":[1,-2.5,"x"],"d":{"e":9007199254740993}}"#;
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(to_json(&from_json(json.clone())), json);
    }

    #[test]
    fn what_json_cannot_say_becomes_a_string() {
        let cases = [
            (f64::NAN.into(), json!("NaN")),
            (f64::NEG_INFINITY.into(), json!("-inf")),
            (Kind::Date(0).into(), json!("1970-01-01")),
            (bytes::Bytes::from_static(&[1, 255]).into(), json!("01ff")),
            (Value { kind: None }, json!(null)),
        ];
        for (value, expected) in cases {
            assert_eq!(to_json(&value), expected);
        }
    }

    #[test]
    fn a_whole_number_too_large_for_an_integer_becomes_a_float() {
        let value = from_json(json!(u64::MAX));
        assert_eq!(value.kind, Some(Kind::Float(u64::MAX as f64)));
    }
}
