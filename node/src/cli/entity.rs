//! Nodes, edges and outcomes of writes as records to print.

use kotoba_proto::ContentId;
use kotoba_proto::cluster::OperationOutcome;
use kotoba_proto::v1::{Edge, Node, Row, row};
use kotoba_proto::value::{Properties, to_json};
use serde_json::Value;

use super::CliError;
use super::output::Record;

/// Characters of a CID shown at each end where a whole one would push the rest off the screen.
const CID_HEAD: usize = 8;
const CID_TAIL: usize = 6;

pub(super) fn node_record(node: Node) -> Record {
    let cid = ContentId::from(node.cid).to_string();
    Record::new()
        .field("id", node.id)
        .field("labels", node.labels)
        .field_as("cid", cid.as_str(), abbreviated(&cid))
        .field("properties", properties_json(&node.properties))
}

pub(super) fn edge_record(edge: Edge) -> Record {
    let cid = ContentId::from(edge.cid).to_string();
    Record::new()
        .field("id", edge.id)
        .field("type", edge.r#type)
        .field("source", edge.source)
        .field("target", edge.target)
        .field_as("cid", cid.as_str(), abbreviated(&cid))
        .field("properties", properties_json(&edge.properties))
}

/// What a write did; the CID in full, because a person copies it from here.
pub(super) fn outcome_record(outcome: OperationOutcome) -> Record {
    Record::new()
        .field("id", outcome.id)
        .field("cid", outcome.cid.to_string())
        .field("bookmark", outcome.bookmark)
}

pub(super) fn row_record(row: Row) -> Result<Record, CliError> {
    match row.kind {
        Some(row::Kind::Node(node)) => Ok(node_record(node)),
        Some(row::Kind::Edge(edge)) => Ok(edge_record(edge)),
        None => Err(unknown_row()),
    }
}

pub(super) fn unknown_row() -> CliError {
    CliError::Refused("the member sent a row of a kind this version does not know".into())
}

pub(super) fn properties_json(properties: &Properties) -> Value {
    let pairs = properties.iter().map(|(key, value)| (key.clone(), to_json(value)));
    Value::Object(pairs.collect())
}

pub(super) fn abbreviated(cid: &str) -> String {
    match cid.len() > CID_HEAD + CID_TAIL {
        // Base32 text is ASCII, so every byte is a boundary.
        true => format!("{}…{}", &cid[..CID_HEAD], &cid[cid.len() - CID_TAIL..]),
        false => cid.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{Format, printed};

    fn ada() -> Node {
        Node {
            id: 7,
            cid: [0x01, 0x71, 0x1e, 0x20].into_iter().chain([0; 32]).collect(),
            labels: vec!["Person".into(), "Writer".into()],
            properties: [("name".to_owned(), "Ada".into()), ("born".to_owned(), 1815.into())].into(),
        }
    }

    #[test]
    fn a_node_prints_as_one_line_with_a_short_cid() {
        let text = printed(Format::Table, |output| output.record(node_record(ada())));
        let expected = "ID  LABELS         CID              PROPERTIES\n\
                        7   Person,Writer  bafyr4ia…aaaaaa  {\"born\":1815,\"name\":\"Ada\"}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_program_gets_the_whole_cid() {
        let text = printed(Format::Json, |output| output.record(node_record(ada())));
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["cid"].as_str().unwrap().len(), 59);
        assert_eq!(json["properties"]["born"], 1815);
    }

    #[test]
    fn an_edge_prints_its_ends() {
        let edge = Edge {
            id: 9,
            r#type: "KNOWS".into(),
            source: 7,
            target: 8,
            ..Edge::default()
        };
        let text = printed(Format::Table, |output| output.record(edge_record(edge)));
        assert_eq!(
            text,
            "ID  TYPE   SOURCE  TARGET  CID  PROPERTIES\n9   KNOWS  7       8       b    {}\n"
        );
    }

    #[test]
    fn a_row_of_an_unknown_kind_is_an_error() {
        assert!(row_record(Row::default()).is_err());
    }
}
