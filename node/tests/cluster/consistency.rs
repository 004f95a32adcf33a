//! The consistency levels, each told from the others: what a read sees at a member that is behind, cut off, or alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kotoba_proto::cluster::{OperationOutcome, Options};
use kotoba_proto::v1::{Consistency, GetHistoryResponse, Operation, Version, row};
use kotoba_proto::{ClusterError, KotobaCluster};
use kotoba_state::ids::MemberId;

use crate::cluster::{Cluster, PARTITIONS};
use crate::graph::{create_edge, create_node, delete_node, find_nodes, get_nodes, update_edge, update_node};
use crate::settings::Pace;
use crate::wait::{ensure, run, until};

/// A client of members that cannot answer does not wait for longer.
const SHORT: Duration = Duration::from_secs(2);

fn eventual(client: &KotobaCluster) -> KotobaCluster {
    with(client, |options| options.consistency = Consistency::Eventual)
}

fn read_your_writes(client: &KotobaCluster) -> KotobaCluster {
    with(client, |options| options.consistency = Consistency::ReadYourWrites)
}

fn with(client: &KotobaCluster, change: impl FnOnce(&mut Options)) -> KotobaCluster {
    let mut options = client.options().clone();
    change(&mut options);
    client.with_options(options)
}

async fn create_many(client: &KotobaCluster, label: &str, count: usize) -> u64 {
    let batch = (0..count).map(|_| create_node(label, [])).collect();
    client.execute_operations(batch).await.unwrap()[0].bookmark
}

#[test]
fn without_a_majority_an_eventual_read_goes_on_until_it_would_be_too_stale_and_a_strong_one_fails() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let client = cluster.impatient_client_of(1, SHORT);
        let bookmark = create_many(&cluster.client(), "Item", 40).await;
        let eventual = eventual(&client);
        until("an eventual read of all", || async {
            let count = eventual.count(find_nodes("Item", [])).await.unwrap();
            ensure(count == 40, || count.to_string())
        })
        .await;
        cluster.crash(2).await;
        cluster.crash(3).await;
        assert!(client.count(find_nodes("Item", [])).await.is_err());
        let rows = eventual.execute_query(find_nodes("Item", [])).await.unwrap();
        let (snapshot, staleness) = (rows.snapshot(), rows.staleness());
        assert_eq!(rows.collect().await.unwrap().len(), 40);
        let later = eventual.execute_query(find_nodes("Item", [])).await.unwrap();
        assert_eq!(later.snapshot(), snapshot, "nobody could have closed a newer one");
        assert!(later.staleness() > staleness);
        // What this replica has reached needs nobody else either.
        let mine = read_your_writes(&client);
        mine.advance_bookmark(bookmark);
        assert_eq!(mine.count(find_nodes("Item", [])).await.unwrap(), 40);
        let strict = with(&eventual, |options| options.max_staleness = Duration::from_millis(1));
        assert!(strict.count(find_nodes("Item", [])).await.is_err());
    });
}

#[test]
fn an_eventual_read_sees_all_of_a_transaction_over_many_partitions_or_nothing_of_it() {
    run(async {
        let cluster = Cluster::of(3).await;
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (1..=3)
            .map(|member| tokio::spawn(count_in_tens(eventual(&cluster.client_of(member)), done.clone())))
            .collect();
        let writer = cluster.client();
        for _ in 0..15 {
            create_many(&writer, "Ten", 10).await;
        }
        until("all readers see the last", || async {
            let count = eventual(&cluster.client_of(2))
                .count(find_nodes("Ten", []))
                .await
                .unwrap();
            ensure(count == 150, || count.to_string())
        })
        .await;
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.unwrap() > 0, "a reader has read nothing");
        }
    });
}

/// Counts again and again; what is there comes in tens and never goes back.
async fn count_in_tens(client: KotobaCluster, done: Arc<AtomicBool>) -> usize {
    let (mut looks, mut last) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        let count = client.count(find_nodes("Ten", [])).await.unwrap();
        assert_eq!(count % 10, 0, "{count} nodes are no whole number of transactions");
        assert!(count >= last, "{count} after {last}");
        (looks, last) = (looks + 1, count);
    }
    looks
}

#[test]
fn a_read_at_a_member_that_is_behind_waits_for_the_bookmark_while_an_eventual_one_does_not() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, PARTITIONS).await;
        let writer = cluster.client_of(1);
        create_many(&writer, "Item", 20).await;
        let behind = cluster.impatient_client_of(3, SHORT);
        let eventual = eventual(&behind);
        until("an eventual read of all", || async {
            let count = eventual.count(find_nodes("Item", [])).await.unwrap();
            ensure(count == 20, || count.to_string())
        })
        .await;
        cluster.links.isolate(MemberId(3));
        // Member 3 may have led some partitions: the others elect new leaders first.
        let bookmark = create_many(&writer, "Item", 20).await;
        let mine = read_your_writes(&behind);
        mine.advance_bookmark(bookmark);
        let error = mine.count(find_nodes("Item", [])).await.unwrap_err();
        assert!(!matches!(error, ClusterError::Invalid(_)), "{error}");
        assert_eq!(eventual.count(find_nodes("Item", [])).await.unwrap(), 20);
        cluster.links.heal();
        let patient = read_your_writes(&cluster.client_of(3));
        patient.advance_bookmark(bookmark);
        assert_eq!(patient.count(find_nodes("Item", [])).await.unwrap(), 40);
    });
}

#[test]
fn a_client_reads_its_own_writes_through_every_member() {
    run(async {
        let cluster = Cluster::of(3).await;
        let writer = cluster.client();
        for round in 1..=20 {
            let bookmark = writer
                .execute_operation(create_node("Mine", []))
                .await
                .unwrap()
                .bookmark;
            for member in 1..=3 {
                let mine = read_your_writes(&cluster.client_of(member));
                mine.advance_bookmark(bookmark);
                assert_eq!(mine.count(find_nodes("Mine", [])).await.unwrap(), round);
            }
        }
    });
}

#[test]
fn the_past_is_read_as_it_was_at_every_level_and_the_future_is_refused() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        let made = client
            .execute_operation(create_node("A", [("n", 1.into())]))
            .await
            .unwrap();
        let updated = client
            .execute_operation(update_node(made.id, [("n", 2.into())]))
            .await
            .unwrap();
        let deleted = client.execute_operation(delete_node(made.id, false)).await.unwrap();
        for consistency in [Consistency::Strong, Consistency::ReadYourWrites, Consistency::Eventual] {
            let cid_at = async |at: u64| {
                let past = with(&client, |options| {
                    options.as_of = Some(at);
                    options.consistency = consistency;
                });
                let nodes = crate::graph::nodes(past.fetch_rows(get_nodes([made.id])).await.unwrap());
                nodes.into_values().next().map(|node| crate::graph::cid(&node.cid))
            };
            assert_eq!(cid_at(made.bookmark).await, Some(made.cid.clone()));
            assert_eq!(cid_at(updated.bookmark).await, Some(updated.cid.clone()));
            assert_eq!(cid_at(deleted.bookmark).await, None);
            assert_eq!(cid_at(made.bookmark - 1).await, None);
        }
        let future = with(&client, |options| options.as_of = Some(u64::MAX >> 1));
        let error = future.fetch_rows(get_nodes([made.id])).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invalid(_)), "{error}");
    });
}

#[test]
fn the_history_of_an_entity_has_each_version_with_its_timestamp_and_cid() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client_of(2);
        let done = async |operation: Operation| client.execute_operation(operation).await.unwrap();
        let node = done(create_node("A", [("n", 1.into())])).await;
        let node_updated = done(update_node(node.id, [("n", 2.into())])).await;
        let edge = done(create_edge("SELF", node.id, node.id)).await;
        let edge_updated = done(update_edge(edge.id, [("n", 3.into())])).await;
        let deleted = done(delete_node(node.id, true)).await;
        let told = |history: GetHistoryResponse| -> Vec<_> {
            let version = |version: Version| {
                let cid = version.row.map(|row| match row.kind.unwrap() {
                    row::Kind::Node(node) => node.cid,
                    row::Kind::Edge(edge) => edge.cid,
                });
                (version.timestamp, cid.map(kotoba_proto::ContentId::from))
            };
            history.versions.into_iter().map(version).collect()
        };
        let of = |outcome: &OperationOutcome| (outcome.bookmark, Some(outcome.cid.clone()));
        let gone = (deleted.bookmark, None);
        let history = client.get_node_history(node.id, 0).await.unwrap();
        assert!(!history.more);
        assert_eq!(told(history), [gone.clone(), of(&node_updated), of(&node)]);
        let history = client.get_edge_history(edge.id, 0).await.unwrap();
        assert_eq!(told(history), [gone, of(&edge_updated), of(&edge)]);
        let newest = client.get_node_history(node.id, 1).await.unwrap();
        assert!(newest.more && newest.versions.len() == 1);
        let earlier = with(&client, |options| options.as_of = Some(deleted.bookmark - 1));
        let earlier = earlier.get_node_history(node.id, 1).await.unwrap();
        assert_eq!(told(earlier), [of(&node_updated)]);
        assert!(client.get_node_history(1, 0).await.unwrap().versions.is_empty());
    });
}
