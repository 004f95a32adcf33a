//! The canonical block of a version: strict dag-cbor, written by hand so that no library update can change it.
//!
//! Map keys sort by length, then by bytes; integers take their shortest form; floats are always 64 bit.
//! dag-cbor has no NaN, no infinities and no tag but links, so those values, temporal values and points become a
//! map with the single key `$` and a list: `{"$": ["date", 19000]}`. A map of the user that has a single key
//! which consists of `$` only gets one more `$`; so no map of a user can look like a special value, and
//! different values have different bytes.

use std::collections::{BTreeMap, BTreeSet};

use crate::cid::VersionCid;
use crate::id::EntityId;
use crate::value::{Point, Properties, Value};

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const FLOAT64: u8 = 0xfb;

/// The one tag of dag-cbor: a CID, as bytes with a leading zero.
const LINK_TAG: u64 = 42;

const SPECIAL: &str = "$";

/// The block `{id, labels, properties}` of a node.
pub fn node_block(id: EntityId, labels: &BTreeSet<String>, properties: &Properties) -> Vec<u8> {
    let mut block = Block(Vec::new());
    block.head(MAP, 3);
    block.text("id");
    block.head(UNSIGNED, id.number());
    block.text("labels");
    block.head(LIST, labels.len() as u64);
    for label in labels {
        block.text(label);
    }
    block.text("properties");
    block.map(properties);
    block.0
}

/// The block `{id, dst, src, type, properties}` of an edge.
pub fn edge_block(
    id: EntityId,
    edge_type: &str,
    source: EntityId,
    target: EntityId,
    properties: &Properties,
) -> Vec<u8> {
    let mut block = Block(Vec::new());
    block.head(MAP, 5);
    block.text("id");
    block.head(UNSIGNED, id.number());
    block.text("dst");
    block.head(UNSIGNED, target.number());
    block.text("src");
    block.head(UNSIGNED, source.number());
    block.text("type");
    block.text(edge_type);
    block.text("properties");
    block.map(properties);
    block.0
}

struct Block(Vec<u8>);

impl Block {
    /// A major type with its number, in the shortest form.
    fn head(&mut self, major: u8, number: u64) {
        let major = major << 5;
        let bytes = number.to_be_bytes();
        match number {
            0..=23 => self.0.push(major | bytes[7]),
            24..=0xff => self.0.extend([major | 24, bytes[7]]),
            0x100..=0xffff => self.long_head(major | 25, &bytes[6..]),
            0x1_0000..=0xffff_ffff => self.long_head(major | 26, &bytes[4..]),
            0x1_0000_0000.. => self.long_head(major | 27, &bytes),
        }
    }

    fn long_head(&mut self, first: u8, number: &[u8]) {
        self.0.push(first);
        self.0.extend(number);
    }

    fn integer(&mut self, integer: i64) {
        match u64::try_from(integer) {
            Ok(number) => self.head(UNSIGNED, number),
            // -1 - n, which is the complement of the bits.
            Err(_) => self.head(NEGATIVE, !integer as u64),
        }
    }

    fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn link(&mut self, cid: VersionCid) {
        self.head(TAG, LINK_TAG);
        self.bytes(&[&[0], cid.to_bytes().as_slice()].concat());
    }

    fn map(&mut self, entries: &BTreeMap<String, Value>) {
        self.head(MAP, entries.len() as u64);
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by_key(|(key, _)| (key.len(), *key));
        for (key, value) in sorted {
            if entries.len() == 1 && looks_special(key) {
                self.text(&format!("{key}{SPECIAL}"));
            } else {
                self.text(key);
            }
            self.value(value);
        }
    }

    fn list(&mut self, values: &[Value]) {
        self.head(LIST, values.len() as u64);
        for value in values {
            self.value(value);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.push(NULL),
            Value::Boolean(boolean) => self.0.push(if *boolean { TRUE } else { FALSE }),
            Value::Integer(integer) => self.integer(*integer),
            Value::Float(float) => self.float(*float),
            Value::String(text) => self.text(text),
            Value::Bytes(bytes) => self.bytes(bytes),
            Value::Link(cid) => self.link(*cid),
            Value::List(values) => self.list(values),
            Value::Map(entries) => self.map(entries),
            Value::Date(date) => self.special("date", &[date.days]),
            Value::LocalTime(time) => self.special("local_time", &[time.nanoseconds as i64]),
            Value::Time(time) => self.special("time", &[time.nanoseconds as i64, time.offset_seconds.into()]),
            Value::LocalDateTime(moment) => {
                self.special("local_date_time", &[moment.seconds, moment.nanoseconds.into()])
            }
            Value::DateTime(moment) => self.date_time(moment),
            Value::Duration(duration) => self.special(
                "duration",
                &[
                    duration.months,
                    duration.days,
                    duration.seconds,
                    duration.nanoseconds.into(),
                ],
            ),
            Value::Point(point) => self.point(point),
        }
    }

    /// Opens `{"$": [name, ...]}` with this many fields after the name.
    fn special_head(&mut self, name: &str, fields: usize) {
        self.head(MAP, 1);
        self.text(SPECIAL);
        self.head(LIST, fields as u64 + 1);
        self.text(name);
    }

    fn special(&mut self, name: &str, fields: &[i64]) {
        self.special_head(name, fields.len());
        for field in fields {
            self.integer(*field);
        }
    }

    fn float(&mut self, float: f64) {
        if float.is_finite() {
            self.0.push(FLOAT64);
            self.0.extend(float.to_be_bytes());
            return;
        }
        self.special_head("float", 1);
        if float.is_nan() {
            // All NaNs are one value: their sign and payload mean nothing to a user.
            self.text("NaN");
        } else {
            self.text(if float > 0.0 { "Infinity" } else { "-Infinity" });
        }
    }

    fn date_time(&mut self, moment: &crate::value::DateTime) {
        self.special_head("date_time", 3 + usize::from(moment.zone.is_some()));
        self.integer(moment.seconds);
        self.integer(moment.nanoseconds.into());
        self.integer(moment.offset_seconds.into());
        if let Some(zone) = &moment.zone {
            self.text(zone);
        }
    }

    fn point(&mut self, point: &Point) {
        self.special_head("point", 3 + usize::from(point.z.is_some()));
        self.integer(point.srid.into());
        self.float(point.x);
        self.float(point.y);
        if let Some(z) = point.z {
            self.float(z);
        }
    }
}

/// Whether a key consists of one or more `$`.
fn looks_special(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte == b'$')
}

/// One value by itself, for tests that take it apart again.
#[cfg(test)]
pub fn value_bytes(value: &Value) -> Vec<u8> {
    let mut block = Block(Vec::new());
    block.value(value);
    block.0
}
