//! Events: members that come, go and fail, leaders, moves of partitions.
//!
//!     cargo run --example events 127.0.0.1:7700

use kotoba_proto::v1::ClusterEvent;
use kotoba_proto::{ClusterError, KotobaCluster};

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
    let mut events = cluster.subscribe_events().await?;
    // Where its member goes away the stream goes on at another by itself.
    loop {
        match events.next().await {
            Ok(event) if heard(&event) => {}
            Ok(_) => return Ok(()),
            // Away for so long that the oldest are gone: what they told of is in the status.
            Err(ClusterError::EventsLost { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
