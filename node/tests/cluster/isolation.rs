//! Members that are cut off from the others while clients still reach them: they acknowledge nothing and tell nothing old.

use std::time::Duration;

use kotoba_proto::{ClusterError, KotobaCluster};
use kotoba_state::ids::MemberId;

use crate::cluster::Cluster;
use crate::graph::{create_node, find_nodes, get_nodes, update_node};
use crate::wait::run;
use crate::writer::Writer;

/// A client of a member that is cut off does not wait for longer.
const SHORT: Duration = Duration::from_millis(1_500);
/// Nodes enough that every partition holds some.
const NODES: i64 = 24;

async fn refuses_to_read(client: &KotobaCluster, ids: &[u64]) {
    let error = client.fetch_rows(get_nodes(ids.iter().copied())).await.unwrap_err();
    let is_honest = matches!(
        error,
        ClusterError::Timeout { .. }
            | ClusterError::NetworkError { .. }
            | ClusterError::Transient(_)
            | ClusterError::NoLeader(_)
    );
    assert!(is_honest, "{error}");
}

async fn refuses_to_write(client: &KotobaCluster, id: u64) {
    let error = client
        .execute_operation(update_node(id, [("state", "cut off".into())]))
        .await
        .unwrap_err();
    let is_honest = matches!(
        error,
        ClusterError::UnknownOutcome(_) | ClusterError::Transient(_) | ClusterError::NoLeader(_)
    );
    assert!(is_honest, "{error}");
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_serves_no_read_while_the_others_go_on() {
    run(async {
        let cluster = Cluster::of(3).await;
        let batch = (0..NODES).map(|n| create_node("Item", [("n", n.into()), ("state", "before".into())]));
        let made = cluster.client().execute_operations(batch.collect()).await.unwrap();
        let ids: Vec<u64> = made.iter().map(|outcome| outcome.id).collect();
        let leader = cluster.meta_leader().await;
        let other = (1..=3).find(|member| *member != leader).unwrap();

        cluster.links.isolate(MemberId(leader));
        let others = cluster.client_of(other);
        for id in &ids {
            others
                .execute_operation(update_node(*id, [("state", "after".into())]))
                .await
                .unwrap();
        }
        assert_eq!(
            others
                .count(find_nodes("Item", [("state", "after".into())]))
                .await
                .unwrap(),
            NODES as u64
        );
        let cut_off = cluster.impatient_client_of(leader, SHORT);
        refuses_to_read(&cut_off, &ids).await;
        for id in &ids[..3] {
            refuses_to_write(&cut_off, *id).await;
        }
        refuses_to_read(&cut_off, &ids).await;
        assert!(!cut_off.get_status().await.is_ok_and(|status| status.linearizable));

        cluster.links.heal();
        cluster.ready().await;
        // A write that was sent may be applied still; it was told as unknown.
        let settled = cluster
            .client_of(leader)
            .fetch_rows(get_nodes(ids[3..].iter().copied()))
            .await
            .unwrap();
        let after = |node: &kotoba_proto::v1::Node| node.properties["state"] == "after".into();
        assert!(crate::graph::nodes(settled).values().all(after));
        cluster.agree().await;
    });
}

#[test]
fn each_member_is_cut_off_in_turn_under_a_writer_and_afterwards_all_agree() {
    run(async {
        let cluster = Cluster::of(3).await;
        for member in 1..=3 {
            let other = member % 3 + 1;
            let writer = Writer::start(cluster.client_of(other), &format!("Without{member}"));
            writer.progress(10).await;
            cluster.links.isolate(MemberId(member));
            writer.progress(25).await;
            cluster.links.heal();
            cluster.ready().await;
            writer.progress(5).await;
            let ledger = writer.finish().await;
            ledger.check(&cluster.client_of(member)).await;
        }
        cluster.agree().await;
    });
}
