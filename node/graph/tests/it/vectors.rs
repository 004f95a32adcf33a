//! Content ids are for ever: the file says the value, its canonical bytes and its id.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use kotoba_graph::cid::{VersionCid, edge_block, node_block};
use kotoba_graph::id::EntityId;
use kotoba_graph::key::printable;
use kotoba_graph::value::{Date, DateTime, Duration, LocalDateTime, LocalTime, Point, Properties, Time, Value};

const VECTORS: &str = include_str!("../vectors/cid.txt");

#[test]
fn content_ids_are_frozen() {
    // The header of the file is for people; the vectors start at the first blank line.
    let (_, expected) = VECTORS.split_once("\n\n").unwrap();
    pretty_lines_equal(&rendered(), expected);
}

fn pretty_lines_equal(found: &str, expected: &str) {
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found, expected);
}

fn rendered() -> String {
    let mut text = String::new();
    let id = EntityId::for_node(1);
    for (name, value) in values() {
        let properties = Properties::from([("p".to_owned(), value)]);
        render_node(&mut text, name, id, &[], properties);
    }
    render_node(&mut text, "empty node", id, &[], Properties::new());
    render_node(
        &mut text,
        "labels and properties",
        id,
        &["Person", "Ä", "Admin"],
        person(),
    );
    render_node(&mut text, "property named $", id, &[], single("$", Value::from(1)));
    render_edge(&mut text, "edge", EntityId::for_node(2), person());
    render_edge(&mut text, "self loop", id, Properties::new());
    text.trim_end().to_owned() + "\n"
}

fn render_node(text: &mut String, name: &str, id: EntityId, labels: &[&str], properties: Properties) {
    let labels: BTreeSet<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    let block = node_block(id, &labels, &properties);
    let value = format!("node id {id} labels {labels:?} properties {properties:?}");
    render(text, name, &value, &block);
}

fn render_edge(text: &mut String, name: &str, target: EntityId, properties: Properties) {
    let source = EntityId::for_node(1);
    let id = EntityId::for_edge(3, source.slot());
    let block = edge_block(id, "KNOWS", source, target, &properties);
    let value = format!("edge id {id} type \"KNOWS\" source {source} target {target} properties {properties:?}");
    render(text, name, &value, &block);
}

fn render(text: &mut String, name: &str, value: &str, block: &[u8]) {
    let cid = VersionCid::of_block(block);
    let hex = printable(block);
    write!(text, "name: {name}\nvalue: {value}\nblock: {hex}\ncid: {cid}\n\n").unwrap();
}

fn single(key: &str, value: Value) -> BTreeMap<String, Value> {
    BTreeMap::from([(key.to_owned(), value)])
}

fn person() -> Properties {
    Properties::from([
        ("name".to_owned(), Value::from("Ada")),
        ("age".to_owned(), Value::from(36)),
        ("z".to_owned(), Value::from(true)),
    ])
}

fn values() -> Vec<(&'static str, Value)> {
    let moment = LocalDateTime {
        seconds: 1_500_000_000,
        nanoseconds: 5,
    };
    let date_time = |zone: Option<&str>| {
        Value::DateTime(DateTime {
            seconds: -1,
            nanoseconds: 999_999_999,
            offset_seconds: 7_200,
            zone: zone.map(str::to_owned),
        })
    };
    let point = |z| {
        Value::Point(Point {
            srid: 4326,
            x: 12.5,
            y: f64::NEG_INFINITY,
            z,
        })
    };
    let date_list = Value::List(vec![Value::from("date"), Value::from(19_000)]);
    vec![
        ("true", Value::from(true)),
        ("false", Value::from(false)),
        ("integer 0", Value::from(0)),
        ("integer 23", Value::from(23)),
        ("integer 24", Value::from(24)),
        ("integer 256", Value::from(256)),
        ("integer 65536", Value::from(65_536)),
        ("integer 2^32", Value::from(1 << 32)),
        ("largest integer", Value::from(i64::MAX)),
        ("integer -1", Value::from(-1)),
        ("smallest integer", Value::from(i64::MIN)),
        ("float", Value::from(1.5)),
        ("float of a whole number", Value::from(1.0)),
        ("negative zero", Value::from(-0.0)),
        ("NaN", Value::from(f64::NAN)),
        ("NaN with its sign set", Value::from(-f64::NAN)),
        ("infinity", Value::from(f64::INFINITY)),
        ("negative infinity", Value::from(f64::NEG_INFINITY)),
        ("string", Value::from("言葉")),
        ("empty string", Value::from("")),
        ("bytes", Value::Bytes(vec![0, 1, 255])),
        ("link", Value::Link(VersionCid::of_block(b"block"))),
        (
            "list with null",
            Value::List(vec![Value::Null, Value::from(1), Value::List(Vec::new())]),
        ),
        ("map sorts by length first", Value::Map(person())),
        ("empty map", Value::Map(BTreeMap::new())),
        ("map that looks like a date", Value::Map(single("$", date_list.clone()))),
        ("map with the key $$", Value::Map(single("$$", date_list))),
        ("date", Value::Date(Date { days: 19_000 })),
        ("local time", Value::LocalTime(LocalTime { nanoseconds: 1 })),
        (
            "time",
            Value::Time(Time {
                nanoseconds: 86_399_999_999_999,
                offset_seconds: -3_600,
            }),
        ),
        ("local date and time", Value::LocalDateTime(moment)),
        ("date and time with an offset", date_time(None)),
        ("date and time with a zone", date_time(Some("Europe/Berlin"))),
        (
            "duration",
            Value::Duration(Duration {
                months: 14,
                days: -3,
                seconds: -1,
                nanoseconds: 1,
            }),
        ),
        ("point in two dimensions", point(None)),
        ("point in three dimensions", point(Some(0.0))),
    ]
}
