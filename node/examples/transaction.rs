//! Transactions: several operations that apply together or not at all, and compare-and-set for what was read before.
//!
//!     cargo run --example transaction 127.0.0.1:7700

use anyhow::Context;
use kotoba_proto::v1::{CreateEdge, CreateNode, GetNodes, Node, NodeRef, Row, UpdateNode, Value};
use kotoba_proto::{ClusterError, KotobaCluster};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let addresses = std::env::args().nth(1).unwrap_or("127.0.0.1:7700".into());
    println!("balances after the transfer: {:?}", run(&addresses).await?);
    Ok(())
}

/// Opens two accounts and moves 30 from the first to the second; gives both balances.
pub async fn run(addresses: &str) -> anyhow::Result<(i64, i64)> {
    let cluster = KotobaCluster::connect(addresses)?;

    // An operation may name a node that an earlier one of the same transaction creates.
    let owns = CreateEdge {
        r#type: "PAIRED".into(),
        source: Some(NodeRef::operation(0)),
        target: Some(NodeRef::operation(1)),
        properties: Default::default(),
    };
    let opened = vec![account(100).into(), account(0).into(), owns.into()];
    let made = cluster.execute_operations(opened).await?;
    let (from, to) = (made[0].id, made[1].id);

    while !transfer(&cluster, from, to, 30).await? {
        println!("somebody else changed an account meanwhile: reading again");
    }
    Ok((
        balance(&read(&cluster, from).await?),
        balance(&read(&cluster, to).await?),
    ))
}

/// Moves an amount; false where an account has changed since it was read here, and so nothing was applied.
async fn transfer(cluster: &KotobaCluster, from: u64, to: u64, amount: i64) -> anyhow::Result<bool> {
    let (source, target) = (read(cluster, from).await?, read(cluster, to).await?);
    anyhow::ensure!(balance(&source) >= amount, "not enough on account {from}");
    let updates = vec![
        with_balance(&source, balance(&source) - amount).into(),
        with_balance(&target, balance(&target) + amount).into(),
    ];
    match cluster.execute_operations(updates).await {
        Ok(_) => Ok(true),
        Err(ClusterError::OtherVersion(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn account(balance: i64) -> CreateNode {
    CreateNode {
        labels: vec!["Account".into()],
        properties: [("balance".to_owned(), balance.into())].into(),
    }
}

/// The update is refused unless the node still has the content id that it was read with.
fn with_balance(node: &Node, balance: i64) -> UpdateNode {
    UpdateNode {
        id: node.id,
        set_properties: [("balance".to_owned(), balance.into())].into(),
        expected_cid: node.cid.clone(),
        ..UpdateNode::default()
    }
}

async fn read(cluster: &KotobaCluster, id: u64) -> anyhow::Result<Node> {
    let rows = cluster.fetch_rows(GetNodes { ids: vec![id] }).await?;
    let node = rows.into_iter().next().and_then(Row::into_node);
    node.with_context(|| format!("account {id} is gone"))
}

fn balance(node: &Node) -> i64 {
    node.properties.get("balance").and_then(Value::as_integer).unwrap_or(0)
}
