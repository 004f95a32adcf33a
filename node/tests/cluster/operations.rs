//! The six operations through any member: what they answer, what they refuse, and that a batch applies whole or not at all.

use kotoba_proto::cluster::OperationOutcome;
use kotoba_proto::v1::{Direction, NodeRef, Operation, UpdateNode, Value};
use kotoba_proto::{ClusterError, KotobaCluster};

use crate::cluster::Cluster;
use crate::graph::{
    cid, create_edge, create_edge_between, create_node, delete_edge, delete_node, edges, edges_of, find_edges,
    find_nodes, get_edges, get_nodes, nodes, properties, update_edge, update_node,
};
use crate::wait::run;

async fn done(client: &KotobaCluster, operation: Operation) -> OperationOutcome {
    client.execute_operation(operation).await.unwrap()
}

#[test]
fn all_six_operations_are_seen_at_once_through_every_other_member() {
    run(async {
        let cluster = Cluster::of(3).await;
        let clients: Vec<_> = (1..=3).map(|member| cluster.client_of(member)).collect();
        for (at, here) in clients.iter().enumerate() {
            let there = &clients[(at + 1) % 3];
            one_of_each(here, there).await;
        }
        cluster.agree().await;
    });
}

/// Each operation through one member, and the read after it through another.
async fn one_of_each(here: &KotobaCluster, there: &KotobaCluster) {
    let ada = done(here, create_node("Person", [("name", "Ada".into())])).await;
    let seen = nodes(there.fetch_rows(get_nodes([ada.id])).await.unwrap());
    assert_eq!(cid(&seen[&ada.id].cid), ada.cid);
    assert_eq!(seen[&ada.id].properties, properties([("name", "Ada".into())]));

    let bob = done(here, create_node("Person", [("name", "Bob".into())])).await;
    assert!(bob.bookmark > ada.bookmark);
    let older = done(here, update_node(bob.id, [("age", 30.into())])).await;
    assert_ne!(older.cid, bob.cid);
    let again = done(here, update_node(bob.id, [("age", Value::null())])).await;
    assert_eq!(again.cid, bob.cid, "the same content has the same id");

    let knows = done(here, create_edge("KNOWS", ada.id, bob.id)).await;
    let newer = done(here, update_edge(knows.id, [("since", 1842.into())])).await;
    assert_ne!(newer.cid, knows.cid);
    for (end, direction) in [(ada.id, Direction::Out), (bob.id, Direction::In)] {
        let seen = edges(there.fetch_rows(edges_of(end, direction)).await.unwrap());
        assert_eq!(cid(&seen[&knows.id].cid), newer.cid);
        assert_eq!((seen[&knows.id].source, seen[&knows.id].target), (ada.id, bob.id));
    }

    let deleted = done(here, delete_edge(knows.id)).await;
    assert_eq!(deleted.cid, newer.cid, "a deletion answers the version it deleted");
    assert!(there.fetch_rows(get_edges([knows.id])).await.unwrap().is_empty());
    assert_eq!(there.count(edges_of(bob.id, Direction::Both)).await.unwrap(), 0);
    let deleted = done(here, delete_node(bob.id, false)).await;
    assert_eq!(deleted.cid, bob.cid);
    assert!(there.fetch_rows(get_nodes([bob.id])).await.unwrap().is_empty());
}

#[test]
fn refusals_are_typed_and_change_nothing() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client_of(2);
        let ada = done(&client, create_node("Person", [])).await.id;
        let bob = done(&client, create_node("Person", [])).await.id;
        let knows = done(&client, create_edge("KNOWS", ada, bob)).await;
        let gone = done(&client, create_node("Person", [])).await.id;
        done(&client, delete_node(gone, false)).await;

        let missing = [
            update_node(gone, [("a", 1.into())]),
            delete_node(gone, false),
            delete_node(gone, true),
            create_edge("KNOWS", ada, gone),
            create_edge("KNOWS", gone, ada),
            update_edge(gone, [("a", 1.into())]),
            delete_edge(gone),
        ];
        for operation in missing {
            let error = client.execute_operation(operation.clone()).await.unwrap_err();
            assert!(matches!(error, ClusterError::NotFound(_)), "{operation:?}: {error}");
            assert!(
                error.to_string().contains(&format!("{gone}")) || error.to_string().contains("operation 0"),
                "{error}"
            );
        }
        for node in [ada, bob] {
            let error = client.execute_operation(delete_node(node, false)).await.unwrap_err();
            assert!(matches!(error, ClusterError::Refused(_)), "{error}");
            assert!(error.to_string().contains("detach"), "{error}");
        }
        refuses_what_cannot_be_right(&client, ada).await;
        assert_eq!(client.count(find_nodes("Person", [])).await.unwrap(), 2);
        let seen = edges(client.fetch_rows(get_edges([knows.id])).await.unwrap());
        assert_eq!(cid(&seen[&knows.id].cid), knows.cid);
    });
}

async fn refuses_what_cannot_be_right(client: &KotobaCluster, node: u64) {
    let twice = UpdateNode {
        id: node,
        add_labels: vec!["A".to_owned()],
        remove_labels: vec!["A".to_owned()],
        ..UpdateNode::default()
    };
    let invalid = [
        twice.into(),
        create_edge("", node, node),
        create_edge_between("KNOWS", NodeRef::operation(0), NodeRef::id(node)),
        create_edge_between("KNOWS", NodeRef::operation(7), NodeRef::id(node)),
        create_edge_between("KNOWS", NodeRef { kind: None }, NodeRef::id(node)),
        create_node("", []),
        update_node(u64::MAX, [("a", 1.into())]),
        Operation { kind: None },
    ];
    for operation in invalid {
        let error = client.execute_operation(operation.clone()).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invalid(_)), "{operation:?}: {error}");
    }
}

#[test]
fn a_batch_with_one_operation_that_fails_applies_nothing() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        let kept = done(&client, create_node("Kept", [])).await;
        let gone = done(&client, create_node("Gone", [])).await.id;
        done(&client, delete_node(gone, false)).await;
        let fails = [
            delete_node(gone, false),
            create_edge("LINK", kept.id, gone),
            create_edge_between("LINK", NodeRef::operation(2), NodeRef::operation(0)),
        ];
        for failing in fails {
            let mut batch: Vec<Operation> = (0..20).map(|n| create_node("Batch", [("n", n.into())])).collect();
            batch.push(update_node(kept.id, [("touched", true.into())]));
            batch.insert(
                2,
                create_edge_between("LINK", NodeRef::operation(0), NodeRef::operation(1)),
            );
            batch.push(failing);
            client.execute_operations(batch).await.unwrap_err();
        }
        assert_eq!(client.count(find_nodes("Batch", [])).await.unwrap(), 0);
        assert_eq!(client.count(find_edges("LINK")).await.unwrap(), 0);
        let seen = nodes(client.fetch_rows(get_nodes([kept.id])).await.unwrap());
        assert_eq!(cid(&seen[&kept.id].cid), kept.cid);
    });
}

#[test]
fn a_batch_connects_nodes_that_it_creates_itself_over_many_partitions() {
    run(async {
        let cluster = Cluster::of(3).await;
        const COUNT: u32 = 60;
        let mut batch: Vec<Operation> = (0..COUNT).map(|n| create_node("Ring", [("n", n.into())])).collect();
        let next = |n: u32| NodeRef::operation((n + 1) % COUNT);
        batch.extend((0..COUNT).map(|n| create_edge_between("NEXT", NodeRef::operation(n), next(n))));
        batch.push(create_edge_between(
            "SELF",
            NodeRef::operation(0),
            NodeRef::operation(0),
        ));
        let made = cluster.client_of(1).execute_operations(batch).await.unwrap();
        assert!(made.iter().all(|outcome| outcome.bookmark == made[0].bookmark));

        let client = cluster.client_of(3);
        for (at, node) in made[..COUNT as usize].iter().enumerate() {
            let out = edges(client.fetch_rows(edges_of(node.id, Direction::Out)).await.unwrap());
            let following = made[(at + 1) % COUNT as usize].id;
            assert!(
                out.values()
                    .any(|edge| edge.r#type == "NEXT" && edge.target == following)
            );
        }
        let own = made.last().unwrap().id;
        for direction in [Direction::Out, Direction::In, Direction::Both] {
            let rows = client.fetch_rows(edges_of(made[0].id, direction)).await.unwrap();
            let loops = rows.len() - edges(rows.clone()).len();
            assert_eq!(loops, 0, "a self loop is one edge, told once");
            assert!(edges(rows).contains_key(&own));
        }
    });
}

#[test]
fn detach_delete_takes_every_edge_with_it_from_both_ends() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        let mut batch: Vec<Operation> = (0..40).map(|_| create_node("Spoke", [])).collect();
        batch.push(create_node("Hub", []));
        batch.extend((0..40).map(|n| match n % 2 {
            0 => create_edge_between("SPOKE", NodeRef::operation(40), NodeRef::operation(n)),
            _ => create_edge_between("SPOKE", NodeRef::operation(n), NodeRef::operation(40)),
        }));
        batch.push(create_edge_between(
            "SPOKE",
            NodeRef::operation(40),
            NodeRef::operation(40),
        ));
        batch.push(create_edge_between(
            "OTHER",
            NodeRef::operation(0),
            NodeRef::operation(1),
        ));
        let made = client.execute_operations(batch).await.unwrap();
        let hub = made[40].id;
        assert_eq!(client.count(edges_of(hub, Direction::Both)).await.unwrap(), 41);

        done(&client, delete_node(hub, true)).await;
        assert_eq!(client.count(find_edges("SPOKE")).await.unwrap(), 0);
        assert_eq!(client.count(find_edges("OTHER")).await.unwrap(), 1);
        for (at, spoke) in made[..40].iter().enumerate() {
            let left = client.count(edges_of(spoke.id, Direction::Both)).await.unwrap();
            assert_eq!(left, u64::from(at < 2), "spoke {at}");
        }
        assert!(client.fetch_rows(get_nodes([hub])).await.unwrap().is_empty());
    });
}
