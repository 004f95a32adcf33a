//! A client of a running cluster: writes, reads, and what to do about each kind of error.
//!
//!     kotoba dev
//!     cargo run --example client 127.0.0.1:7700,127.0.0.1:7701,127.0.0.1:7702

use std::time::Duration;

use kotoba_proto::v1::{CreateEdge, CreateNode, Direction, EdgesOf, NodeRef, Traverse, Value};
use kotoba_proto::{ClusterError, KotobaCluster, Options};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let addresses = std::env::args().nth(1).unwrap_or("127.0.0.1:7700".into());
    if let Err(error) = run(&addresses).await {
        println!("{}", advice(&error));
        return Err(error.into());
    }
    Ok(())
}

/// Creates two people who know each other; gives the names that are found by walking from the first.
pub async fn run(addresses: &str) -> Result<Vec<String>, ClusterError> {
    // Any member answers any call; where one is gone or does not lead, the client goes on to the next within the deadline.
    let options = Options {
        deadline: Duration::from_secs(10),
        ..Options::default()
    };
    let cluster = KotobaCluster::connect_with(addresses, options)?;

    let ada = cluster.execute_operation(person("Ada", 1815)).await?;
    let charles = cluster.execute_operation(person("Charles", 1791)).await?;
    let knows = CreateEdge {
        r#type: "KNOWS".into(),
        source: Some(NodeRef::id(ada.id)),
        target: Some(NodeRef::id(charles.id)),
        properties: [("since".to_owned(), 1833.into())].into(),
    };
    cluster.execute_operation(knows).await?;

    let edges = EdgesOf {
        node: ada.id,
        direction: Direction::Out.into(),
        ..EdgesOf::default()
    };
    println!("Ada knows {} people", cluster.count(edges).await?);

    let everybody = Traverse {
        start: vec![ada.id],
        types: vec!["KNOWS".into()],
        max_depth: 3,
        ..Traverse::default()
    };
    let mut rows = cluster.execute_query(everybody).await?;
    let mut names = Vec::new();
    while let Some(found) = rows.next().await? {
        let node = found.into_node().unwrap_or_default();
        let name = node.properties.get("name").and_then(Value::as_str);
        names.extend(name.map(str::to_owned));
    }
    Ok(names)
}

fn person(name: &str, born: i64) -> CreateNode {
    CreateNode {
        labels: vec!["Person".into()],
        properties: [("name".to_owned(), name.into()), ("born".to_owned(), born.into())].into(),
    }
}

/// By now the client has asked again for as long as its deadline allows: what is left is for a person, or the program.
pub fn advice(error: &ClusterError) -> &'static str {
    match error {
        ClusterError::NotLeader { .. } | ClusterError::NoLeader(_) => "a majority of the members has to be up",
        ClusterError::NetworkError { .. } | ClusterError::Address { .. } => {
            "is the address right, and a member running there?"
        }
        ClusterError::Transient(_) | ClusterError::Timeout { .. } => "nothing was applied: try again later",
        ClusterError::UnknownOutcome(_) => "read whether it was applied before you write again",
        _ => "the request was refused: it would be again",
    }
}
