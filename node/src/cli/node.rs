//! `kotoba node …`: create, get, update, delete and find nodes.

use std::collections::BTreeSet;
use std::io::Write;

use clap::{Args, Subcommand};
use kotoba_proto::KotobaCluster;
use kotoba_proto::v1::{CreateNode, DeleteNode, FindNodes, GetNodes, Operation, Row, UpdateNode, Value, row};

use super::entity::{node_record, outcome_record, row_record};
use super::expected::Expected;
use super::filter::{FILTER_HELP, FilterArg, filters};
use super::history::{self, HistoryArgs};
use super::output::Output;
use super::property::{PROPERTY_HELP, PropertyArg, properties};
use super::search::{Show, Unordered, search};
use super::{CliError, ClientArgs};

/// Create, read and change nodes
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Create a node
    #[command(after_help = "Examples:
  kotoba node create --label Person --property name=Ada --property born:int=1815
  kotoba node create --label City --property 'place:float[]=48.9;2.4'")]
    Create(CreateArgs),
    /// Print nodes by id
    #[command(after_help = "Examples:
  kotoba node get 12 34 -o json")]
    Get(GetArgs),
    /// Print its kept versions, newest first; each is what `--as-of` its timestamp shows
    #[command(after_help = "Examples:
  kotoba node history 12 --limit 5 -o json")]
    History(HistoryArgs),
    /// Set and remove properties and labels; what is not named stays
    #[command(after_help = "Examples:
  kotoba node update 12 --property age:int=37 --remove-property nickname
  kotoba node update 12 --add-label Writer --remove-label Draft")]
    Update(UpdateArgs),
    /// Delete a node
    #[command(after_help = "Examples:
  kotoba node delete 12 --detach")]
    Delete(DeleteArgs),
    /// Search nodes by label and properties
    #[command(after_help = "Examples:
  kotoba node find --label Person --where name=Ada
  kotoba node find --label Person --where 'age>=30' --where '!email' --order-by name,-age --limit 20
  kotoba node find --label Person --count
  kotoba node find --all -o json | jq .id
  kotoba node find --limit 0 -o json | jq .id")]
    Find(FindArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Label of the node; repeatable
    #[arg(short, long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    #[arg(short, long = "property", value_name = "KEY=VALUE", help = PROPERTY_HELP)]
    properties: Vec<PropertyArg>,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Ids of nodes
    #[arg(required = true, value_name = "ID")]
    ids: Vec<u64>,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id of the node
    id: u64,
    #[arg(short, long = "property", value_name = "KEY=VALUE", help = PROPERTY_HELP)]
    properties: Vec<PropertyArg>,
    /// Property to remove; repeatable
    #[arg(long = "remove-property", value_name = "KEY")]
    remove_properties: Vec<String>,
    /// Label to add; repeatable
    #[arg(long = "add-label", value_name = "LABEL")]
    add_labels: Vec<String>,
    /// Label to remove; repeatable
    #[arg(long = "remove-label", value_name = "LABEL")]
    remove_labels: Vec<String>,
    /// Drop all properties that are not named here
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    expected: Expected,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Id of the node
    id: u64,
    /// Delete the node's edges with it; without this a node that has edges is refused
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    expected: Expected,
}

#[derive(Debug, Args)]
pub struct FindArgs {
    /// Only nodes with this label
    #[arg(short, long)]
    label: Option<String>,
    #[arg(short = 'w', long = "where", value_name = "CONDITION", help = FILTER_HELP)]
    conditions: Vec<FilterArg>,
    #[command(flatten)]
    show: Show,
}

pub(super) async fn run(
    command: NodeCommand,
    client: &ClientArgs,
    output: &mut Output<impl Write>,
) -> Result<(), CliError> {
    let cluster = client.connect()?;
    let operation: Operation = match command {
        NodeCommand::Create(args) => args.operation()?.into(),
        NodeCommand::Update(args) => args.operation()?.into(),
        NodeCommand::Delete(args) => DeleteNode {
            id: args.id,
            detach: args.detach,
            expected_cid: args.expected.bytes(),
        }
        .into(),
        NodeCommand::History(args) => {
            let history = cluster.get_node_history(args.id, args.limit).await?;
            return history::print(history, output);
        }
        NodeCommand::Get(args) => return get(&cluster, args.ids, output).await,
        NodeCommand::Find(args) => return find(&cluster, args, output).await,
    };
    let outcome = cluster.execute_operation(operation).await?;
    Ok(output.record(outcome_record(outcome))?)
}

impl CreateArgs {
    fn operation(self) -> Result<CreateNode, CliError> {
        Ok(CreateNode {
            labels: self.labels,
            properties: properties(self.properties)?,
        })
    }
}

impl UpdateArgs {
    fn operation(self) -> Result<UpdateNode, CliError> {
        let changes_nothing = self.properties.is_empty()
            && self.remove_properties.is_empty()
            && self.add_labels.is_empty()
            && self.remove_labels.is_empty()
            && !self.replace;
        if changes_nothing {
            let message =
                "nothing to change: give --property, --remove-property, --add-label, --remove-label or --replace";
            return Err(CliError::Usage(message.into()));
        }
        Ok(UpdateNode {
            id: self.id,
            set_properties: changes(self.properties, self.remove_properties)?,
            add_labels: self.add_labels,
            remove_labels: self.remove_labels,
            replace_properties: self.replace,
            expected_cid: self.expected.bytes(),
        })
    }
}

/// What to set, with null for what to remove.
pub(super) fn changes(set: Vec<PropertyArg>, remove: Vec<String>) -> Result<kotoba_proto::value::Properties, CliError> {
    let mut changes = properties(set)?;
    for key in remove {
        if changes.insert(key.clone(), Value::null()).is_some() {
            let message = format!("property {key:?} is both set and removed");
            return Err(CliError::Usage(message));
        }
    }
    Ok(changes)
}

async fn get(cluster: &KotobaCluster, ids: Vec<u64>, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let mut missing: BTreeSet<u64> = ids.iter().copied().collect();
    let rows = cluster.fetch_rows(GetNodes { ids }).await?;
    let nodes = rows.into_iter().filter_map(node_of).inspect(|node| {
        missing.remove(&node.id);
    });
    output.records(nodes.map(node_record))?;
    not_found("node", missing)
}

/// Names the ids that the answer did not hold.
pub(super) fn not_found(kind: &str, missing: BTreeSet<u64>) -> Result<(), CliError> {
    let ids: Vec<_> = missing.iter().map(u64::to_string).collect();
    match ids.is_empty() {
        true => Ok(()),
        false => Err(CliError::NotFound {
            what: format!("{kind} {}", ids.join(", ")),
        }),
    }
}

fn node_of(row: Row) -> Option<kotoba_proto::v1::Node> {
    match row.kind {
        Some(row::Kind::Node(node)) => Some(node),
        Some(row::Kind::Edge(_)) | None => None,
    }
}

async fn find(cluster: &KotobaCluster, args: FindArgs, output: &mut Output<impl Write>) -> Result<(), CliError> {
    let query = FindNodes {
        label: args.label.unwrap_or_default(),
        r#where: vec![],
        filters: filters(args.conditions),
        limit: args.show.limit(Unordered::HasPages),
    };
    search(cluster, query, args.show, output, row_record).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update() -> UpdateArgs {
        UpdateArgs {
            id: 1,
            properties: vec![],
            remove_properties: vec![],
            add_labels: vec![],
            remove_labels: vec![],
            replace: false,
            expected: Expected::default(),
        }
    }

    #[test]
    fn removing_a_property_sets_it_to_null() {
        let args = UpdateArgs {
            properties: vec!["a=1".parse().unwrap()],
            remove_properties: vec!["b".into()],
            ..update()
        };
        let operation = args.operation().unwrap();
        let expected = [("a".to_owned(), "1".into()), ("b".to_owned(), Value::null())].into();
        assert_eq!(operation.set_properties, expected);
    }

    #[test]
    fn an_update_of_nothing_is_a_usage_error() {
        assert!(matches!(update().operation(), Err(CliError::Usage(_))));
    }

    #[test]
    fn setting_and_removing_the_same_property_is_a_usage_error() {
        let args = UpdateArgs {
            properties: vec!["a=1".parse().unwrap()],
            remove_properties: vec!["a".into()],
            ..update()
        };
        assert!(matches!(args.operation(), Err(CliError::Usage(_))));
    }

    #[test]
    fn missing_ids_are_named() {
        let text = not_found("node", [3, 5].into()).unwrap_err().to_string();
        assert_eq!(text, "node 3, 5 not found");
        assert!(not_found("node", BTreeSet::new()).is_ok());
    }
}
