//! What a step of reading may give.

use kotoba_node::transaction::{ReadError, ReadFrom};

use crate::harness::*;

#[tokio::test]
async fn a_step_that_gives_more_than_it_may_is_refused() {
    let cluster = Cluster::new(3);
    let keys: Vec<_> = (0..3).map(|partition| cluster.key(partition, "k")).collect();
    cluster.wrote(keys.iter().map(|key| put(key, &"x".repeat(100)))).await;
    let snapshot = cluster.oracle.issue();
    let read = async |max_bytes| {
        let reads = keys.iter().map(get).collect();
        cluster
            .coordinator()
            .read_at(snapshot, ReadFrom::Leaders, reads, max_bytes)
            .await
    };
    assert_eq!(read(300).await.unwrap().len(), 3);
    assert_eq!(read(299).await, Err(ReadError::TooMuch { limit: 299 }));
}
