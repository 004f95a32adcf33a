//! A numbered request that comes again, at whatever member and after whatever was lost, is applied once and answered alike.

use std::collections::BTreeSet;
use std::sync::Mutex;

use futures::future::try_join_all;
use kotoba_node::transaction::Partitions;
use kotoba_proto::ClusterError;
use kotoba_proto::cluster::slot_of_entity;
use kotoba_proto::v1::{Direction, ExecuteOperationRequest, NodeRef, Operation};

use crate::cluster::Cluster;
use crate::graph::{
    create_edge, create_edge_between, create_node, delete_edge, delete_node, edges_of, find_nodes, update_node,
};
use crate::raw::send;
use crate::settings::Pace;
use crate::wait::{ensure, run, until};

fn numbered(sequence: u64, operations: Vec<Operation>) -> ExecuteOperationRequest {
    ExecuteOperationRequest {
        operations,
        client_id: vec![7; 16].into(),
        sequence,
        ..ExecuteOperationRequest::default()
    }
}

fn repeated(request: &ExecuteOperationRequest) -> ExecuteOperationRequest {
    ExecuteOperationRequest {
        repeated: true,
        ..request.clone()
    }
}

#[test]
fn a_request_that_is_sent_again_through_another_member_gets_the_first_answer() {
    run(async {
        let cluster = Cluster::of(3).await;
        let create = numbered(
            1,
            vec![
                create_node("Once", [("n", 1.into()), ("nan", f64::NAN.into())]),
                create_node("Once", []),
                create_edge_between("S", NodeRef::operation(1), NodeRef::operation(0)),
            ],
        );
        let first = send(&cluster, 1, &create).await.unwrap();
        for member in 1..=3 {
            for again in [create.clone(), repeated(&create)] {
                let answer = send(&cluster, member, &again).await.unwrap();
                assert_eq!(answer.results, first.results);
                assert!(answer.bookmark >= first.bookmark);
            }
        }
        let client = cluster.client();
        assert_eq!(client.count(find_nodes("Once", [])).await.unwrap(), 2);
        let (source, target) = (first.results[0].id, first.results[1].id);
        let connect = numbered(2, vec![create_edge("T", source, target)]);
        let edge = send(&cluster, 2, &connect).await.unwrap();
        assert_eq!(send(&cluster, 3, &connect).await.unwrap().results, edge.results);
        assert_eq!(client.count(edges_of(source, Direction::Out)).await.unwrap(), 1);
        // A version is told of by its receipt, though by now the node has another one.
        let update = numbered(
            4,
            vec![create_node("Other", []), update_node(source, [("n", 2.into())])],
        );
        let updated = send(&cluster, 2, &update).await.unwrap();
        assert_eq!(
            send(&cluster, 3, &repeated(&update)).await.unwrap().results,
            updated.results
        );
        assert_eq!(
            send(&cluster, 3, &repeated(&create)).await.unwrap().results,
            first.results
        );
        // By now the node is gone, and still the deletion is answered as it was.
        let delete = numbered(3, vec![delete_node(target, true)]);
        let deleted = send(&cluster, 3, &delete).await.unwrap();
        assert_eq!(
            send(&cluster, 1, &repeated(&delete)).await.unwrap().results,
            deleted.results
        );
        assert_eq!(send(&cluster, 1, &delete).await.unwrap().results, deleted.results);
    });
}

#[test]
fn a_request_that_has_chosen_its_slot_creates_there_and_once() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, 16).await;
        let create = ExecuteOperationRequest {
            home_slot: Some(1_000),
            ..numbered(1, vec![create_node("Once", []), create_node("Once", [])])
        };
        let first = send(&cluster, 1, &create).await.unwrap();
        assert!(first.results.iter().all(|node| slot_of_entity(node.id) == 1_000));
        for member in 1..=3 {
            let again = send(&cluster, member, &repeated(&create)).await.unwrap();
            assert_eq!(again.results, first.results);
        }
        assert_eq!(cluster.client().count(find_nodes("Once", [])).await.unwrap(), 2);
    });
}

#[test]
fn what_clients_create_together_lies_together_and_in_the_end_everywhere() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, 16).await;
        let client = cluster.client();
        let partition_of = |id| cluster.running(1).router.partition_of(slot_of_entity(id));
        let created = Mutex::new(Vec::new());
        until("nodes in every partition", || async {
            let together = (0..16).map(|_| client.execute_operation(create_node("Item", [])));
            let together = try_join_all(together).await.unwrap();
            let mut created = created.lock().unwrap();
            created.push(
                together
                    .iter()
                    .map(|node| partition_of(node.id))
                    .collect::<BTreeSet<_>>(),
            );
            let partitions: BTreeSet<_> = created.iter().flatten().collect();
            ensure(partitions.len() == 16, || format!("{} of 16", partitions.len()))
        })
        .await;
        // Anywhere, they would lie in ten partitions each time.
        let created = created.into_inner().unwrap();
        let apart = created.iter().map(BTreeSet::len).sum::<usize>() / created.len();
        assert!(apart <= 4, "sixteen at once lie in {apart} partitions");
    });
}

#[test]
fn receipts_outlive_a_crash_of_all_members() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let create = numbered(1, vec![create_node("Once", [])]);
        let first = send(&cluster, 1, &create).await.unwrap();
        cluster.crash_all(&[1, 2, 3]).await;
        for member in 1..=3 {
            cluster.start(member).await;
        }
        cluster.ready().await;
        let again = send(&cluster, 2, &repeated(&create)).await.unwrap();
        assert_eq!(again.results, first.results);
        assert_eq!(cluster.client().count(find_nodes("Once", [])).await.unwrap(), 1);
    });
}

#[test]
fn a_repeated_request_that_was_refused_stays_refused() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        let node = client.execute_operation(create_node("End", [])).await.unwrap().id;
        let edge = client.execute_operation(create_edge("T", node, node)).await.unwrap().id;
        let delete = repeated(&numbered(1, vec![delete_node(node, false)]));
        let refused = send(&cluster, 1, &delete).await.unwrap_err();
        assert!(matches!(refused, ClusterError::Refused(_)), "{refused}");
        client.execute_operation(delete_edge(edge)).await.unwrap();
        // What held it up is gone, but its client was told.
        assert_eq!(send(&cluster, 2, &delete).await.unwrap_err(), refused);
        let first_attempt = numbered(1, vec![delete_node(node, false)]);
        assert_eq!(send(&cluster, 3, &first_attempt).await.unwrap_err(), refused);
        assert_eq!(client.count(find_nodes("End", [])).await.unwrap(), 1);
    });
}

fn sent_after(request: &ExecuteOperationRequest, timestamp: u64) -> ExecuteOperationRequest {
    ExecuteOperationRequest {
        sent_after: timestamp,
        ..repeated(request)
    }
}

#[test]
fn a_request_that_comes_again_after_its_receipt_is_gone_is_refused_and_not_applied_twice() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        let before = client
            .execute_operation(create_node("Other", []))
            .await
            .unwrap()
            .bookmark;
        let create = numbered(1, vec![create_node("Once", [])]);
        let first = send(&cluster, 1, &create).await.unwrap();
        let never_sent = sent_after(&numbered(2, vec![create_node("Late", [])]), before);

        // While receipts are kept both are told apart.
        let again = send(&cluster, 2, &sent_after(&create, before)).await.unwrap();
        assert_eq!(again.results, first.results);
        cluster.forget_the_past().await;
        for request in [&sent_after(&create, before), &never_sent] {
            let error = send(&cluster, 3, request).await.unwrap_err();
            assert!(matches!(error, ClusterError::ReceiptExpired(_)), "{error}");
        }
        assert_eq!(client.count(find_nodes("Once", [])).await.unwrap(), 1);

        let now = client
            .execute_operation(create_node("Other", []))
            .await
            .unwrap()
            .bookmark;
        let late = ExecuteOperationRequest {
            sent_after: now,
            ..never_sent.clone()
        };
        send(&cluster, 1, &late).await.unwrap();
        send(&cluster, 2, &late).await.unwrap();
        assert_eq!(client.count(find_nodes("Late", [])).await.unwrap(), 1);
    });
}

#[test]
fn a_timestamp_of_another_cluster_is_refused() {
    run(async {
        let cluster = Cluster::of(1).await;
        let request = sent_after(&numbered(1, vec![create_node("Once", [])]), 1 << 60);
        let error = send(&cluster, 1, &request).await.unwrap_err();
        assert!(
            matches!(&error, ClusterError::Invalid(text) if text.contains("another one")),
            "{error}"
        );
    });
}

#[test]
fn a_number_that_was_used_for_another_request_and_a_client_id_of_another_length_are_refused() {
    run(async {
        let cluster = Cluster::of(3).await;
        let node = cluster
            .client()
            .execute_operation(create_node("A", []))
            .await
            .unwrap()
            .id;
        let update = |n: i64| numbered(1, vec![update_node(node, [("n", n.into())])]);
        send(&cluster, 1, &update(1)).await.unwrap();
        let error = send(&cluster, 2, &update(2)).await.unwrap_err();
        assert!(
            matches!(&error, ClusterError::Invalid(text) if text.contains("sequence 1")),
            "{error}"
        );
        let short = ExecuteOperationRequest {
            client_id: vec![1; 3].into(),
            ..update(3)
        };
        let error = send(&cluster, 2, &short).await.unwrap_err();
        assert!(
            matches!(&error, ClusterError::Invalid(text) if text.contains("client_id")),
            "{error}"
        );
    });
}

#[test]
fn every_write_of_a_client_is_there_once_though_members_are_killed_under_it() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let client = cluster.client();
        let writer = tokio::spawn(async move {
            let mut ids = Vec::new();
            for n in 0..60 {
                let made = client.execute_operation(create_node("Tick", [("n", n.into())])).await;
                ids.push(made.unwrap().id);
            }
            ids
        });
        let mut victim = 0;
        while !writer.is_finished() {
            victim = victim % 3 + 1;
            cluster.crash(victim).await;
            cluster.start(victim).await;
            cluster.ready().await;
        }
        let ids = writer.await.unwrap();
        let rows = cluster.client().fetch_rows(find_nodes("Tick", [])).await.unwrap();
        let mut found: Vec<u64> = crate::graph::nodes(rows).into_keys().collect();
        let mut told = ids;
        found.sort_unstable();
        told.sort_unstable();
        assert_eq!(found, told);
    });
}
