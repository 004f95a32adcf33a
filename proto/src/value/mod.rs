//! Property values as they travel, made from Rust values, from text and from JSON, and printed again.
//!
//! Nothing here decides what a value means in a query or how it is hashed; that is `kotoba-graph`'s.

mod calendar;
mod json;
mod text;

use std::collections::BTreeMap;

use bytes::Bytes;

pub use calendar::date_time as date_time_text;
pub use json::{from_json, to_json};
pub use text::{ParseValueError, ValueType};

use crate::ContentId;
use crate::v1::value::Kind;
use crate::v1::{ListValue, MapValue, NullValue, Value};

/// Properties of a node or an edge, as the messages hold them.
pub type Properties = BTreeMap<String, Value>;

impl Value {
    pub const fn null() -> Self {
        Value {
            kind: Some(Kind::Null(NullValue {})),
        }
    }

    pub fn list(values: impl IntoIterator<Item = Value>) -> Self {
        let values = values.into_iter().collect();
        Kind::List(ListValue { values }).into()
    }

    pub fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        let entries = entries.into_iter().collect();
        Kind::Map(MapValue { entries }).into()
    }
}

macro_rules! reads {
    ($($name:ident -> $rust:ty: $pattern:pat => $read:expr;)*) => {
        /// What it holds, if it is of that kind; no kind is converted into another.
        impl Value {$(
            pub fn $name(&self) -> Option<$rust> {
                if let Some($pattern) = &self.kind { Some($read) } else { None }
            }
        )*}
    };
}

reads! {
    as_boolean -> bool: Kind::Boolean(value) => *value;
    as_integer -> i64: Kind::Integer(value) => *value;
    as_float -> f64: Kind::Float(value) => *value;
    as_str -> &str: Kind::String(value) => value;
    as_bytes -> &[u8]: Kind::Bytes(value) => value;
    as_list -> &[Value]: Kind::List(list) => &list.values;
    as_map -> &BTreeMap<String, Value>: Kind::Map(map) => &map.entries;
}

impl From<Kind> for Value {
    fn from(kind: Kind) -> Self {
        Value { kind: Some(kind) }
    }
}

macro_rules! from_scalar {
    ($($rust:ty => $kind:ident),* $(,)?) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Self {
                Kind::$kind(value.into()).into()
            }
        }
    )*};
}

from_scalar! {
    bool => Boolean,
    i32 => Integer,
    u32 => Integer,
    i64 => Integer,
    f32 => Float,
    f64 => Float,
    &str => String,
    String => String,
    Bytes => Bytes,
}

impl From<ContentId> for Value {
    fn from(id: ContentId) -> Self {
        Kind::Link(id.into_bytes()).into()
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Value::list(values.into_iter().map(Into::into))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::null(), Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_what_it_is_and_as_nothing_else() {
        assert_eq!(Value::from(7).as_integer(), Some(7));
        assert_eq!(Value::from(7).as_float(), None);
        assert_eq!(Value::from("a").as_str(), Some("a"));
        assert_eq!(
            Value::from(vec![1]).as_list().map(<[Value]>::to_vec),
            Some(vec![1.into()])
        );
        assert_eq!(Value::null().as_boolean(), None);
    }

    #[test]
    fn rust_values_become_the_kind_of_the_same_name() {
        assert_eq!(Value::from(true).kind, Some(Kind::Boolean(true)));
        assert_eq!(Value::from(7u32).kind, Some(Kind::Integer(7)));
        assert_eq!(Value::from("a").kind, Some(Kind::String("a".into())));
        assert_eq!(Value::from(None::<i64>), Value::null());
        assert_eq!(Value::from(vec![1, 2]), Value::list([1.into(), 2.into()]));
    }
}
