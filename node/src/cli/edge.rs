//! `kotoba edge …`: create, get, update, delete and list edges.

use std::collections::BTreeSet;
use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use kotoba_proto::KotobaCluster;
use kotoba_proto::v1::{
    CreateEdge, DeleteEdge, Direction, Edge, EdgesOf, FindEdges, GetEdges, NodeRef, Operation, Query, Row, UpdateEdge,
    row,
};

use super::entity::{edge_record, outcome_record, row_record};
use super::expected::Expected;
use super::filter::{FILTER_HELP, FilterArg, filters};
use super::history::{self, HistoryArgs};
use super::node::{changes, not_found};
use super::output::Output;
use super::property::{PROPERTY_HELP, PropertyArg, properties};
use super::search::{Show, Unordered, search};
use super::{CliError, ClientArgs};

/// Create, read and change edges
#[derive(Debug, Subcommand)]
pub enum EdgeCommand {
    /// Create an edge between two nodes
    #[command(after_help = "Examples:
  kotoba edge create KNOWS 12 34 --property since:date=1833-06-05")]
    Create(CreateArgs),
    /// Print edges by id
    #[command(after_help = "Examples:
  kotoba edge get 56")]
    Get(GetArgs),
    /// Print its kept versions, newest first; each is what `--as-of` its timestamp shows
    #[command(after_help = "Examples:
  kotoba edge history 12 --limit 5 -o json")]
    History(HistoryArgs),
    /// Set and remove properties; what is not named stays
    #[command(after_help = "Examples:
  kotoba edge update 56 --property weight:float=0.5 --remove-property note")]
    Update(UpdateArgs),
    /// Delete an edge
    #[command(after_help = "Examples:
  kotoba edge delete 56")]
    Delete(DeleteArgs),
    /// List the edges of a node, or search all edges
    #[command(
        visible_alias = "find",
        after_help = "Examples:
  kotoba edge list 12                                  all edges of node 12
  kotoba edge list 12 --direction out --type KNOWS
  kotoba edge find --type KNOWS --where 'since:date>=1833-06-05' --order-by -since --limit 10
  kotoba edge find 12 --where 'weight>0.5' --all
  kotoba edge list --count"
    )]
    List(ListArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Type of the edge
    #[arg(value_name = "TYPE")]
    edge_type: String,
    /// Id of the node it starts at
    source: u64,
    /// Id of the node it ends at
    target: u64,
    #[arg(short, long = "property", value_name = "KEY=VALUE", help = PROPERTY_HELP)]
    properties: Vec<PropertyArg>,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Ids of edges
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id of the edge
    id: u64,
    #[arg(short, long = "property", value_name = "KEY=VALUE", help = PROPERTY_HELP)]
    properties: Vec<PropertyArg>,
    /// Property to remove; repeatable
    #[arg(long = "remove-property", value_name = "KEY")]
    remove_properties: Vec<String>,
    /// Drop all properties that are not named here
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    expected: Expected,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Id of the edge
    id: u64,
    #[command(flatten)]
    expected: Expected,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only edges of this node
    node: Option<u64>,
    /// Which way the edges go, seen from the node
    #[arg(short, long, value_enum, default_value_t = DirectionArg::Both, requires = "node")]
    direction: DirectionArg,
    /// Only edges of this type; with a node repeatable
    #[arg(short, long = "type", value_name = "TYPE")]
    types: Vec<String>,
    #[arg(short = 'w', long = "where", value_name = "CONDITION", help = FILTER_HELP)]
    conditions: Vec<FilterArg>,
    #[command(flatten)]
    show: Show,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DirectionArg {
    Out,
    In,
    Both,
}

impl From<DirectionArg> for Direction {
    fn from(argument: DirectionArg) -> Self {
        match argument {
            DirectionArg::Out => Direction::Out,
            DirectionArg::In => Direction::In,
            DirectionArg::Both => Direction::Both,
        }
    }
}

pub(super) async fn run(
    command: EdgeCommand,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let cluster = client.connect()?;
    let operation: Operation = match command {
        EdgeCommand::Create(args) => args.operation()?.into(),
        EdgeCommand::Update(args) => args.operation()?.into(),
        EdgeCommand::Delete(args) => DeleteEdge {
            id: args.id,
            expected_cid: args.expected.bytes(),
        }
        .into(),
        EdgeCommand::History(args) => {
            let history = cluster.get_edge_history(args.id, args.limit).await?;
            return history::print(history, output);
        }
        EdgeCommand::Get(args) => return get(&cluster, args.ids, output).await,
        EdgeCommand::List(args) => {
            let show = args.show.clone();
            return search(&cluster, args.query()?, show, output, row_record).await;
        }
    };
    let outcome = cluster.execute_operation(operation).await?;
    Ok(output.record(outcome_record(outcome))?)
}

impl CreateArgs {
    fn operation(self) -> Result<CreateEdge, CliError> {
        Ok(CreateEdge {
            r#type: self.edge_type,
            source: Some(NodeRef::id(self.source)),
            target: Some(NodeRef::id(self.target)),
            properties: properties(self.properties)?,
        })
    }
}

impl UpdateArgs {
    fn operation(self) -> Result<UpdateEdge, CliError> {
        if self.properties.is_empty() && self.remove_properties.is_empty() && !self.replace {
            let message = "nothing to change: give --property, --remove-property or --replace";
            return Err(CliError::Usage(message.into()));
        }
        Ok(UpdateEdge {
            id: self.id,
            set_properties: changes(self.properties, self.remove_properties)?,
            replace_properties: self.replace,
            expected_cid: self.expected.bytes(),
        })
    }
}

impl ListArgs {
    fn query(mut self) -> Result<Query, CliError> {
        let limit = self.show.limit(Unordered::HasPages);
        let filters = filters(self.conditions);
        if let Some(node) = self.node {
            return Ok(EdgesOf {
                node,
                direction: Direction::from(self.direction).into(),
                types: self.types,
                filters,
                limit,
            }
            .into());
        }
        if self.types.len() > 1 {
            return Err(CliError::Usage(
                "a search over all edges takes one --type; name a node to give several".into(),
            ));
        }
        Ok(FindEdges {
            r#type: self.types.pop().unwrap_or_default(),
            r#where: vec![],
            filters,
            limit,
        }
        .into())
    }
}

async fn get(cluster: &KotobaCluster, ids: Vec<u64>, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let mut missing: BTreeSet<u64> = ids.iter().copied().collect();
    let rows = cluster.fetch_rows(GetEdges { ids }).await?;
    let edges = rows.into_iter().filter_map(edge_of).inspect(|edge| {
        missing.remove(&edge.id);
    });
    output.records(edges.map(edge_record))?;
    not_found("edge", missing)
}

fn edge_of(row: Row) -> Option<Edge> {
    match row.kind {
        Some(row::Kind::Edge(edge)) => Some(edge),
        Some(row::Kind::Node(_)) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use kotoba_proto::v1::query;

    use super::*;

    fn list(node: Option<u64>, types: &[&str]) -> ListArgs {
        ListArgs {
            node,
            direction: DirectionArg::In,
            types: types.iter().map(|name| (*name).to_owned()).collect(),
            conditions: vec![],
            show: Show::rows(5),
        }
    }

    #[test]
    fn with_a_node_its_edges_are_listed() {
        let query = list(Some(3), &["A", "B"]).query().unwrap();
        let Some(query::Kind::EdgesOf(edges)) = query.kind else {
            panic!("{query:?}");
        };
        assert_eq!((edges.node, edges.direction(), edges.limit), (3, Direction::In, 5));
        assert_eq!(edges.types, ["A", "B"]);
    }

    #[test]
    fn without_a_node_all_edges_are_searched() {
        let query = list(None, &["A"]).query().unwrap();
        assert!(matches!(query.kind, Some(query::Kind::FindEdges(find)) if find.r#type == "A"));
        assert!(matches!(list(None, &["A", "B"]).query(), Err(CliError::Usage(_))));
    }
}
