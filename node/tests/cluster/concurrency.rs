//! Many clients at once on the same nodes: nothing dangles, no update is lost, and no reader sees half of a transaction.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use kotoba_proto::v1::{Direction, Operation, UpdateNode};
use kotoba_proto::{ClusterError, KotobaCluster};

use crate::cluster::Cluster;
use crate::graph::{
    create_edge, create_node, delete_node, edges, edges_of, find_edges, get_nodes, nodes, properties, update_node,
};
use crate::wait::run;

async fn create_nodes(client: &KotobaCluster, count: usize) -> Vec<u64> {
    let batch: Vec<Operation> = (0..count).map(|_| create_node("Item", [("n", 0.into())])).collect();
    let made = client.execute_operations(batch).await.unwrap();
    made.iter().map(|outcome| outcome.id).collect()
}

async fn edge_ids(client: &KotobaCluster, node: u64, direction: Direction) -> BTreeSet<u64> {
    let rows = client.fetch_rows(edges_of(node, direction)).await.unwrap();
    edges(rows).into_keys().collect()
}

#[test]
fn creating_edges_to_a_node_while_it_is_deleted_never_leaves_a_dangling_half() {
    const ROUNDS: usize = 16;
    run(async {
        let cluster = Cluster::of(3).await;
        let clients: Vec<_> = (1..=3).map(|member| cluster.client_of(member)).collect();
        let ids = create_nodes(&clients[0], 2 * ROUNDS).await;
        let rounds = ids
            .chunks(2)
            .enumerate()
            .map(|(round, pair)| race(&clients, pair[0], pair[1], round % 2 == 0));
        for kept in join_all(rounds).await {
            assert!(kept <= 2);
        }
        let counted = clients[0].count(find_edges("RACE")).await.unwrap();
        let mut seen = 0;
        for id in ids {
            seen += edge_ids(&clients[1], id, Direction::Out).await.len() as u64;
        }
        assert_eq!(counted, seen);
        cluster.agree().await;
    });
}

/// Two edges between two nodes are created, one each way, while one of the nodes is deleted.
async fn race(clients: &[KotobaCluster], kept: u64, deleted: u64, detach: bool) -> usize {
    let (there, back, deletion) = tokio::join!(
        clients[0].execute_operation(create_edge("RACE", kept, deleted)),
        clients[1].execute_operation(create_edge("RACE", deleted, kept)),
        clients[2].execute_operation(delete_node(deleted, detach)),
    );
    let mut created = 0;
    for edge in [there, back] {
        match edge {
            Ok(_) => created += 1,
            Err(ClusterError::NotFound(_)) => {}
            Err(error) => panic!("creating an edge was answered: {error}"),
        }
    }
    let is_gone = match deletion {
        Ok(_) => true,
        Err(ClusterError::Refused(_)) if !detach => false,
        Err(error) => panic!("deleting the node was answered: {error}"),
    };
    let left = edge_ids(&clients[0], kept, Direction::Both).await.len();
    let rows = clients[1].fetch_rows(get_nodes([deleted])).await.unwrap();
    assert_eq!(rows.is_empty(), is_gone);
    match is_gone {
        true => assert_eq!(left, 0, "an edge to a deleted node is there"),
        false => assert_eq!(left, created, "an acknowledged edge is lost"),
    }
    left
}

#[test]
fn of_concurrent_updates_of_one_node_none_is_lost() {
    const WRITERS: usize = 6;
    const EACH: usize = 8;
    run(async {
        let cluster = Cluster::of(3).await;
        let node = create_nodes(&cluster.client(), 1).await[0];
        let writers = (0..WRITERS).map(|writer| {
            let client = cluster.client_of(writer as u64 % 3 + 1);
            async move {
                for turn in 0..EACH {
                    let mine = UpdateNode {
                        id: node,
                        set_properties: [(format!("w{writer}t{turn}"), true.into())].into(),
                        add_labels: vec![format!("Writer{writer}")],
                        ..UpdateNode::default()
                    };
                    client.execute_operation(mine).await.unwrap();
                }
            }
        });
        join_all(writers).await;
        let seen = nodes(cluster.client().fetch_rows(get_nodes([node])).await.unwrap());
        assert_eq!(seen[&node].properties.len(), 1 + WRITERS * EACH);
        assert_eq!(seen[&node].labels.len(), 1 + WRITERS);
    });
}

/// Attempts at operations, on all members, that were not the first of their request.
fn retried(cluster: &Cluster) -> u64 {
    let of = |member| cluster.running(member).gateway().unwrap().outcomes().retried.get();
    (1..=3).map(of).sum()
}

#[test]
fn who_lost_to_another_change_stands_in_line_and_does_not_lose_again_and_again() {
    const WRITERS: usize = 128;
    run(async {
        let cluster = Cluster::of(3).await;
        let ids = create_nodes(&cluster.client(), 2).await;
        let client = cluster.client_of(1);
        let before = retried(&cluster);
        let both = || ids.iter().map(|id| update_node(*id, [("n", 1.into())])).collect();
        let outcomes = join_all((0..WRITERS).map(|_| client.execute_operations(both()))).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        // Who came before anybody had lost does so once.
        let retried = retried(&cluster) - before;
        assert!(retried < WRITERS as u64 * 3 / 2, "{retried} attempts in vain");
    });
}

#[test]
fn a_reader_never_sees_an_edge_from_one_end_only() {
    run(async {
        let cluster = Cluster::of(3).await;
        let ids = create_nodes(&cluster.client(), 12).await;
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (1..=3)
            .map(|member| tokio::spawn(follow_both_ends(cluster.client_of(member), ids.clone(), done.clone())))
            .collect();
        let writer = cluster.client();
        for _ in 0..5 {
            let pairs = ids.iter().zip(ids.iter().cycle().skip(1));
            join_all(pairs.map(|(from, to)| writer.execute_operation(create_edge("PAIR", *from, *to)))).await;
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.unwrap() > 0, "a reader has read nothing");
        }
        assert_eq!(writer.count(find_edges("PAIR")).await.unwrap(), 5 * ids.len() as u64);
    });
}

/// Edges are only created here, so each look must find at least what the one before found at the other end.
async fn follow_both_ends(client: KotobaCluster, ids: Vec<u64>, done: Arc<AtomicBool>) -> usize {
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        for (from, to) in ids.iter().zip(ids.iter().cycle().skip(1)) {
            let before = edge_ids(&client, *from, Direction::Out).await;
            let at_target = edge_ids(&client, *to, Direction::In).await;
            let after = edge_ids(&client, *from, Direction::Out).await;
            assert!(
                before.is_subset(&at_target),
                "{before:?} at the source, {at_target:?} at the target"
            );
            assert!(
                at_target.is_subset(&after),
                "{at_target:?} at the target, {after:?} at the source"
            );
            looks += 1;
        }
    }
    looks
}

#[test]
fn a_reader_sees_all_of_a_transaction_over_many_partitions_or_nothing_of_it() {
    run(async {
        let cluster = Cluster::of(3).await;
        let ids = create_nodes(&cluster.client(), 10).await;
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (1..=3)
            .map(|member| tokio::spawn(read_equal_numbers(cluster.client_of(member), ids.clone(), done.clone())))
            .collect();
        let writers = (0..2).map(|writer| {
            let (client, ids) = (cluster.client(), ids.clone());
            async move {
                for turn in 0..12 {
                    let number = 100 * writer + turn;
                    let batch = ids.iter().map(|id| update_node(*id, [("n", number.into())]));
                    client.execute_operations(batch.collect()).await.unwrap();
                }
            }
        });
        join_all(writers).await;
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.unwrap() > 0, "a reader has read nothing");
        }
    });
}

/// All nodes are always given the same number in one transaction.
async fn read_equal_numbers(client: KotobaCluster, ids: Vec<u64>, done: Arc<AtomicBool>) -> usize {
    let mut looks = 0;
    while !done.load(Ordering::Relaxed) {
        let seen = nodes(client.fetch_rows(get_nodes(ids.iter().copied())).await.unwrap());
        let first = &seen[&ids[0]].properties;
        let equal = seen.values().all(|node| &node.properties == first);
        assert!(
            equal && seen.len() == ids.len() && first != &properties([]),
            "half of a transaction: {seen:?}"
        );
        looks += 1;
    }
    looks
}
