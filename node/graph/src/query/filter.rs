//! Property filters: what must hold of an entity's properties for it to become a row, or to be followed.
//!
//! A filter holds only where openCypher's comparison is true: a missing property, a null or values of types that have
//! no common order make it not hold, so `<>` is not the opposite of `=` there.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::record::NodeRecord;
use crate::value::{Properties, Value};

/// One condition on one property.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    pub key: String,
    pub test: Test,
}

/// What must hold of the property's value. The order of the variants is part of the cursor's format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test {
    Equal(Value),
    NotEqual(Value),
    Less(Value),
    LessOrEqual(Value),
    Greater(Value),
    GreaterOrEqual(Value),
    /// Equal to one of these.
    In(Vec<Value>),
    Exists,
    Missing,
    /// A text that begins so.
    StartsWith(String),
}

impl Filter {
    pub fn new(key: impl Into<String>, test: Test) -> Self {
        Filter { key: key.into(), test }
    }

    /// Whether it holds of these properties.
    pub fn holds(&self, properties: &Properties) -> bool {
        let found = properties.get(&self.key).filter(|value| **value != Value::Null);
        match found {
            Some(value) => self.test.holds(value),
            None => self.test == Test::Missing,
        }
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        let is = |bound: &Value, accept: fn(Ordering) -> bool| value.compared(bound).is_some_and(accept);
        match self {
            Test::Equal(wanted) => value.equals(wanted),
            Test::NotEqual(unwanted) => value.same(unwanted) == Some(false),
            Test::Less(bound) => is(bound, Ordering::is_lt),
            Test::LessOrEqual(bound) => is(bound, Ordering::is_le),
            Test::Greater(bound) => is(bound, Ordering::is_gt),
            Test::GreaterOrEqual(bound) => is(bound, Ordering::is_ge),
            Test::In(wanted) => wanted.iter().any(|wanted| value.equals(wanted)),
            Test::Exists => true,
            Test::Missing => false,
            Test::StartsWith(prefix) => matches!(value, Value::String(text) if text.starts_with(prefix.as_str())),
        }
    }
}

/// Whether all filters hold.
pub fn all_hold(filters: &[Filter], properties: &Properties) -> bool {
    filters.iter().all(|filter| filter.holds(properties))
}

/// Which nodes: those that have all these labels and for which all filters hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFilter {
    pub labels: BTreeSet<String>,
    pub filters: Vec<Filter>,
}

impl NodeFilter {
    pub fn accepts(&self, record: &NodeRecord) -> bool {
        self.labels.is_subset(&record.labels) && all_hold(&self.filters, &record.properties)
    }

    /// Whether it accepts every node.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.filters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(value: Value, test: Test) -> bool {
        let properties = Properties::from([("p".to_owned(), value)]);
        Filter::new("p", test).holds(&properties)
    }

    #[test]
    fn comparisons_hold_only_where_they_are_true() {
        let five = || Value::from(5);
        assert!(holds(five(), Test::Less(Value::from(5.5))));
        assert!(!holds(five(), Test::Less(five())) && holds(five(), Test::LessOrEqual(five())));
        assert!(holds(five(), Test::GreaterOrEqual(Value::from(5.0))));
        assert!(!holds(five(), Test::Greater(five())));
        assert!(holds(Value::from("b"), Test::Greater(Value::from("a"))));
        for test in [Test::Less, Test::LessOrEqual, Test::Greater, Test::GreaterOrEqual] {
            assert!(!holds(five(), test(Value::from("5"))));
            assert!(!holds(five(), test(Value::Null)));
            assert!(!holds(Value::from(f64::NAN), test(five())));
        }
    }

    #[test]
    fn another_type_is_not_equal_but_null_and_missing_are_neither() {
        assert!(holds(Value::from(5), Test::NotEqual(Value::from("5"))));
        assert!(!holds(Value::from(5), Test::NotEqual(Value::from(5.0))));
        assert!(holds(Value::from(f64::NAN), Test::NotEqual(Value::from(f64::NAN))));
        assert!(!holds(Value::from(5), Test::NotEqual(Value::Null)));
        let missing = Filter::new("q", Test::NotEqual(Value::from(1)));
        assert!(!missing.holds(&Properties::new()));
    }

    #[test]
    fn lists_prefixes_and_presence() {
        let some = || Test::In(vec![Value::from("a"), Value::from(5.0), Value::Null]);
        assert!(holds(Value::from(5), some()) && holds(Value::from("a"), some()));
        assert!(!holds(Value::from(6), some()));
        assert!(holds(Value::from("Ada"), Test::StartsWith("Ad".into())));
        assert!(!holds(Value::from(5), Test::StartsWith(String::new())));
        assert!(holds(Value::from(5), Test::Exists) && !holds(Value::from(5), Test::Missing));
        let absent = |test| Filter::new("q", test).holds(&Properties::new());
        assert!(absent(Test::Missing) && !absent(Test::Exists));
    }
}
