//! Queries through any member: rows of one snapshot, over all partitions, in the depths and under the filters asked for.

use std::collections::BTreeMap;

use kotoba_proto::cluster::{Pages, Search};
use kotoba_proto::v1::property_filter::Test;
use kotoba_proto::v1::{
    Direction, EdgesOf, FindNodes, NodeRef, Operation, OrderBy, PropertyFilter, Row, ShortestPath, Traverse, row,
};
use kotoba_proto::{ClusterError, KotobaCluster};

use crate::cluster::Cluster;
use crate::graph::{
    create_edge_between, create_node, edges_of, find_edges, find_nodes, get_edges, get_nodes, nodes, traverse,
    update_node,
};
use crate::settings::Pace;
use crate::wait::{ensure, run, until};

#[test]
fn nodes_are_found_by_label_and_properties_everywhere_and_counted_alike() {
    run(async {
        let cluster = Cluster::of(3).await;
        let people = (0..200).map(|n| {
            let town = if n % 5 == 0 { "Oslo" } else { "Turku" };
            create_node(
                "Person",
                [("n", n.into()), ("town", town.into()), ("even", (n % 2 == 0).into())],
            )
        });
        let mut batch: Vec<Operation> = people.collect();
        batch.extend((0..30).map(|n| create_node("Town", [("n", n.into())])));
        cluster.client().execute_operations(batch).await.unwrap();
        for member in 1..=3 {
            let client = cluster.client_of(member);
            let count = async |query| client.count(query).await.unwrap();
            assert_eq!(count(find_nodes("Person", [])).await, 200);
            assert_eq!(count(find_nodes("Person", [("town", "Oslo".into())])).await, 40);
            let both = [("town", "Oslo".into()), ("even", true.into())];
            assert_eq!(count(find_nodes("Person", both.clone())).await, 20);
            assert_eq!(client.fetch_rows(find_nodes("Person", both)).await.unwrap().len(), 20);
            assert_eq!(count(find_nodes("", [("n", 7.into())])).await, 2);
            assert_eq!(count(find_nodes("Person", [("town", "Rome".into())])).await, 0);
            assert_eq!(count(find_nodes("Nobody", [])).await, 0);
            let limited = FindNodes {
                label: "Person".to_owned(),
                limit: 17,
                ..FindNodes::default()
            };
            assert_eq!(client.fetch_rows(limited).await.unwrap().len(), 17);
        }
    });
}

#[test]
fn large_nodes_come_in_as_many_messages_as_they_take() {
    run(async {
        // Eighteen megabytes in the one partition: more than any one message may have.
        let cluster = Cluster::with(Pace::default(), 3, 1).await;
        let client = cluster.client();
        let mut ids = Vec::new();
        for _ in 0..6 {
            let text = "x".repeat(1_000_000);
            let three = (0..3).map(|_| create_node("Large", [("text", text.clone().into())]));
            let results = client.execute_operations(three.collect()).await.unwrap();
            ids.extend(results.iter().map(|result| result.id));
        }
        ids.sort_unstable();
        for query in [get_nodes(ids.iter().copied()), find_nodes("Large", [])] {
            let rows = client.fetch_rows(query).await.unwrap();
            assert_eq!(nodes(rows).into_keys().collect::<Vec<_>>(), ids);
        }
    });
}

#[test]
fn an_update_moves_a_node_in_the_indexes_at_once() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        let id = client
            .execute_operation(create_node("Person", [("town", "Oslo".into())]))
            .await
            .unwrap()
            .id;
        client
            .execute_operation(update_node(id, [("town", "Turku".into())]))
            .await
            .unwrap();
        let in_town = async |member: u64, town: &str| {
            let client = cluster.client_of(member);
            client
                .count(find_nodes("Person", [("town", town.into())]))
                .await
                .unwrap()
        };
        for member in 1..=3 {
            assert_eq!((in_town(member, "Oslo").await, in_town(member, "Turku").await), (0, 1));
        }
    });
}

/// A chain 0 -> 1 -> ... -> 9 with a shortcut from 0 to 5, and one more node that only points into it.
async fn chain(client: &KotobaCluster) -> Vec<u64> {
    let mut batch: Vec<Operation> = (0..11).map(|n| create_node("Link", [("n", n.into())])).collect();
    let edge = |kind: &str, from, to| create_edge_between(kind, NodeRef::operation(from), NodeRef::operation(to));
    batch.extend((0..9).map(|n| edge("NEXT", n, n + 1)));
    batch.push(edge("JUMP", 0, 5));
    batch.push(edge("NEXT", 10, 0));
    let made = client.execute_operations(batch).await.unwrap();
    made[..11].iter().map(|outcome| outcome.id).collect()
}

/// The numbers of the nodes that are met, with their depths.
async fn depths(client: &KotobaCluster, ids: &[u64], query: Traverse) -> BTreeMap<usize, u32> {
    let rows = client.fetch_rows(query).await.unwrap();
    let met = rows.iter().map(|row| match &row.kind {
        Some(row::Kind::Node(node)) => (ids.iter().position(|id| *id == node.id).unwrap(), row.depth),
        other => panic!("not a node: {other:?}"),
    });
    let by_number: BTreeMap<usize, u32> = met.collect();
    assert_eq!(by_number.len(), rows.len(), "a node was told twice");
    by_number
}

#[test]
fn a_traversal_meets_each_node_once_at_its_smallest_depth() {
    run(async {
        let cluster = Cluster::of(3).await;
        let ids = chain(&cluster.client()).await;
        let client = cluster.client_of(2);
        let outward = |min_depth, max_depth| Traverse {
            start: vec![ids[0]],
            direction: Direction::Out.into(),
            min_depth,
            max_depth,
            ..Traverse::default()
        };
        let all = depths(&client, &ids, outward(0, 32)).await;
        let expected = [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 3),
            (4, 4),
            (5, 1),
            (6, 2),
            (7, 3),
            (8, 4),
            (9, 5),
        ];
        assert_eq!(all, BTreeMap::from(expected));
        let middle = depths(&client, &ids, outward(2, 3)).await;
        assert_eq!(middle, BTreeMap::from([(2, 2), (6, 2), (3, 3), (7, 3)]));
        let typed = Traverse {
            types: vec!["NEXT".to_owned()],
            ..outward(1, 32)
        };
        assert_eq!(depths(&client, &ids, typed).await[&5], 5);
        let inward = Traverse {
            direction: Direction::In.into(),
            ..outward(1, 2)
        };
        assert_eq!(depths(&client, &ids, inward).await, BTreeMap::from([(10, 1)]));
        let both = Traverse {
            direction: Direction::Both.into(),
            ..outward(1, 1)
        };
        assert_eq!(
            depths(&client, &ids, both).await,
            BTreeMap::from([(1, 1), (5, 1), (10, 1)])
        );
        let limited = Traverse {
            limit: 3,
            ..outward(0, 32)
        };
        assert_eq!(depths(&client, &ids, limited).await.len(), 3);
    });
}

#[test]
fn edges_are_told_by_direction_and_type() {
    run(async {
        let cluster = Cluster::of(3).await;
        let ids = chain(&cluster.client()).await;
        let client = cluster.client_of(3);
        let count = async |query| client.count(query).await.unwrap();
        assert_eq!(count(edges_of(ids[0], Direction::Out)).await, 2);
        assert_eq!(count(edges_of(ids[0], Direction::In)).await, 1);
        assert_eq!(count(edges_of(ids[0], Direction::Both)).await, 3);
        let jumps = EdgesOf {
            node: ids[5],
            direction: Direction::In.into(),
            types: vec!["JUMP".to_owned()],
            ..EdgesOf::default()
        };
        assert_eq!(client.count(jumps).await.unwrap(), 1);
        assert_eq!(count(find_edges("NEXT")).await, 10);
        assert_eq!(count(find_edges("")).await, 11);
        assert_eq!(count(find_edges("NONE")).await, 0);
    });
}

#[test]
fn what_is_not_there_is_left_out_and_what_cannot_be_asked_is_refused() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        let ids = chain(&client).await;
        let absent = ids[10] ^ 1 << 40;
        let found = nodes(client.fetch_rows(get_nodes([ids[3], absent])).await.unwrap());
        assert_eq!(found.keys().collect::<Vec<_>>(), [&ids[3]]);
        assert!(client.fetch_rows(get_edges([absent])).await.unwrap().is_empty());
        for depths in [(1, 0), (3, 2), (1, 33)] {
            let error = client
                .fetch_rows(traverse(ids[0], Direction::Out, depths))
                .await
                .unwrap_err();
            assert!(matches!(error, ClusterError::Invalid(_)), "{depths:?}: {error}");
        }
        let error = client.fetch_rows(get_nodes([u64::MAX])).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invalid(_)), "{error}");
    });
}

/// Two hundred people of ages 0 to 49, four of each, named by their number.
async fn people(client: &KotobaCluster) {
    let person = |n: i64| create_node("Person", [("n", n.into()), ("age", (n % 50).into())]);
    client.execute_operations((0..200).map(person).collect()).await.unwrap();
}

fn find_people(limit: u64, filters: Vec<PropertyFilter>) -> FindNodes {
    FindNodes {
        label: "Person".to_owned(),
        limit,
        filters,
        ..FindNodes::default()
    }
}

/// The numbers of the people in an answer, in its order.
fn numbers(rows: &[Row]) -> Vec<i64> {
    let number = |row: &Row| match &row.kind {
        Some(row::Kind::Node(node)) => match node.properties["n"].kind {
            Some(kotoba_proto::v1::value::Kind::Integer(number)) => number,
            ref other => panic!("not a number: {other:?}"),
        },
        other => panic!("not a node: {other:?}"),
    };
    rows.iter().map(number).collect()
}

async fn all_of(mut pages: Pages) -> Vec<Row> {
    let mut rows = Vec::new();
    while let Some(row) = pages.next().await.unwrap() {
        rows.push(row);
    }
    rows
}

#[test]
fn ranges_and_orders_hold_over_all_partitions() {
    run(async {
        let cluster = Cluster::of(3).await;
        people(&cluster.client()).await;
        let client = cluster.client_of(2);
        let between = vec![
            PropertyFilter::new("age", Test::GreaterOrEqual(10.into())),
            PropertyFilter::new("age", Test::Less(12.5.into())),
        ];
        let mut found = numbers(&client.fetch_rows(find_people(0, between.clone())).await.unwrap());
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12, 60, 61, 62, 110, 111, 112, 160, 161, 162]);
        let order = [OrderBy::descending("age"), OrderBy::ascending("n")];
        let oldest = Search::from(find_people(5, between)).ordered_by(order);
        let found = numbers(&client.fetch_rows(oldest).await.unwrap());
        assert_eq!(found, [12, 62, 112, 162, 11]);
        let missing = vec![PropertyFilter::new("town", Test::Exists(false))];
        assert_eq!(client.count(find_people(0, missing)).await.unwrap(), 200);
        let one_of = vec![PropertyFilter::new(
            "n",
            Test::In(kotoba_proto::v1::ListValue {
                values: vec![3.into(), 4.0.into(), "5".into()],
            }),
        )];
        assert_eq!(client.count(find_people(0, one_of)).await.unwrap(), 2);
    });
}

#[test]
fn pages_are_of_one_snapshot_whoever_answers_them_and_whatever_is_written_between() {
    run(async {
        let cluster = Cluster::of(3).await;
        people(&cluster.client()).await;
        let ordered = || vec![OrderBy::ascending("age")];
        for order in [Vec::new(), ordered()] {
            let client = cluster.client_of(1);
            let pages = Search::from(find_people(30, vec![])).ordered_by(order.clone());
            let mut first = client.execute_query(pages.clone()).await.unwrap();
            let mut rows = Vec::new();
            while let Some(row) = first.next().await.unwrap() {
                rows.push(row);
            }
            assert_eq!(rows.len(), 30);
            let cursor = first.cursor().unwrap().clone();
            let late = create_node("Person", [("n", 1_000.into()), ("age", 49.into())]);
            let late = client.execute_operation(late).await.unwrap();
            let other = cluster.client_of(3);
            let rest = other.execute_query_in_pages(pages.after(cursor));
            rows.extend(all_of(rest).await);
            let mut found = numbers(&rows);
            found.sort_unstable();
            assert_eq!(found, (0..200).collect::<Vec<_>>());
            assert_eq!(client.count(find_people(0, vec![])).await.unwrap(), 201);
            client
                .execute_operation(crate::graph::delete_node(late.id, false))
                .await
                .unwrap();
        }
    });
}

#[test]
fn a_cursor_of_another_query_is_refused() {
    run(async {
        let cluster = Cluster::of(3).await;
        people(&cluster.client()).await;
        let client = cluster.client();
        let mut rows = client.execute_query(find_people(1, vec![])).await.unwrap();
        while rows.next().await.unwrap().is_some() {}
        let cursor = rows.cursor().unwrap().clone();
        let other = FindNodes {
            label: "Town".to_owned(),
            ..find_people(1, vec![])
        };
        let error = client.fetch_rows(Search::from(other).after(cursor)).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invalid(_)), "{error}");
        assert!(error.to_string().contains("another query"), "{error}");
    });
}

#[test]
fn a_shortest_path_crosses_partitions_and_is_the_same_from_every_member() {
    run(async {
        let cluster = Cluster::of(3).await;
        let ids = chain(&cluster.client()).await;
        let between = |from: usize, to: usize, max_depth| ShortestPath {
            from: ids[from],
            to: ids[to],
            direction: Direction::Out.into(),
            types: vec![],
            max_depth,
        };
        for member in 1..=3 {
            let client = cluster.client_of(member);
            let rows = client.fetch_rows(between(10, 7, 32)).await.unwrap();
            let met = rows.iter().filter_map(|row| match &row.kind {
                Some(row::Kind::Node(node)) => ids.iter().position(|id| *id == node.id),
                Some(row::Kind::Edge(_)) | None => None,
            });
            assert_eq!(met.collect::<Vec<_>>(), [10, 0, 5, 6, 7]);
            assert_eq!(rows.len(), 9);
            assert!(client.fetch_rows(between(10, 7, 3)).await.unwrap().is_empty());
            assert!(client.fetch_rows(between(7, 10, 32)).await.unwrap().is_empty());
        }
    });
}

#[test]
fn a_round_of_a_query_takes_one_message_to_each_member() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, 16).await;
        let client = cluster.client_of(1);
        for _ in 0..40 {
            client.execute_operation(create_node("Item", [])).await.unwrap();
        }
        let router = cluster.running(1).router.clone();
        // The first one learns who leads what.
        assert_eq!(client.count(find_nodes("Item", [])).await.unwrap(), 40);
        until("a query with two messages a round", || async {
            let before = router.messages_sent();
            assert_eq!(client.count(find_nodes("Item", [])).await.unwrap(), 40);
            let sent = router.messages_sent() - before;
            // Counting reads keys alone, page by page: a first one of each partition, then what is left.
            ensure(sent <= 4, || format!("{sent} messages"))
        })
        .await;
    });
}
