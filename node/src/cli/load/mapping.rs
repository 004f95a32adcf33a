//! The mapping file: what CSV files are whose headers do not say it. An example is docs/examples/ldbc-mini.toml.
//!
//! Columns that the mapping does not name are properties of type string; type `ignore` leaves a column out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use csv::StringRecord;
use serde::Deserialize;

use super::error::LayoutError;
use super::layout::{Column, EdgeLayout, End, LabelColumn, NodeLayout, Shared};

/// Type of a column that is not loaded.
const IGNORE: &str = "ignore";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    pub delimiter: Option<String>,
    pub array_delimiter: Option<String>,
    /// `none`, or the character.
    pub quote: Option<String>,
    #[serde(default)]
    pub nodes: Vec<NodeFile>,
    #[serde(default)]
    pub relationships: Vec<EdgeFile>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeFile {
    pub file: PathBuf,
    #[serde(default)]
    labels: Vec<String>,
    /// Name of the column with the id.
    id: Option<String>,
    /// Default: the first label.
    id_space: Option<String>,
    /// Name of a column with one more label (or several, as a list).
    label_column: Option<String>,
    /// What the texts of that column become.
    #[serde(default)]
    label_names: BTreeMap<String, String>,
    #[serde(default)]
    columns: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EdgeFile {
    pub file: PathBuf,
    r#type: String,
    /// Id space of the start.
    start: String,
    /// Id space of the end.
    end: String,
    /// Columns of the two ids, counted from 1, because such headers often name both the same.
    #[serde(default = "first")]
    start_column: usize,
    #[serde(default = "second")]
    end_column: usize,
    #[serde(default)]
    columns: BTreeMap<String, String>,
}

fn first() -> usize {
    1
}

fn second() -> usize {
    2
}

impl NodeFile {
    pub(super) fn layout(&self, header: &StringRecord, array_delimiter: char) -> Result<NodeLayout, LayoutError> {
        let label_column = match &self.label_column {
            Some(name) => Some(LabelColumn {
                index: position(header, name)?,
                names: self.label_names.clone(),
            }),
            None => None,
        };
        let default_space = || self.labels.first().cloned().unwrap_or_default();
        Ok(NodeLayout {
            id: self.id.as_deref().map(|name| position(header, name)).transpose()?,
            space: self.id_space.clone().unwrap_or_else(default_space),
            labels: self.labels.clone(),
            label_columns: label_column.into_iter().collect(),
            shared: shared(header, &[], &self.columns, array_delimiter)?,
        })
    }
}

impl EdgeFile {
    pub(super) fn layout(&self, header: &StringRecord, array_delimiter: char) -> Result<EdgeLayout, LayoutError> {
        let start = end(header, self.start_column, &self.start)?;
        let end = end(header, self.end_column, &self.end)?;
        let taken = [start.index, end.index];
        Ok(EdgeLayout {
            start,
            end,
            type_column: None,
            default_type: Some(self.r#type.clone()),
            shared: shared(header, &taken, &self.columns, array_delimiter)?,
        })
    }
}

fn end(header: &StringRecord, column: usize, space: &str) -> Result<End, LayoutError> {
    let index = column.checked_sub(1).filter(|index| *index < header.len());
    match index {
        Some(index) => Ok(End {
            index,
            space: space.to_owned(),
        }),
        None => Err(no_column(header, &format!("number {column}"))),
    }
}

/// All columns but the `taken` ones, with the types the mapping gives; a type for a column that is not there is a mistake.
fn shared(
    header: &StringRecord,
    taken: &[usize],
    types: &BTreeMap<String, String>,
    array_delimiter: char,
) -> Result<Shared, LayoutError> {
    for name in types.keys() {
        position(header, name)?;
    }
    let mut properties = Vec::new();
    for (index, key) in header.iter().enumerate() {
        let name = types.get(key).map_or("string", String::as_str);
        if name == IGNORE || taken.contains(&index) {
            continue;
        }
        let value_type = name
            .parse()
            .map_err(|error: kotoba_proto::value::ParseValueError| LayoutError::Column {
                column: key.to_owned(),
                problem: error.to_string(),
            })?;
        properties.push(Column {
            index,
            key: key.to_owned(),
            value_type,
        });
    }
    Ok(Shared {
        width: header.len(),
        properties,
        array_delimiter,
    })
}

fn position(header: &StringRecord, name: &str) -> Result<usize, LayoutError> {
    header
        .iter()
        .position(|column| column == name)
        .ok_or_else(|| no_column(header, name))
}

fn no_column(header: &StringRecord, name: &str) -> LayoutError {
    LayoutError::NoColumn {
        column: name.to_owned(),
        present: header.iter().collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> Mapping {
        toml::from_str(text).unwrap()
    }

    fn header(text: &str) -> StringRecord {
        StringRecord::from(text.split('|').collect::<Vec<_>>())
    }

    #[test]
    fn a_mapping_gives_a_plain_file_its_meaning() {
        let mapping = mapping(
            r#"
            [[nodes]]
            file = "p.csv"
            labels = ["Place"]
            id = "id"
            label_column = "type"
            label_names = { city = "City" }
            columns = { id = "int", url = "ignore" }
            "#,
        );
        let layout = mapping.nodes[0].layout(&header("id|name|url|type"), ';').unwrap();
        assert_eq!((layout.id, layout.space.as_str()), (Some(0), "Place"));
        assert_eq!(layout.label_columns[0].index, 3);
        let keys: Vec<_> = layout
            .shared
            .properties
            .iter()
            .map(|column| column.key.as_str())
            .collect();
        assert_eq!(keys, ["id", "name", "type"]);
    }

    #[test]
    fn the_ends_of_a_relationship_are_its_first_two_columns_unless_said() {
        let mapping = mapping(
            r#"
            [[relationships]]
            file = "a.csv"
            type = "KNOWS"
            start = "Person"
            end = "Person"

            [[relationships]]
            file = "b.csv"
            type = "KNOWS"
            start = "Person"
            end = "Person"
            start_column = 3
            end_column = 4
            "#,
        );
        let layout = mapping.relationships[0]
            .layout(&header("Person.id|Person.id|since"), ';')
            .unwrap();
        assert_eq!((layout.start.index, layout.end.index), (0, 1));
        assert_eq!(layout.shared.properties[0].key, "since");
        let error = mapping.relationships[1].layout(&header("a|b|c"), ';').unwrap_err();
        assert!(error.to_string().contains("number 4"), "{error}");
    }

    #[test]
    fn a_column_that_is_not_there_is_named_with_those_that_are() {
        let mapping = mapping("[[nodes]]\nfile = \"p.csv\"\nid = \"id\"\ncolumns = { nmae = \"int\" }");
        let error = mapping.nodes[0].layout(&header("id|name"), ';').unwrap_err();
        assert_eq!(error.to_string(), r#"there is no column "nmae"; there are id, name"#);
    }

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        assert!(toml::from_str::<Mapping>("[[nodes]]\nfile = \"p.csv\"\nlable = \"x\"").is_err());
    }
}
