//! What the columns of one file are, and from it: a row of text to an operation. Pure.

use csv::StringRecord;
use kotoba_proto::v1::{CreateEdge, CreateNode, NodeRef};
use kotoba_proto::value::{Properties, ValueType};

use super::error::RowError;
use super::ids::Ids;

/// How the rows of one file become operations.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Layout {
    Nodes(NodeLayout),
    Edges(EdgeLayout),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct NodeLayout {
    /// Column of the external id; without one no relationship can name the node.
    pub id: Option<usize>,
    pub space: String,
    /// Labels of every node of the file.
    pub labels: Vec<String>,
    /// Columns with further labels.
    pub label_columns: Vec<LabelColumn>,
    pub shared: Shared,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct LabelColumn {
    pub index: usize,
    /// What the field's text becomes; a text that is not named here is the label itself.
    pub names: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct EdgeLayout {
    pub start: End,
    pub end: End,
    pub type_column: Option<usize>,
    /// The type where the column is missing or empty.
    pub default_type: Option<String>,
    pub shared: Shared,
}

/// One end of a relationship: the column of the external id, and the space it is from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    pub index: usize,
    pub space: String,
}

/// What both kinds of file have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shared {
    pub width: usize,
    pub properties: Vec<Column>,
    pub array_delimiter: char,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub index: usize,
    pub key: String,
    pub value_type: ValueType,
}

/// The external id of a row and the node it describes.
pub(super) struct NodeRow<'a> {
    pub id: Option<&'a str>,
    pub operation: CreateNode,
}

impl NodeLayout {
    pub(super) fn row<'a>(&self, record: &'a StringRecord) -> Result<NodeRow<'a>, RowError> {
        let properties = self.shared.properties(record)?;
        let id = self.id.map(|index| external_id(record, index)).transpose()?;
        let operation = CreateNode {
            labels: self.labels(record),
            properties,
        };
        Ok(NodeRow { id, operation })
    }

    fn labels(&self, record: &StringRecord) -> Vec<String> {
        let mut labels = self.labels.clone();
        for column in &self.label_columns {
            let texts = record[column.index].split(self.shared.array_delimiter);
            for text in texts.filter(|text| !text.is_empty()) {
                let label = column.names.get(text).map_or(text, String::as_str);
                if !labels.iter().any(|known| known == label) {
                    labels.push(label.to_owned());
                }
            }
        }
        labels
    }
}

impl EdgeLayout {
    pub(super) fn row(&self, record: &StringRecord, ids: &Ids) -> Result<CreateEdge, RowError> {
        let properties = self.shared.properties(record)?;
        Ok(CreateEdge {
            r#type: self.edge_type(record)?,
            source: Some(self.start.node(record, ids)?),
            target: Some(self.end.node(record, ids)?),
            properties,
        })
    }

    fn edge_type(&self, record: &StringRecord) -> Result<String, RowError> {
        let own = self
            .type_column
            .map(|index| &record[index])
            .filter(|text| !text.is_empty());
        own.or(self.default_type.as_deref())
            .map(str::to_owned)
            .ok_or(RowError::EmptyType)
    }
}

impl End {
    fn node(&self, record: &StringRecord, ids: &Ids) -> Result<NodeRef, RowError> {
        let id = external_id(record, self.index)?;
        let known = ids.get(&self.space, id).map(NodeRef::id);
        known.ok_or_else(|| RowError::UnknownNode {
            space: self.space.clone(),
            id: id.to_owned(),
        })
    }
}

impl Shared {
    /// An empty field means that the entity does not have the property.
    fn properties(&self, record: &StringRecord) -> Result<Properties, RowError> {
        if record.len() != self.width {
            return Err(RowError::Fields {
                found: record.len(),
                expected: self.width,
            });
        }
        let present = self.properties.iter().filter(|column| !record[column.index].is_empty());
        present
            .map(|column| self.property(column, &record[column.index]))
            .collect()
    }

    fn property(&self, column: &Column, text: &str) -> Result<(String, kotoba_proto::v1::Value), RowError> {
        match column.value_type.parse(text, self.array_delimiter) {
            Ok(value) => Ok((column.key.clone(), value)),
            Err(problem) => Err(RowError::Value {
                column: column.key.clone(),
                problem,
            }),
        }
    }
}

fn external_id(record: &StringRecord, index: usize) -> Result<&str, RowError> {
    match &record[index] {
        "" => Err(RowError::EmptyId),
        id => Ok(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(index: usize, key: &str, value_type: ValueType) -> Column {
        Column {
            index,
            key: key.into(),
            value_type,
        }
    }

    fn people() -> NodeLayout {
        NodeLayout {
            id: Some(0),
            space: "Person".into(),
            labels: vec!["Person".into()],
            label_columns: vec![LabelColumn {
                index: 2,
                names: [("w".to_owned(), "Writer".to_owned())].into(),
            }],
            shared: Shared {
                width: 3,
                properties: vec![column(1, "born", ValueType::Integer)],
                array_delimiter: ';',
            },
        }
    }

    fn knows() -> EdgeLayout {
        let end = |index| End {
            index,
            space: "Person".into(),
        };
        EdgeLayout {
            start: end(0),
            end: end(1),
            type_column: Some(2),
            default_type: Some("KNOWS".into()),
            shared: Shared {
                width: 3,
                properties: vec![],
                array_delimiter: ';',
            },
        }
    }

    fn record(fields: &[&str]) -> StringRecord {
        StringRecord::from(fields.to_vec())
    }

    fn known_ids() -> Ids {
        let mut ids = Ids::default();
        ids.index.insert("Person", "a");
        ids.index.insert("Person", "b");
        ids.entities = vec![70, 80];
        ids
    }

    #[test]
    fn a_row_becomes_a_node_with_typed_properties() {
        let record = record(&["a", "1815", "w;Person;Mathematician"]);
        let row = people().row(&record).unwrap();
        assert_eq!(row.id, Some("a"));
        assert_eq!(row.operation.labels, ["Person", "Writer", "Mathematician"]);
        assert_eq!(row.operation.properties["born"], 1815.into());
    }

    #[test]
    fn an_empty_field_is_no_property() {
        let record = record(&["a", "", ""]);
        let row = people().row(&record).unwrap();
        assert!(row.operation.properties.is_empty());
        assert_eq!(row.operation.labels, ["Person"]);
    }

    #[test]
    fn rows_that_do_not_fit_say_why() {
        let problem = |fields: &[&str]| people().row(&record(fields)).map(|_| ()).unwrap_err().to_string();
        assert_eq!(problem(&["a"]), "1 fields where the header has 3");
        assert_eq!(problem(&["", "1", ""]), "the id is empty");
        assert_eq!(
            problem(&["a", "x", ""]),
            r#"column "born": "x" is not a 64-bit integer"#
        );
    }

    #[test]
    fn a_row_becomes_an_edge_between_loaded_nodes() {
        let edge = knows().row(&record(&["a", "b", ""]), &known_ids()).unwrap();
        assert_eq!(
            (edge.source, edge.target),
            (Some(NodeRef::id(70)), Some(NodeRef::id(80)))
        );
        assert_eq!(edge.r#type, "KNOWS");
        let edge = knows().row(&record(&["a", "b", "LIKES"]), &known_ids()).unwrap();
        assert_eq!(edge.r#type, "LIKES");
    }

    #[test]
    fn an_edge_to_a_node_that_was_not_loaded_names_it() {
        let error = knows().row(&record(&["a", "c", ""]), &known_ids()).unwrap_err();
        assert_eq!(error.to_string(), r#"no node has id "c" in id space "Person""#);
    }

    #[test]
    fn an_edge_needs_a_type_from_somewhere() {
        let layout = EdgeLayout {
            default_type: None,
            ..knows()
        };
        let error = layout.row(&record(&["a", "b", ""]), &known_ids()).unwrap_err();
        assert_eq!(error, RowError::EmptyType);
    }
}
