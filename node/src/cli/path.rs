//! `kotoba path`: one shortest way from a node to another.

use std::io::Write;

use clap::Args;
use kotoba_proto::ContentId;
use kotoba_proto::v1::{Direction, Row, ShortestPath, row};
use serde_json::Value;

use super::edge::DirectionArg;
use super::entity::{abbreviated, properties_json, unknown_row};
use super::output::{Output, Record};
use super::traverse::MAX_DEPTH;
use super::{CliError, ClientArgs};

/// Find one shortest path between two nodes; always the same one as long as the graph does not change
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba path 12 34
  kotoba path 12 34 --direction out --type KNOWS --max-depth 12
  kotoba path 12 34 -o json | jq 'select(.kind == \"edge\")'")]
pub struct PathArgs {
    /// Id of the node it starts at
    from: u64,
    /// Id of the node it ends at
    to: u64,
    /// Which way to follow edges, seen from the start
    #[arg(short, long, value_enum, default_value_t = DirectionArg::Both)]
    direction: DirectionArg,
    /// Only edges of this type; repeatable
    #[arg(short, long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Most edges of the path, 1 to 32
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=MAX_DEPTH))]
    max_depth: u32,
}

pub(super) async fn run(args: PathArgs, client: &ClientArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let cluster = client.connect()?;
    let what = format!(
        "a path of at most {} edges from {} to {}",
        args.max_depth, args.from, args.to
    );
    let rows = cluster.fetch_rows(args.query()).await?;
    if rows.is_empty() {
        return Err(CliError::NotFound { what });
    }
    let records: Vec<Record> = rows.into_iter().map(step_record).collect::<Result<_, _>>()?;
    Ok(output.records(records)?)
}

impl PathArgs {
    fn query(self) -> ShortestPath {
        ShortestPath {
            from: self.from,
            to: self.to,
            direction: Direction::from(self.direction).into(),
            types: self.types,
            max_depth: self.max_depth,
        }
    }
}

/// Nodes and edges under the same columns, since they come in turn.
fn step_record(row: Row) -> Result<Record, CliError> {
    let step = Record::new().field("depth", row.depth);
    Ok(match row.kind {
        Some(row::Kind::Node(node)) => step
            .field("kind", "node")
            .field("id", node.id)
            .field("labels", node.labels)
            .field("type", Value::Null)
            .field("source", Value::Null)
            .field("target", Value::Null)
            .and(version(node.cid, &node.properties)),
        Some(row::Kind::Edge(edge)) => step
            .field("kind", "edge")
            .field("id", edge.id)
            .field("labels", Value::Null)
            .field("type", edge.r#type)
            .field("source", edge.source)
            .field("target", edge.target)
            .and(version(edge.cid, &edge.properties)),
        None => return Err(unknown_row()),
    })
}

fn version(cid: impl Into<ContentId>, properties: &kotoba_proto::value::Properties) -> Record {
    let cid = cid.into().to_string();
    let short = abbreviated(&cid);
    Record::new()
        .field_as("cid", cid, short)
        .field("properties", properties_json(properties))
}

#[cfg(test)]
mod tests {
    use kotoba_proto::v1::{Edge, Node};

    use super::*;
    use crate::cli::output::{Format, printed};

    #[test]
    fn nodes_and_edges_of_a_path_share_their_columns() {
        let node = |id, depth| Row {
            kind: Some(row::Kind::Node(Node {
                id,
                labels: vec!["A".into()],
                ..Node::default()
            })),
            depth,
        };
        let edge = Row {
            kind: Some(row::Kind::Edge(Edge {
                id: 9,
                r#type: "K".into(),
                source: 1,
                target: 2,
                ..Edge::default()
            })),
            depth: 1,
        };
        let records = [node(1, 0), edge, node(2, 1)].map(|row| step_record(row).unwrap());
        let text = printed(Format::Table, |output| output.records(records.clone()));
        let expected = "DEPTH  KIND  ID  LABELS  TYPE  SOURCE  TARGET  CID  PROPERTIES\n\
                        0      node  1   A                             b    {}\n\
                        1      edge  9           K     1       2       b    {}\n\
                        1      node  2   A                             b    {}\n";
        assert_eq!(text, expected);
        let json = printed(Format::Json, |output| output.records(records));
        assert!(json.lines().nth(1).unwrap().contains("\"labels\":null"), "{json}");
    }
}
