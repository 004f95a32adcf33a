//! Floors rise where something is dropped, soon and in full, and a partition at rest proposes nothing.

use std::sync::Arc;
use std::time::Duration;

use kotoba_node::transaction::{LeaderSettings, ReadError};
use kotoba_state::partition::{Command, Droppable, Floors, droppable};

use crate::harness::{Cluster, ReadValue, put};

/// The retentions of a real partition, with time that passes as soon as all wait for it.
fn cluster() -> Arc<Cluster> {
    Cluster::with_settings(2, &LeaderSettings::default())
}

async fn minutes(count: u64) {
    tokio::time::sleep(Duration::from_secs(60 * count)).await;
}

fn is_floor(command: &Command) -> bool {
    matches!(command, Command::RecordFloor { .. } | Command::VersionFloor { .. })
}

fn floors(cluster: &Cluster, partition: usize) -> usize {
    cluster
        .group(partition)
        .log()
        .iter()
        .filter(|command| is_floor(command))
        .count()
}

/// Whether anything is left that floors at the present would drop.
fn holds_anything_to_drop(cluster: &Cluster, partition: usize) -> bool {
    let now = cluster.oracle.newest();
    let floors = Floors {
        records: now,
        versions: now,
    };
    let nothing = Droppable {
        records: false,
        versions: false,
    };
    let store = cluster.group(partition).store();
    droppable(&store, floors, u32::MAX).expect("memory does not fail") != nothing
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_has_nothing_to_drop_raises_no_floor() {
    let cluster = cluster();
    for name in ["a", "b", "c"] {
        cluster.wrote([put(&cluster.key(0, name), "1")]).await;
        minutes(1).await;
    }
    minutes(20).await;
    assert_eq!([floors(&cluster, 0), floors(&cluster, 1)], [0, 0]);
    let entries = cluster.group(0).entries();
    minutes(60).await;
    assert_eq!(cluster.group(0).entries(), entries, "it is at rest, and writes");
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_dropped_within_a_minute_and_then_there_is_rest() {
    let cluster = cluster();
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    cluster.wrote([put(&a, "1"), put(&b, "1")]).await;
    // What is issued later lets floors pass the start of the transaction.
    cluster.oracle.issue();
    minutes(1).await;
    assert!((0..2).all(|partition| !holds_anything_to_drop(&cluster, partition)));
    assert_eq!(
        floors(&cluster, 0) + floors(&cluster, 1),
        1,
        "one partition had the outcome"
    );
    minutes(20).await;
    assert_eq!(floors(&cluster, 0) + floors(&cluster, 1), 1);
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_refused_where_versions_were_dropped_and_only_there() {
    let cluster = cluster();
    let (changed, kept) = (cluster.key(0, "k"), cluster.key(1, "k"));
    for value in ["1", "2"] {
        cluster.wrote([put(&changed, value)]).await;
    }
    cluster.wrote([put(&kept, "1")]).await;
    let snapshot = cluster.oracle.issue();
    cluster.wrote([put(&changed, "3")]).await;
    cluster.oracle.issue();
    minutes(9).await;
    assert_eq!(cluster.read(&changed, snapshot).await.as_deref(), Some("2"));
    minutes(2).await;
    let refused = cluster.coordinator().read_value(&changed, snapshot).await;
    assert_eq!(refused, Err(ReadError::TooOld));
    assert_eq!(cluster.read(&kept, snapshot).await.as_deref(), Some("1"));
    assert_eq!(cluster.read_now(&changed).await.as_deref(), Some("3"));
    assert!(!holds_anything_to_drop(&cluster, 0));
}

#[tokio::test(start_paused = true)]
async fn more_than_one_round_drops_goes_though_nothing_is_written_any_more() {
    const KEYS: usize = 40_000;
    let cluster = cluster();
    for value in ["1", "2"] {
        let writes = (0..KEYS).map(|number| put(&cluster.key(0, &number.to_string()), value));
        cluster.wrote(writes).await;
    }
    cluster.oracle.issue();
    minutes(12).await;
    assert!(!holds_anything_to_drop(&cluster, 0));
    let floors_until_then = floors(&cluster, 0);
    minutes(20).await;
    assert_eq!(floors(&cluster, 0), floors_until_then);
}
