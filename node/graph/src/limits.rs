//! What one node or edge may hold, and the one place that checks it.
//!
//! A value that passes here can be hashed, stored and sent by every other part without a further check.

use std::collections::BTreeSet;

use crate::value::{
    DateTime, Duration, MAX_DAYS, MAX_OFFSET_SECONDS, MAX_SECONDS, NANOSECONDS_PER_DAY, NANOSECONDS_PER_SECOND,
    Properties, Value,
};

/// A whole entity in its canonical form. It bounds log entries, messages and the memory of a page.
pub const MAX_ENTITY_BYTES: usize = 1 << 20;
/// One string or byte array; larger ones belong into an object store, with a link here.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// Elements of one list, or entries of one map.
pub const MAX_ELEMENTS: usize = 65_536;
/// Lists and maps inside each other; it bounds the stack that reading and hashing a value need.
pub const MAX_DEPTH: usize = 32;
/// A property key, a map key, a label or an edge type, in bytes of UTF-8; names are part of index keys.
pub const MAX_NAME_BYTES: usize = 256;
/// Labels of one node; each is one more index key in its transaction.
pub const MAX_LABELS: usize = 64;
/// Properties of one entity.
pub const MAX_PROPERTIES: usize = 1_024;

/// A node, an edge or a value breaks a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("property {property} {fault}")]
    Property { property: String, fault: Fault },
    #[error("{subject} {name} has {bytes} bytes: give it 1 to {MAX_NAME_BYTES}")]
    Name {
        subject: Subject,
        name: String,
        bytes: usize,
    },
    #[error("a node has {0} labels: give it at most {MAX_LABELS}")]
    Labels(usize),
    #[error("an entity has {0} properties: give it at most {MAX_PROPERTIES}")]
    Properties(usize),
    #[error("the entity takes {0} bytes, more than {MAX_ENTITY_BYTES}: keep large content outside and link to it")]
    Entity(usize),
}

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    PropertyKey,
    Label,
    EdgeType,
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Subject::PropertyKey => "property key",
            Subject::Label => "label",
            Subject::EdgeType => "edge type",
        })
    }
}

/// What is wrong with one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("holds {0} bytes of text or bytes: give it at most {MAX_TEXT_BYTES}")]
    Text(usize),
    #[error("has a list or map of {0} elements: give it at most {MAX_ELEMENTS}")]
    Elements(usize),
    #[error("nests lists and maps deeper than {MAX_DEPTH}")]
    Depth,
    #[error("has a map key of {0} bytes: give it 1 to {MAX_NAME_BYTES}")]
    MapKey(usize),
    #[error("has a date outside the years -999,999,999 to 999,999,999")]
    Date,
    #[error("has a time of day that is not below 24 hours")]
    TimeOfDay,
    #[error("has nanoseconds that are not below one second")]
    Nanoseconds,
    #[error("has an offset of more than 18 hours from UTC")]
    Offset,
    #[error("has a zone name of {0} bytes: give it 1 to {MAX_NAME_BYTES}, or none")]
    Zone(usize),
}

/// Checks all that a node holds, but for its size as a whole, which [`check_size`] does on the canonical form.
pub fn check_node(labels: &BTreeSet<String>, properties: &Properties) -> Result<(), Error> {
    if labels.len() > MAX_LABELS {
        return Err(Error::Labels(labels.len()));
    }
    for label in labels {
        check_name(Subject::Label, label)?;
    }
    check_properties(properties)
}

/// Checks all that an edge holds, but for its size as a whole.
pub fn check_edge(edge_type: &str, properties: &Properties) -> Result<(), Error> {
    check_name(Subject::EdgeType, edge_type)?;
    check_properties(properties)
}

/// Checks the length of a canonical block.
pub fn check_size(block: &[u8]) -> Result<(), Error> {
    if block.len() > MAX_ENTITY_BYTES {
        return Err(Error::Entity(block.len()));
    }
    Ok(())
}

/// Checks the length of a name.
pub fn check_name(subject: Subject, name: &str) -> Result<(), Error> {
    if !name_fits(name) {
        return Err(Error::Name {
            subject,
            name: shortened(name),
            bytes: name.len(),
        });
    }
    Ok(())
}

/// Checks properties with their keys.
pub fn check_properties(properties: &Properties) -> Result<(), Error> {
    if properties.len() > MAX_PROPERTIES {
        return Err(Error::Properties(properties.len()));
    }
    for (key, value) in properties {
        check_property(key, value)?;
    }
    Ok(())
}

/// Checks one property.
pub fn check_property(key: &str, value: &Value) -> Result<(), Error> {
    check_name(Subject::PropertyKey, key)?;
    check_value(value, 0).map_err(|fault| Error::Property {
        property: key.to_owned(),
        fault,
    })
}

fn name_fits(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
}

/// Enough of a name to find it again; a message must not carry a megabyte.
fn shortened(name: &str) -> String {
    name.chars().take(32).collect()
}

fn check_value(value: &Value, depth: usize) -> Result<(), Fault> {
    match value {
        Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => Ok(()),
        Value::Link(_) | Value::Point(_) => Ok(()),
        Value::String(text) => ensure(text.len() <= MAX_TEXT_BYTES, Fault::Text(text.len())),
        Value::Bytes(bytes) => ensure(bytes.len() <= MAX_TEXT_BYTES, Fault::Text(bytes.len())),
        Value::List(values) => {
            check_container(values.len(), depth)?;
            values.iter().try_for_each(|value| check_value(value, depth + 1))
        }
        Value::Map(entries) => {
            check_container(entries.len(), depth)?;
            entries.iter().try_for_each(|(key, value)| {
                ensure(name_fits(key), Fault::MapKey(key.len()))?;
                check_value(value, depth + 1)
            })
        }
        Value::Date(date) => ensure(date.days.unsigned_abs() <= MAX_DAYS as u64, Fault::Date),
        Value::LocalTime(time) => check_time_of_day(time.nanoseconds),
        Value::Time(time) => {
            check_time_of_day(time.nanoseconds)?;
            check_offset(time.offset_seconds)
        }
        Value::LocalDateTime(moment) => check_moment(moment.seconds, moment.nanoseconds),
        Value::DateTime(moment) => check_date_time(moment),
        Value::Duration(Duration { nanoseconds, .. }) => check_nanoseconds(*nanoseconds),
    }
}

fn ensure(holds: bool, fault: Fault) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(fault) }
}

fn check_container(elements: usize, depth: usize) -> Result<(), Fault> {
    ensure(depth < MAX_DEPTH, Fault::Depth)?;
    ensure(elements <= MAX_ELEMENTS, Fault::Elements(elements))
}

fn check_time_of_day(nanoseconds: u64) -> Result<(), Fault> {
    ensure(nanoseconds < NANOSECONDS_PER_DAY, Fault::TimeOfDay)
}

fn check_offset(offset_seconds: i32) -> Result<(), Fault> {
    let within = -MAX_OFFSET_SECONDS..=MAX_OFFSET_SECONDS;
    ensure(within.contains(&offset_seconds), Fault::Offset)
}

fn check_nanoseconds(nanoseconds: u32) -> Result<(), Fault> {
    ensure(nanoseconds < NANOSECONDS_PER_SECOND, Fault::Nanoseconds)
}

fn check_moment(seconds: i64, nanoseconds: u32) -> Result<(), Fault> {
    ensure((-MAX_SECONDS..=MAX_SECONDS).contains(&seconds), Fault::Date)?;
    check_nanoseconds(nanoseconds)
}

fn check_date_time(moment: &DateTime) -> Result<(), Fault> {
    check_moment(moment.seconds, moment.nanoseconds)?;
    check_offset(moment.offset_seconds)?;
    match &moment.zone {
        Some(zone) => ensure(name_fits(zone), Fault::Zone(zone.len())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::value::{Date, LocalTime, Time};

    fn fault_of(value: Value) -> Option<Fault> {
        match check_property("p", &value) {
            Ok(()) => None,
            Err(Error::Property { property, fault }) => {
                assert_eq!(property, "p");
                Some(fault)
            }
            Err(other) => panic!("not a fault of a value: {other}"),
        }
    }

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]))
    }

    #[test]
    fn values_at_the_limit_pass_and_above_it_are_refused() {
        let text = |bytes| Value::String("x".repeat(bytes));
        let list = |elements| Value::List(vec![Value::Null; elements]);
        let time = |nanoseconds| Value::LocalTime(LocalTime { nanoseconds });
        let date = |days| Value::Date(Date { days });
        let offset = |offset_seconds| {
            Value::Time(Time {
                nanoseconds: 0,
                offset_seconds,
            })
        };
        let cases = [
            (text(1 << 20), text((1 << 20) + 1), Fault::Text((1 << 20) + 1)),
            (list(65_536), list(65_537), Fault::Elements(65_537)),
            (nested(32), nested(33), Fault::Depth),
            (
                time(NANOSECONDS_PER_DAY - 1),
                time(NANOSECONDS_PER_DAY),
                Fault::TimeOfDay,
            ),
            (date(-MAX_DAYS), date(i64::MIN), Fault::Date),
            (offset(-64_800), offset(64_801), Fault::Offset),
        ];
        for (largest, too_large, fault) in cases {
            assert_eq!(fault_of(largest), None);
            assert_eq!(fault_of(too_large), Some(fault));
        }
    }

    #[test]
    fn names_of_all_kinds_are_1_to_256_bytes() {
        let long = "é".repeat(129);
        for name in ["", &long] {
            let properties = Properties::from([(name.to_owned(), Value::Null)]);
            assert!(check_properties(&properties).is_err());
            assert!(check_node(&BTreeSet::from([name.to_owned()]), &BTreeMap::new()).is_err());
            assert!(check_edge(name, &BTreeMap::new()).is_err());
            let map = Value::Map(properties);
            assert_eq!(fault_of(map), Some(Fault::MapKey(name.len())));
        }
        assert_eq!(check_edge(&"é".repeat(128), &BTreeMap::new()), Ok(()));
    }

    #[test]
    fn a_message_names_the_property_and_the_limit() {
        let error = check_property("photo", &Value::Bytes(vec![0; 2 << 20])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "property photo holds 2097152 bytes of text or bytes: give it at most 1048576"
        );
    }

    #[test]
    fn counts_of_labels_and_properties_are_bounded() {
        let numbered = |count: usize| (0..count).map(|number| number.to_string());
        let labels: BTreeSet<String> = numbered(65).collect();
        assert_eq!(check_node(&labels, &BTreeMap::new()), Err(Error::Labels(65)));
        let properties: Properties = numbered(1_025).map(|key| (key, Value::Null)).collect();
        assert_eq!(check_properties(&properties), Err(Error::Properties(1_025)));
    }
}
