//! The present version of one key, read without a timestamp taken for it.

use bytes::Bytes;
use kotoba_node::transaction::Request;
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{ConditionKind, Key};

use crate::harness::router::Fate;
use crate::harness::*;

const ANY: Timestamp = Timestamp(0);

/// A value, and a snapshot that shows it.
type Newest = Option<(Timestamp, Option<Bytes>)>;

async fn newest(cluster: &Cluster, key: &Key, at_least: Timestamp) -> Newest {
    let coordinator = cluster.coordinator();
    within("no answer", coordinator.read_newest(key.clone(), at_least))
        .await
        .expect("a read of a living cluster")
}

fn version(at: Timestamp, value: Option<&str>) -> Newest {
    Some((at, value.map(|value| Bytes::copy_from_slice(value.as_bytes()))))
}

#[tokio::test]
async fn it_comes_with_a_snapshot_that_shows_it() {
    let cluster = Cluster::new(2);
    let key = cluster.key(1, "k");
    assert_eq!(newest(&cluster, &key, ANY).await, version(ANY, None));
    cluster.wrote([put(&key, "1")]).await;
    let second = cluster.wrote([put(&key, "2")]).await;
    assert_eq!(newest(&cluster, &key, ANY).await, version(second, Some("2")));
    let later = cluster.oracle.issue();
    assert_eq!(newest(&cluster, &key, later).await, version(later, Some("2")));
    assert_eq!(cluster.read(&key, later).await.as_deref(), Some("2"));
    let deleted = cluster.wrote([delete(&key)]).await;
    assert_eq!(newest(&cluster, &key, ANY).await, version(deleted, None));
}

/// Such a commit may be older than one that the reader has heard of, and be seen by a reader that has not.
#[tokio::test]
async fn a_commit_that_has_its_timestamp_is_waited_for() {
    let cluster = Cluster::new(2);
    let (key, elsewhere) = (cluster.key(0, "k"), cluster.key(1, "e"));
    cluster.wrote([put(&key, "before")]).await;
    cluster.wrote([put(&elsewhere, "here")]).await;
    let mut writes = only([put(&key, "after")]);
    writes.conditions = vec![condition(&elsewhere, ConditionKind::Exists, false)];
    let refreshing = cluster
        .router
        .on_next(Fate::HoldRequest, |_, request| matches!(request, Request::Refresh(_)));
    let commit = cluster.committing(writes);
    refreshing.reached().await;

    let reader = cluster.clone();
    let read = key.clone();
    let mut reading = tokio::spawn(async move { newest(&reader, &read, ANY).await });
    still_waits(&mut reading, "the key is latched").await;
    refreshing.open();
    let committed = joined(commit).await.expect("nothing is in the way");
    assert_eq!(joined(reading).await, version(committed, Some("after")));
}

/// It may have been acknowledged, at a timestamp that this partition has not heard of.
#[tokio::test]
async fn behind_an_intent_the_reader_has_to_take_a_timestamp() {
    let cluster = Cluster::new(2);
    let (primary, other) = (cluster.key(0, "p"), cluster.key(1, "o"));
    cluster.wrote([put(&other, "before")]).await;
    let resolving = cluster.router.on_next(Fate::HoldRequest, |partition, request| {
        partition == PartitionId(1) && matches!(request, Request::Resolve { .. })
    });
    let committed = cluster.wrote([put(&primary, "1"), put(&other, "after")]).await;
    resolving.reached().await;
    assert_eq!(newest(&cluster, &other, ANY).await, None);
    assert_eq!(cluster.read_now(&other).await.as_deref(), Some("after"));
    resolving.open();
    cluster.recover().await;
    assert_eq!(newest(&cluster, &other, ANY).await, version(committed, Some("after")));
}

#[tokio::test]
async fn a_new_leader_knows_what_its_predecessor_acknowledged() {
    let cluster = Cluster::new(1);
    let key = cluster.key(0, "k");
    let committed = cluster.wrote([put(&key, "1")]).await;
    cluster.move_leadership(0);
    assert_eq!(newest(&cluster, &key, ANY).await, version(committed, Some("1")));
}
