//! Prints what a command found: a table for people, or JSON for programs.
//!
//! A command makes `Record`s once; both formats come from them.

use std::io::{self, Write};

use serde_json::Value;

use crate::args::Format;
use crate::table;

/// One line of output: named fields in the order in which a person wants them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record(Vec<(&'static str, Value)>);

impl Record {
    pub fn field(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((name, value.into()));
        self
    }

    pub fn to_json(&self) -> Value {
        let pairs = self.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Value::Object(pairs.collect())
    }
}

/// Records of one kind: a table under their names, or one JSON object a line.
pub fn records(out: &mut impl Write, format: Format, records: &[Record]) -> io::Result<()> {
    match format {
        Format::Json => records
            .iter()
            .try_for_each(|record| writeln!(out, "{}", record.to_json())),
        Format::Table => {
            let Some(first) = records.first() else {
                return Ok(());
            };
            let names = first.0.iter().map(|(name, _)| (*name).to_uppercase()).collect();
            let rows = records
                .iter()
                .map(|record| record.0.iter().map(|(_, value)| plain(value)).collect());
            out.write_all(table::rows(names, rows.collect()).as_bytes())
        }
    }
}

/// One record: `name:  value` lines, or a JSON object.
pub fn pairs(out: &mut impl Write, format: Format, record: &Record) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", record.to_json()),
        Format::Table => {
            let pairs = record.0.iter().map(|(name, value)| (title(name), plain(value)));
            out.write_all(table::pairs(pairs.collect()).as_bytes())
        }
    }
}

/// A value as the API writes it: the name of an enum's variant.
pub fn word(value: &impl serde::Serialize) -> String {
    plain(&serde_json::to_value(value).expect("the words of the API are strings"))
}

fn title(name: &str) -> String {
    let mut letters = name.replace('_', " ");
    if let Some(first) = letters.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    letters
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}
