//! `kotoba traverse`: which nodes are reachable, and how far away.

use std::io::Write;

use clap::Args;
use kotoba_proto::v1::{Direction, Row, Traverse};

use super::edge::DirectionArg;
use super::entity::row_record;
use super::filter::{FILTER_HELP, FilterArg, filters};
use super::output::{Output, Record};
use super::search::{Show, Unordered, search};
use super::{CliError, ClientArgs};

/// Deepest traversal and longest path that members accept.
pub(super) const MAX_DEPTH: i64 = 32;

/// Walk the graph breadth first from some nodes; each node once, at its smallest depth
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  kotoba traverse 12 --type KNOWS --max-depth 3
  kotoba traverse 12 34 --direction in --min-depth 2 --max-depth 2
  kotoba traverse 12 --max-depth 4 --label Person --where 'age>=30' --edge-where 'weight>0.5' --prune
  kotoba traverse 12 --max-depth 3 --order-by name --limit 20
  kotoba traverse 12 --max-depth 6 --count")]
pub struct TraverseArgs {
    /// Ids of the nodes to start from
    #[arg(required = true, value_name = "ID")]
    start: Vec<u64>,
    /// Which way to follow edges
    #[arg(short, long, value_enum, default_value_t = DirectionArg::Both)]
    direction: DirectionArg,
    /// Only follow edges of this type; repeatable
    #[arg(short, long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Smallest depth to print; 0 prints the start too
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=MAX_DEPTH))]
    min_depth: u32,
    /// How far to walk, 1 to 32
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_DEPTH))]
    max_depth: u32,
    /// Only print nodes with this label; repeatable, all are needed
    #[arg(short, long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    #[arg(short = 'w', long = "where", value_name = "CONDITION", help = FILTER_HELP)]
    conditions: Vec<FilterArg>,
    /// Condition on the edges that are followed, written as with --where; repeatable
    #[arg(long, value_name = "CONDITION")]
    edge_where: Vec<FilterArg>,
    /// Do not walk through nodes that --label and --where leave out
    #[arg(long)]
    prune: bool,
    /// Most edges looked at of one node, of each direction and type; 0 for all
    #[arg(long, value_name = "EDGES", default_value_t = 0)]
    fan_out: u32,
    #[command(flatten)]
    show: Show,
}

pub(super) async fn run(
    args: TraverseArgs,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let cluster = client.connect()?;
    let show = args.show.clone();
    search(&cluster, args.query()?, show, output, depth_record).await
}

impl TraverseArgs {
    fn query(self) -> Result<Traverse, CliError> {
        if self.min_depth > self.max_depth {
            let message = format!("--min-depth {} is above --max-depth {}", self.min_depth, self.max_depth);
            return Err(CliError::Usage(message));
        }
        Ok(Traverse {
            start: self.start,
            direction: Direction::from(self.direction).into(),
            types: self.types,
            min_depth: self.min_depth,
            max_depth: self.max_depth,
            limit: self.show.limit(Unordered::IsWhole),
            edge_filters: filters(self.edge_where),
            labels: self.labels,
            node_filters: filters(self.conditions),
            prune: self.prune,
            fan_out: self.fan_out,
        })
    }
}

fn depth_record(row: Row) -> Result<Record, CliError> {
    let depth = Record::new().field("depth", row.depth);
    Ok(depth.and(row_record(row)?))
}

#[cfg(test)]
mod tests {
    use kotoba_proto::v1::{Node, row};

    use super::*;
    use crate::cli::output::{Format, printed};

    #[test]
    fn each_row_says_its_depth() {
        let row = Row {
            kind: Some(row::Kind::Node(Node::default())),
            depth: 3,
        };
        let text = printed(Format::Table, |output| output.record(depth_record(row).unwrap()));
        assert!(text.starts_with("DEPTH  ID") && text.contains("\n3      0"), "{text}");
    }

    #[test]
    fn depths_the_wrong_way_round_are_a_usage_error() {
        let args = TraverseArgs {
            start: vec![1],
            direction: DirectionArg::Out,
            types: vec![],
            min_depth: 3,
            max_depth: 2,
            labels: vec![],
            conditions: vec![],
            edge_where: vec![],
            prune: false,
            fan_out: 0,
            show: Show::rows(0),
        };
        assert!(matches!(args.query(), Err(CliError::Usage(_))));
    }
}
