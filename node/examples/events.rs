//! Events: members that come, go and fail, leaders, moves of partitions.
//!
//!     cargo run --example events 127.0.0.1:7700

use kotoba_proto::KotobaCluster;
use kotoba_proto::v1::ClusterEvent;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let addresses = std::env::args().nth(1).unwrap_or("127.0.0.1:7700".into());
    run(&addresses, |event| {
        println!("{:?}  {}", event.kind(), event.message);
        true
    })
    .await
}

/// Tells each event to `heard`, until that says it has heard enough.
pub async fn run(addresses: &str, mut heard: impl FnMut(&ClusterEvent) -> bool) -> anyhow::Result<()> {
    let cluster = KotobaCluster::connect(addresses)?;
    loop {
        let mut events = cluster.subscribe_events().await?;
        // The stream ends when the member that sends it goes away; another one sends the same events.
        while let Ok(Some(event)) = events.next().await {
            if !heard(&event) {
                return Ok(());
            }
        }
    }
}
