//! Prints what a command found: a table for people, or JSON lines that pipe into other programs.
//!
//! A command makes `Record`s once; both formats come from them.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::Value;

use super::table::Table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// One line of output: named fields in the order in which a person wants them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
struct Field {
    name: &'static str,
    json: Value,
    text: String,
}

/// Where a command prints to, and how.
pub(super) struct Output<W> {
    pub(super) format: Format,
    out: W,
}

/// Rows of a table that are held back for their widths; then it goes on under wide enough columns.
const ROWS_PER_TABLE: usize = 1_000;

/// Records of one kind. JSON goes out at once; a table is held back for a while, since its widths need the rows.
pub(super) struct List<'a, W> {
    output: &'a mut Output<W>,
    table: Option<Table>,
}

impl Record {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A field that people read as its plain text: strings without quotes, null as nothing.
    pub(super) fn field(self, name: &'static str, json: impl Into<Value>) -> Self {
        let json = json.into();
        let text = plain(&json);
        self.field_as(name, json, text)
    }

    /// A field that people read differently from programs.
    pub(super) fn field_as(mut self, name: &'static str, json: impl Into<Value>, text: impl Into<String>) -> Self {
        self.fields.push(Field {
            name,
            json: json.into(),
            text: text.into(),
        });
        self
    }

    /// The fields of both, these first.
    pub(super) fn and(mut self, other: Record) -> Self {
        self.fields.extend(other.fields);
        self
    }

    pub(super) fn to_json(&self) -> Value {
        let pairs = self
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), field.json.clone()));
        Value::Object(pairs.collect())
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.name)
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.fields.iter().map(|field| field.text.clone())
    }
}

impl<W: Write> Output<W> {
    pub(super) fn new(format: Format, out: W) -> Self {
        Output { format, out }
    }

    pub(super) fn list(&mut self) -> List<'_, W> {
        List {
            output: self,
            table: None,
        }
    }

    pub(super) fn records(&mut self, records: impl IntoIterator<Item = Record>) -> io::Result<()> {
        let mut list = self.list();
        for record in records {
            list.push(record)?;
        }
        list.finish()
    }

    pub(super) fn record(&mut self, record: Record) -> io::Result<()> {
        self.records([record])
    }

    /// The one of the two that the format asks for.
    pub(super) fn either(&mut self, json: &Value, text: &str) -> io::Result<()> {
        match self.format {
            Format::Json => writeln!(self.out, "{json}"),
            Format::Table => self.out.write_all(text.as_bytes()),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> List<'_, W> {
    pub(super) fn push(&mut self, record: Record) -> io::Result<()> {
        match self.output.format {
            Format::Json => writeln!(self.output.out, "{}", record.to_json()),
            Format::Table => {
                let table = self.table.get_or_insert_with(|| Table::new(record.names()));
                table.push(record.texts());
                if table.len() < ROWS_PER_TABLE {
                    return Ok(());
                }
                let text = table.render();
                self.output.out.write_all(text.as_bytes())
            }
        }
    }

    pub(super) fn finish(self) -> io::Result<()> {
        match self.table {
            Some(mut table) => self.output.out.write_all(table.render().as_bytes()),
            None => Ok(()),
        }
    }
}

fn plain(json: &Value) -> String {
    match json {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.iter().all(Value::is_string) => {
            values.iter().map(plain).collect::<Vec<_>>().join(",")
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => json.to_string(),
    }
}

/// Runs `print` and gives back what it printed.
#[cfg(test)]
pub(super) fn printed(format: Format, print: impl FnOnce(&mut Output<&mut Vec<u8>>) -> io::Result<()>) -> String {
    let mut text = Vec::new();
    print(&mut Output::new(format, &mut text)).unwrap();
    String::from_utf8(text).unwrap()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn records() -> [Record; 2] {
        let record = |id: u64, name: Value| {
            Record::new()
                .field("id", id)
                .field("name", name)
                .field_as("cid", "bafyrei", "baf…")
        };
        [record(1, json!("Ada")), record(20, json!(null))]
    }

    #[test]
    fn people_get_a_table() {
        let text = printed(Format::Table, |output| output.records(records()));
        assert_eq!(text, "ID  NAME  CID\n1   Ada   baf…\n20        baf…\n");
    }

    #[test]
    fn programs_get_one_object_a_line() {
        let text = printed(Format::Json, |output| output.records(records()));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({"id": 1, "name": "Ada", "cid": "bafyrei"}));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn no_records_print_nothing() {
        for format in [Format::Table, Format::Json] {
            assert_eq!(printed(format, |output| output.records([])), "");
        }
    }
}
