//! Different values have different bytes: a strict reader gets every value back.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::block::value_bytes;
use super::*;
use crate::id::EntityId;
use crate::value::{Date, DateTime, Duration, LocalDateTime, LocalTime, Point, Properties, Time, Value};

fn floats() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        prop::sample::select(vec![f64::NAN, -f64::NAN, f64::INFINITY, -f64::INFINITY, 0.0, -0.0]),
    ]
}

/// Keys and texts from which special shapes are made, so that look-alikes are frequent.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[$]{0,3}",
        prop::sample::select(vec!["date", "time", "float", "NaN", "point", "a", "aa", "b"]).prop_map(String::from),
        any::<String>(),
    ]
}

fn integers() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -300..300i64, any::<i32>().prop_map(i64::from)]
}

fn scalars() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        integers().prop_map(Value::Integer),
        floats().prop_map(Value::Float),
        texts().prop_map(Value::String),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        any::<[u8; 8]>().prop_map(|block| Value::Link(VersionCid::of_block(&block))),
    ]
}

fn temporals() -> impl Strategy<Value = Value> {
    let moment = || (integers(), 0..1_000_000_000u32);
    let zone = prop::option::of("[A-Z]{1,3}");
    prop_oneof![
        integers().prop_map(|days| Value::Date(Date { days })),
        (0..86_400_000_000_000u64).prop_map(|nanoseconds| Value::LocalTime(LocalTime { nanoseconds })),
        (0..86_400_000_000_000u64, -64_800..=64_800).prop_map(|(nanoseconds, offset_seconds)| {
            Value::Time(Time {
                nanoseconds,
                offset_seconds,
            })
        }),
        moment().prop_map(|(seconds, nanoseconds)| Value::LocalDateTime(LocalDateTime { seconds, nanoseconds })),
        (moment(), -64_800..=64_800, zone).prop_map(|((seconds, nanoseconds), offset_seconds, zone)| Value::DateTime(
            DateTime {
                seconds,
                nanoseconds,
                offset_seconds,
                zone
            }
        )),
        (integers(), integers(), moment()).prop_map(|(months, days, (seconds, nanoseconds))| {
            Value::Duration(Duration {
                months,
                days,
                seconds,
                nanoseconds,
            })
        }),
        (any::<u32>(), floats(), floats(), prop::option::of(floats()))
            .prop_map(|(srid, x, y, z)| Value::Point(Point { srid, x, y, z })),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![scalars(), temporals()].prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::btree_map(texts(), inner.clone(), 0..4).prop_map(Value::Map),
            inner.prop_map(|value| Value::Map(BTreeMap::from([("$".to_owned(), value)]))),
        ]
    })
}

/// One text per value: all NaNs are the same, 0.0 and -0.0 are not.
fn identity(value: &Value) -> String {
    format!("{value:?}")
}

/// A strict reader of the canonical form: it panics on anything that dag-cbor or our form forbids.
struct Reader<'a>(&'a [u8]);

/// What dag-cbor says, before special maps are understood.
#[derive(Debug)]
enum Cbor {
    Plain(Value),
    List(Vec<Cbor>),
    Map(Vec<(String, Cbor)>),
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Vec<u8> {
        let (front, rest) = self.0.split_at(length);
        self.0 = rest;
        front.to_vec()
    }

    fn number(&mut self, low: u8) -> u64 {
        let (bytes, least) = match low {
            0..=23 => return u64::from(low),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            other => panic!("length {other} is not of dag-cbor"),
        };
        let number = self.take(bytes).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        assert!(number >= least, "the shortest form is the only one");
        number
    }

    fn text(&mut self, length: u64) -> String {
        String::from_utf8(self.take(length as usize)).unwrap()
    }

    fn item(&mut self) -> Cbor {
        let first = self.take(1)[0];
        let (major, low) = (first >> 5, first & 31);
        if major == 7 {
            return Cbor::Plain(self.simple(first));
        }
        let number = self.number(low);
        match major {
            0 => Cbor::Plain(Value::Integer(i64::try_from(number).unwrap())),
            1 => Cbor::Plain(Value::Integer(-1 - i64::try_from(number).unwrap())),
            2 => Cbor::Plain(Value::Bytes(self.take(number as usize))),
            3 => Cbor::Plain(Value::String(self.text(number))),
            4 => Cbor::List((0..number).map(|_| self.item()).collect()),
            5 => self.map(number),
            _ => self.link(number),
        }
    }

    fn simple(&mut self, first: u8) -> Value {
        match first {
            0xf4 => Value::Boolean(false),
            0xf5 => Value::Boolean(true),
            0xf6 => Value::Null,
            0xfb => {
                let float = f64::from_be_bytes(self.take(8).try_into().unwrap());
                assert!(float.is_finite());
                Value::Float(float)
            }
            other => panic!("simple value {other:#x} is not of dag-cbor"),
        }
    }

    fn map(&mut self, length: u64) -> Cbor {
        let entries: Vec<(String, Cbor)> = (0..length)
            .map(|_| match self.item() {
                Cbor::Plain(Value::String(key)) => (key, self.item()),
                other => panic!("a key is not text: {other:?}"),
            })
            .collect();
        let order = |key: &str| (key.len(), key.to_owned());
        assert!(entries.is_sorted_by(|a, b| order(&a.0) < order(&b.0)));
        Cbor::Map(entries)
    }

    fn link(&mut self, tag: u64) -> Cbor {
        assert_eq!(tag, 42);
        match self.item() {
            Cbor::Plain(Value::Bytes(bytes)) => {
                assert_eq!(bytes[0], 0);
                Cbor::Plain(Value::Link(VersionCid::from_bytes(&bytes[1..]).unwrap()))
            }
            other => panic!("a link is not bytes: {other:?}"),
        }
    }
}

fn understood(cbor: Cbor) -> Value {
    match cbor {
        Cbor::Plain(value) => value,
        Cbor::List(items) => Value::List(items.into_iter().map(understood).collect()),
        Cbor::Map(mut entries) => {
            if let [(key, _)] = entries.as_mut_slice()
                && !key.is_empty()
                && key.bytes().all(|byte| byte == b'$')
            {
                key.pop();
                if key.is_empty() {
                    return special(entries.remove(0).1);
                }
            }
            let entries = entries.into_iter();
            Value::Map(entries.map(|(key, item)| (key, understood(item))).collect())
        }
    }
}

fn special(cbor: Cbor) -> Value {
    let Value::List(fields) = understood(cbor) else {
        panic!("a special value is a list")
    };
    let Value::String(name) = &fields[0] else {
        panic!("a special value starts with its name")
    };
    let integer = |at: usize| match fields[at] {
        Value::Integer(integer) => integer,
        _ => panic!("field {at} of {name} is no integer"),
    };
    let float = |at: usize| match fields[at] {
        Value::Float(float) => float,
        _ => panic!("field {at} of {name} is no float"),
    };
    let text = |at: usize| match &fields[at] {
        Value::String(text) => text.clone(),
        _ => panic!("field {at} of {name} is no text"),
    };
    match (name.as_str(), fields.len()) {
        ("float", 2) => Value::Float(match text(1).as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            other => panic!("float {other} is finite"),
        }),
        ("date", 2) => Value::Date(Date { days: integer(1) }),
        ("local_time", 2) => Value::LocalTime(LocalTime {
            nanoseconds: integer(1) as u64,
        }),
        ("time", 3) => Value::Time(Time {
            nanoseconds: integer(1) as u64,
            offset_seconds: integer(2) as i32,
        }),
        ("local_date_time", 3) => Value::LocalDateTime(LocalDateTime {
            seconds: integer(1),
            nanoseconds: integer(2) as u32,
        }),
        ("date_time", 4 | 5) => Value::DateTime(DateTime {
            seconds: integer(1),
            nanoseconds: integer(2) as u32,
            offset_seconds: integer(3) as i32,
            zone: (fields.len() == 5).then(|| text(4)),
        }),
        ("duration", 5) => Value::Duration(Duration {
            months: integer(1),
            days: integer(2),
            seconds: integer(3),
            nanoseconds: integer(4) as u32,
        }),
        ("point", 4 | 5) => Value::Point(Point {
            srid: integer(1) as u32,
            x: float(2),
            y: float(3),
            z: (fields.len() == 5).then(|| float(4)),
        }),
        (other, length) => panic!("special value {other} of {length} fields"),
    }
}

proptest! {
    #[test]
    fn a_strict_reader_gets_every_value_back(value in values()) {
        let bytes = value_bytes(&value);
        let mut reader = Reader(&bytes);
        let read = understood(reader.item());
        prop_assert_eq!(reader.0.len(), 0);
        prop_assert_eq!(identity(&read), identity(&value));
    }

    #[test]
    fn different_values_have_different_bytes(a in values(), b in values()) {
        prop_assert_eq!(value_bytes(&a) == value_bytes(&b), identity(&a) == identity(&b));
    }

    #[test]
    fn a_cid_comes_back_from_bytes_and_from_text(block in any::<Vec<u8>>()) {
        let cid = VersionCid::of_block(&block);
        prop_assert_eq!(VersionCid::from_bytes(&cid.to_bytes()), Ok(cid));
        prop_assert_eq!(cid.to_string().parse(), Ok(cid));
    }
}

#[test]
fn a_map_of_the_user_that_looks_special_has_other_bytes() {
    let single = |key: &str, value| Value::Map(BTreeMap::from([(key.to_owned(), value)]));
    let fields = || Value::List(vec![Value::from("date"), Value::from(1)]);
    let alike = [
        Value::Date(Date { days: 1 }),
        single("$", fields()),
        single("$$", fields()),
        single("$", single("$", fields())),
        single("$", Value::Date(Date { days: 1 })),
        fields(),
    ];
    let distinct: BTreeSet<Vec<u8>> = alike.iter().map(value_bytes).collect();
    assert_eq!(distinct.len(), alike.len());
}

#[test]
fn the_same_content_under_another_id_is_another_version() {
    let (a, b) = (EntityId::for_node(1), EntityId::for_node(2));
    let block = |id| node_block(id, &BTreeSet::new(), &Properties::new());
    assert_ne!(VersionCid::of_block(&block(a)), VersionCid::of_block(&block(b)));
}

#[test]
fn ids_of_other_codecs_hashes_or_lengths_are_refused() {
    let good = VersionCid::of_block(b"block").to_bytes();
    for at in 0..PREFIX.len() {
        let mut other = good;
        other[at] ^= 1;
        assert_eq!(VersionCid::from_bytes(&other), Err(Error::Prefix));
    }
    assert_eq!(VersionCid::from_bytes(&good[..35]), Err(Error::Length(35)));
    let text = VersionCid::from_bytes(&good).unwrap().to_string();
    assert_eq!(text.to_uppercase().parse::<VersionCid>(), Err(Error::Text));
    assert_eq!(text[1..].parse::<VersionCid>(), Err(Error::Text));
}
