//! Holes 5 to 7, 12 and 13: what a transaction has read or required, and when.

use kotoba_node::transaction::{CommitError, ReadError, Request};
use kotoba_state::partition::{Command, ConditionKind};

use crate::harness::router::Fate;
use crate::harness::*;

/// Two nodes on two partitions, and the keys of an edge between them.
struct Edge {
    source: Vec<u8>,
    target: Vec<u8>,
    out_half: Vec<u8>,
    in_half: Vec<u8>,
}

impl Edge {
    fn keys(cluster: &Cluster) -> Self {
        Edge {
            source: cluster.key(0, "node"),
            target: cluster.key(1, "node"),
            out_half: cluster.key(0, "out:edge"),
            in_half: cluster.key(1, "in:edge"),
        }
    }

    async fn nodes(cluster: &Cluster) -> Self {
        let edge = Self::keys(cluster);
        cluster.wrote([put(&edge.source, "source"), put(&edge.target, "target")]).await;
        cluster.recover().await;
        edge
    }

    /// What creates the edge: no reads, no locks, only guarded conditions.
    fn creation(&self) -> kotoba_node::transaction::Writes {
        let mut writes = only([put(&self.out_half, "edge"), put(&self.in_half, "edge")]);
        writes.conditions = vec![
            condition(&self.source, ConditionKind::Exists, true),
            condition(&self.target, ConditionKind::Exists, true),
        ];
        writes
    }

    async fn dangles(&self, cluster: &Cluster) -> bool {
        let half = cluster.read_now(&self.out_half).await.or(cluster.read_now(&self.in_half).await);
        let both = cluster.read_now(&self.source).await.and(cluster.read_now(&self.target).await);
        half.is_some() && both.is_none()
    }
}

fn is_refresh(request: &Request) -> bool {
    matches!(request, Request::Refresh(_))
}

#[tokio::test]
async fn hole_05_node_exists_refuses_a_delete_that_is_prepared() {
    let cluster = Cluster::new(2);
    let edge = Edge::nodes(&cluster).await;
    let coordinator = cluster.coordinator();
    let mut deletion = coordinator.begin();
    let range = scan(&cluster.key(0, "out:"), &cluster.key(0, "out;"));
    assert_eq!(pairs(deletion.read(vec![range]).await.unwrap().remove(0)), []);

    // The deletion has its intent and its timestamp; then the edge is created; then the deletion refreshes.
    let refreshing = cluster.router.on_next(Fate::HoldRequest, |_, request| is_refresh(request));
    let deletion = {
        let (coordinator, writes) = (cluster.coordinator(), only([delete(&edge.source), put(&cluster.key(1, "note"), "")]));
        let mut deletion = coordinator_owned(coordinator, writes, scan(&cluster.key(0, "out:"), &cluster.key(0, "out;")));
        refreshing_or_done(&refreshing, &mut deletion).await;
        deletion
    };
    let created = within("a commit did not end", cluster.coordinator().begin().commit(edge.creation())).await;
    refreshing.open();
    let deleted = joined(deletion).await;
    assert!(!edge.dangles(&cluster).await, "created {created:?}, deleted {deleted:?}");
    assert!(is_conflict(&created), "{created:?}");
    assert!(deleted.is_ok(), "{deleted:?}");
}

/// A transaction that reads a range and then commits writes, beside the test.
fn coordinator_owned(
    coordinator: std::sync::Arc<kotoba_node::transaction::Coordinator>,
    writes: kotoba_node::transaction::Writes,
    range: kotoba_graph::read::Read,
) -> tokio::task::JoinHandle<Result<kotoba_state::ids::Timestamp, CommitError>> {
    tokio::spawn(async move {
        let mut transaction = coordinator.begin();
        transaction.read(vec![range]).await.expect("a read of a living cluster");
        transaction.commit(writes).await
    })
}

async fn refreshing_or_done<T: std::fmt::Debug>(gate: &gate::Gate, task: &mut tokio::task::JoinHandle<T>) {
    tokio::select! {
        () = gate.reached() => {}
        ended = task => panic!("it ended before it came to the gate: {ended:?}"),
    }
}
