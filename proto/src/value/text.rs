//! Values from text with a named type: what a person types (`age:int=36`) and what a CSV cell holds.
//!
//! One vocabulary for both; a type's aliases are those of neo4j-admin's headers.

use std::fmt;
use std::str::FromStr;

use super::{calendar, from_json};
use crate::v1::Value;
use crate::v1::value::Kind;

/// How to read a text as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    String,
    Integer,
    Float,
    Boolean,
    Null,
    /// Hexadecimal digits.
    Bytes,
    Date,
    LocalTime,
    Time,
    LocalDateTime,
    DateTime,
    /// Any JSON: null, booleans, numbers, strings, lists, maps.
    Json,
    /// Elements of one type between separators; the empty text is the empty list.
    List(Box<ValueType>),
}

/// The text is no value of the type, or the type is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseValueError {
    #[error("{text:?} is not {expected}")]
    Value { text: String, expected: &'static str },
    #[error("{text:?} is not JSON: {reason}")]
    Json { text: String, reason: String },
    #[error(
        "type {name:?} is not known; known are string, int, float, bool, null, bytes, date, localtime, time, \
         localdatetime, datetime, json, and each with [] for a list"
    )]
    Type { name: String },
}

impl FromStr for ValueType {
    type Err = ParseValueError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if let Some(element) = name.strip_suffix("[]") {
            return match element.parse()? {
                ValueType::List(_) => Err(ParseValueError::Type { name: name.into() }),
                element => Ok(ValueType::List(Box::new(element))),
            };
        }
        Ok(match name {
            "string" | "char" => ValueType::String,
            "int" | "integer" | "long" | "short" | "byte" => ValueType::Integer,
            "float" | "double" => ValueType::Float,
            "bool" | "boolean" => ValueType::Boolean,
            "null" => ValueType::Null,
            "bytes" => ValueType::Bytes,
            "date" => ValueType::Date,
            "localtime" => ValueType::LocalTime,
            "time" => ValueType::Time,
            "localdatetime" => ValueType::LocalDateTime,
            "datetime" => ValueType::DateTime,
            "json" => ValueType::Json,
            _ => return Err(ParseValueError::Type { name: name.into() }),
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::String => "string",
            ValueType::Integer => "int",
            ValueType::Float => "float",
            ValueType::Boolean => "bool",
            ValueType::Null => "null",
            ValueType::Bytes => "bytes",
            ValueType::Date => "date",
            ValueType::LocalTime => "localtime",
            ValueType::Time => "time",
            ValueType::LocalDateTime => "localdatetime",
            ValueType::DateTime => "datetime",
            ValueType::Json => "json",
            ValueType::List(element) => return write!(f, "{element}[]"),
        })
    }
}

impl ValueType {
    /// Reads `text` as a value of this type; `separator` divides the elements of a list.
    pub fn parse(&self, text: &str, separator: char) -> Result<Value, ParseValueError> {
        match self {
            ValueType::List(element) if text.is_empty() => {
                debug_assert!(!matches!(**element, ValueType::List(_)), "lists do not nest");
                Ok(Value::list([]))
            }
            ValueType::List(element) => {
                let elements = text.split(separator).map(|part| element.scalar(part));
                Ok(Value::list(elements.collect::<Result<Vec<_>, _>>()?))
            }
            scalar => scalar.scalar(text),
        }
    }

    fn scalar(&self, text: &str) -> Result<Value, ParseValueError> {
        if *self == ValueType::Json {
            return json(text);
        }
        let kind = match self {
            ValueType::String => Some(Kind::String(text.to_owned())),
            ValueType::Integer => text.parse().ok().map(Kind::Integer),
            ValueType::Float => text.parse().ok().map(Kind::Float),
            ValueType::Boolean => boolean(text).map(Kind::Boolean),
            ValueType::Null => text.is_empty().then(|| Kind::Null(crate::v1::NullValue {})),
            ValueType::Bytes => hex(text).map(|bytes| Kind::Bytes(bytes.into())),
            ValueType::Date => calendar::parse_date(text).map(Kind::Date),
            ValueType::LocalTime => calendar::parse_local_time(text).map(Kind::LocalTime),
            ValueType::Time => calendar::parse_time(text).map(Kind::Time),
            ValueType::LocalDateTime => calendar::parse_local_date_time(text).map(Kind::LocalDateTime),
            ValueType::DateTime => calendar::parse_date_time(text).map(Kind::DateTime),
            ValueType::Json | ValueType::List(_) => None,
        };
        kind.map(Value::from).ok_or_else(|| ParseValueError::Value {
            text: text.to_owned(),
            expected: self.expected(),
        })
    }

    fn expected(&self) -> &'static str {
        match self {
            ValueType::String => "a string",
            ValueType::Integer => "a 64-bit integer",
            ValueType::Float => "a number",
            ValueType::Boolean => "true or false",
            ValueType::Null => "empty, as the value of a null is",
            ValueType::Bytes => "an even number of hexadecimal digits",
            ValueType::Date => "a date such as 2024-02-29",
            ValueType::LocalTime => "a time such as 13:45:09",
            ValueType::Time => "a time with offset such as 13:45:09+02:00",
            ValueType::LocalDateTime => "a date and time such as 2024-02-29T13:45:09",
            ValueType::DateTime => "a date and time with offset such as 2024-02-29T13:45:09Z",
            ValueType::Json => "JSON",
            ValueType::List(_) => "a list",
        }
    }
}

fn json(text: &str) -> Result<Value, ParseValueError> {
    match serde_json::from_str(text) {
        Ok(json) => Ok(from_json(json)),
        Err(error) => Err(ParseValueError::Json {
            text: text.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let plain = text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then_some(())?;
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Result<Value, ParseValueError> {
        name.parse::<ValueType>()?.parse(text, ';')
    }

    #[test]
    fn each_type_reads_its_own_text() {
        assert_eq!(parse("string", "36"), Ok("36".into()));
        assert_eq!(parse("int", "-36"), Ok((-36).into()));
        assert_eq!(parse("long", "9223372036854775807"), Ok(i64::MAX.into()));
        assert_eq!(parse("double", "1e3"), Ok(1000.0.into()));
        assert_eq!(parse("boolean", "true"), Ok(true.into()));
        assert_eq!(parse("null", ""), Ok(Value::null()));
        assert_eq!(parse("bytes", "00Ff"), Ok(bytes::Bytes::from_static(&[0, 255]).into()));
        assert_eq!(parse("date", "1970-01-02"), Ok(Kind::Date(1).into()));
        let nested = Value::map([("a".into(), Value::list([1.into(), Value::null()]))]);
        assert_eq!(parse("json", r#"{"a":[1,null]}"#), Ok(nested));
    }

    #[test]
    fn lists_are_split_and_each_element_is_read() {
        assert_eq!(parse("int[]", "1;2"), Ok(vec![1, 2].into()));
        assert_eq!(parse("string[]", ""), Ok(Value::list([])));
        assert_eq!(parse("string[]", "a;;b"), Ok(vec!["a", "", "b"].into()));
        assert!(parse("int[]", "1;x").is_err());
    }

    #[test]
    fn an_error_says_what_was_expected() {
        let text = parse("int", "3.5").unwrap_err().to_string();
        assert_eq!(text, r#""3.5" is not a 64-bit integer"#);
        let text = parse("colour", "red").unwrap_err().to_string();
        assert!(text.contains("colour") && text.contains("localdatetime"), "{text}");
        for (name, wrong) in [
            ("bool", "yes"),
            ("bytes", "abc"),
            ("bytes", "+1"),
            ("null", "x"),
            ("json", "{"),
            ("int[][]", ""),
        ] {
            assert!(parse(name, wrong).is_err(), "{name} {wrong}");
        }
    }

    #[test]
    fn type_names_print_as_they_are_read() {
        for name in [
            "string",
            "int",
            "float",
            "bool",
            "null",
            "bytes",
            "date",
            "localtime",
            "time",
            "localdatetime",
            "datetime",
            "json",
            "int[]",
        ] {
            assert_eq!(name.parse::<ValueType>().unwrap().to_string(), name);
        }
    }
}
