//! A database inside a program: one member, founded at its first start and found again at the next.
//!
//!     cargo run --example embedded

use std::net::SocketAddr;
use std::path::Path;

use kotoba_node::{ClusterConfig, KotobaCluster, NodeId};
use kotoba_proto::v1::{CreateNode, FindNodes};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let created = run(Path::new("kotoba-data/node-1"), "127.0.0.1:8080".parse()?).await?;
    println!("the graph has {created} visits");
    Ok(())
}

/// Notes one visit and counts all that were ever noted in this folder.
pub async fn run(data_dir: &Path, address: SocketAddr) -> anyhow::Result<u64> {
    let config = ClusterConfig {
        replication_factor: 3,
        partition_count: 64,
        data_dir: Some(data_dir.to_owned()),
        ..ClusterConfig::default()
    };
    let cluster = KotobaCluster::new(NodeId("node-1".into()), config)
        .start(address)
        .await?;

    let visit = CreateNode {
        labels: vec!["Visit".into()],
        properties: [("from".to_owned(), "example".into())].into(),
    };
    let made = cluster.execute_operation(visit).await?;
    println!("created node {} with content id {}", made.id, made.cid);

    let visits = FindNodes {
        label: "Visit".into(),
        ..FindNodes::default()
    };
    let count = cluster.count(visits).await?;

    let status = cluster.get_status().await?;
    println!("members: {:?}", status.membership);
    println!("healthy: {}", cluster.check_health().await?.is_healthy);
    cluster.stop().await;
    Ok(count)
}
