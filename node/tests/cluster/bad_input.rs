//! Input that goes wrong: each kind gets an error that says what to do, nothing is applied, and the next request is served.

use kotoba_proto::ClusterError;
use kotoba_proto::v1::get_history_request::Entity;
use kotoba_proto::v1::property_filter::Test;
use kotoba_proto::v1::{
    CreateEdge, CreateNode, DeleteEdge, DeleteNode, Direction, EdgesOf, ExecuteOperationRequest, ExecuteQueryRequest,
    FindNodes, GetHistoryRequest, GetNodes, NodeRef, Operation, OrderBy, PropertyFilter, Query, ShortestPath, Traverse,
    UpdateEdge, UpdateNode, Value,
};

use crate::cluster::Cluster;
use crate::graph::{create_edge, create_node, edges_of, find_nodes, get_nodes, traverse};
use crate::raw::{ask, ask_to_the_end, history, send};
use crate::wait::run;

fn request(operations: Vec<Operation>) -> ExecuteOperationRequest {
    ExecuteOperationRequest {
        operations,
        ..ExecuteOperationRequest::default()
    }
}

fn query(query: Query) -> ExecuteQueryRequest {
    ExecuteQueryRequest {
        query: Some(query),
        ..ExecuteQueryRequest::default()
    }
}

fn node_with(value: Value) -> Operation {
    create_node("Bad", [("value", value)])
}

/// A list in a list in a list ...
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::from(1), |inner, _| Value::list([inner]))
}

fn says(error: &ClusterError, words: &str) {
    let typed = matches!(
        error,
        ClusterError::Invalid(_) | ClusterError::NotFound(_) | ClusterError::Protocol(_)
    );
    assert!(
        typed && error.to_string().contains(words),
        "{error:?} does not say {words:?}"
    );
}

#[test]
fn operations_that_are_too_large_too_deep_or_too_many_are_refused_with_the_limit() {
    run(async {
        let cluster = Cluster::of(1).await;
        let many_labels = CreateNode {
            labels: (0..65).map(|n| format!("Bad{n}")).collect(),
            ..CreateNode::default()
        };
        let bad = [
            (vec![], "1 to 1000"),
            (vec![create_node("Bad", []); 1_001], "1 to 1000"),
            (vec![node_with("x".repeat((1 << 20) + 1).into())], "at most 1048576"),
            (vec![node_with(nested(40))], "deep"),
            (vec![node_with(Value::list(vec![Value::from(1); 65_537]))], "65536"),
            (vec![node_with(Value { kind: None })], "value"),
            (vec![create_node(&"L".repeat(257), [])], "256"),
            (vec![many_labels.into()], "at most 64"),
            (vec![create_node("Bad", []), create_edge("T", 1, 2)], "does not exist"),
        ];
        for (operations, words) in bad {
            says(&send(&cluster, 1, &request(operations)).await.unwrap_err(), words);
        }
        let parts = (0..18).map(|_| node_with("x".repeat(1 << 20).into())).collect();
        let error = send(&cluster, 1, &request(parts)).await.unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
        let client = cluster.client();
        assert_eq!(client.count(find_nodes("", [])).await.unwrap(), 0);
        client.execute_operation(create_node("Good", [])).await.unwrap();
    });
}

#[test]
fn queries_that_cannot_be_asked_are_refused_and_unknown_ids_are_no_error() {
    run(async {
        let cluster = Cluster::of(1).await;
        let too_many = GetNodes {
            ids: (0..10_001).collect(),
        };
        let endless = Traverse {
            max_depth: 33,
            ..Traverse::default()
        };
        let unknown_level = ExecuteQueryRequest {
            consistency: 77,
            ..query(get_nodes([1]))
        };
        let never_given = ExecuteQueryRequest {
            as_of: u64::MAX,
            ..query(get_nodes([1]))
        };
        let bad = [
            (ExecuteQueryRequest::default(), "query"),
            (query(too_many.into()), "at most 10000"),
            (query(endless.into()), "1 to 32"),
            (query(traverse(1, Direction::Both, (3, 2))), "not before it begins"),
            (query(get_nodes([u64::MAX])), "2^63"),
            (unknown_level, "consistency"),
            (never_given, "never given"),
        ];
        for (request, words) in bad {
            says(&ask(&cluster, 1, request).await.unwrap_err(), words);
        }
        for nothing in [
            get_nodes([1, 2]),
            edges_of(1, Direction::Both),
            traverse(1, Direction::Out, (0, 3)),
        ] {
            let answer = ask(&cluster, 1, query(nothing)).await.unwrap().unwrap();
            assert!(answer.done && answer.rows.is_empty());
        }
    });
}

/// Not ids: the top bit is set.
const NO_ID: u64 = u64::MAX;

fn edge(edge_type: &str, source: Option<NodeRef>, target: Option<NodeRef>) -> Operation {
    CreateEdge {
        r#type: edge_type.to_owned(),
        source,
        target,
        ..CreateEdge::default()
    }
    .into()
}

fn update(id: u64, expected_cid: &'static [u8]) -> Operation {
    UpdateNode {
        id,
        expected_cid: bytes::Bytes::from_static(expected_cid),
        ..UpdateNode::default()
    }
    .into()
}

#[test]
fn every_field_of_an_operation_is_checked_and_named_where_it_cannot_be_right() {
    run(async {
        let cluster = Cluster::of(1).await;
        let client = cluster.client();
        let node = client.execute_operation(create_node("Good", [])).await.unwrap().id;
        let created = || Some(NodeRef::operation(0));
        let of_edge = |id| UpdateEdge {
            id,
            ..UpdateEdge::default()
        };
        let deleted_node = |id| DeleteNode {
            id,
            ..DeleteNode::default()
        };
        let deleted_edge = |id| DeleteEdge {
            id,
            ..DeleteEdge::default()
        };
        let both_labels = UpdateNode {
            id: node,
            add_labels: vec!["Bad".into()],
            remove_labels: vec!["Bad".into()],
            ..UpdateNode::default()
        };
        let bad: Vec<(Vec<Operation>, &str)> = vec![
            (vec![Operation { kind: None }], "has no kind"),
            (vec![update(NO_ID, b"")], "below 2^63"),
            (vec![deleted_node(NO_ID).into()], "below 2^63"),
            (vec![of_edge(NO_ID).into()], "below 2^63"),
            (vec![deleted_edge(NO_ID).into()], "below 2^63"),
            (vec![update(1, b"")], "node 1 does not exist"),
            (vec![deleted_node(1).into()], "node 1 does not exist"),
            (vec![of_edge(1).into()], "edge 1 does not exist"),
            (vec![deleted_edge(1).into()], "edge 1 does not exist"),
            (vec![update(node, b"garbage")], "expected_cid"),
            (vec![both_labels.into()], "both added and removed"),
            (vec![create_node("", [])], "0 bytes"),
            (vec![create_node("Bad", [("", 1.into())])], "0 bytes"),
            (
                vec![edge("", Some(NodeRef::id(node)), Some(NodeRef::id(node)))],
                "0 bytes",
            ),
            (vec![edge("T", None, Some(NodeRef::id(node)))], "source"),
            (
                vec![edge("T", Some(NodeRef::id(node)), Some(NodeRef { kind: None }))],
                "target",
            ),
            (
                vec![edge("T", Some(NodeRef::id(NO_ID)), Some(NodeRef::id(node)))],
                "below 2^63",
            ),
            // To itself, to a later one, to one that is none, and to one that creates no node.
            (vec![edge("T", created(), created())], "not an earlier one"),
            (
                vec![
                    edge("T", Some(NodeRef::operation(1)), created()),
                    create_node("Bad", []),
                ],
                "not an earlier one",
            ),
            (
                vec![
                    create_node("Bad", []),
                    edge("T", created(), Some(NodeRef::operation(u32::MAX))),
                ],
                "not an earlier one",
            ),
            (
                vec![update(node, b""), edge("T", created(), created())],
                "not an earlier one",
            ),
        ];
        for (operations, words) in bad {
            says(&send(&cluster, 1, &request(operations)).await.unwrap_err(), words);
        }
        let good = || request(vec![create_node("Bad", [])]);
        let wrong_envelopes = [
            (
                ExecuteOperationRequest {
                    consistency: 77,
                    ..good()
                },
                "consistency",
            ),
            (
                ExecuteOperationRequest {
                    consistency: -1,
                    ..good()
                },
                "consistency",
            ),
            (
                ExecuteOperationRequest {
                    client_id: vec![7; 15].into(),
                    ..good()
                },
                "16 bytes",
            ),
            (
                ExecuteOperationRequest {
                    client_id: vec![7; 1 << 20].into(),
                    ..good()
                },
                "16 bytes",
            ),
            (
                ExecuteOperationRequest {
                    client_id: vec![7; 16].into(),
                    home_slot: Some(4096),
                    ..good()
                },
                "below 4096",
            ),
        ];
        for (request, words) in wrong_envelopes {
            says(&send(&cluster, 1, &request).await.unwrap_err(), words);
        }
        assert_eq!(client.count(find_nodes("Bad", [])).await.unwrap(), 0);
        assert_eq!(client.count(find_nodes("Good", [])).await.unwrap(), 1);
    });
}

/// What looks odd and is right: it is stored as it was sent, labels once.
#[test]
fn labels_named_twice_and_numbers_that_are_none_are_no_errors() {
    run(async {
        let cluster = Cluster::of(1).await;
        let client = cluster.client();
        let odd = CreateNode {
            labels: vec!["Odd".into(), "Odd".into()],
            properties: [
                ("nan".to_owned(), Value::from(f64::NAN)),
                ("endless".to_owned(), f64::NEG_INFINITY.into()),
            ]
            .into(),
        };
        let id = client.execute_operation(odd).await.unwrap().id;
        let stored = crate::graph::nodes(client.fetch_rows(get_nodes([id])).await.unwrap())
            .remove(&id)
            .unwrap();
        assert_eq!(stored.labels, ["Odd"]);
        assert_eq!(stored.properties["endless"], Value::from(f64::NEG_INFINITY));
        assert_eq!(stored.properties.len(), 2);
    });
}

fn filtered(key: &str, test: Option<Test>) -> Query {
    FindNodes {
        filters: vec![PropertyFilter {
            key: key.to_owned(),
            test,
        }],
        ..FindNodes::default()
    }
    .into()
}

fn ordered(properties: &[&str]) -> ExecuteQueryRequest {
    let by = |property: &&str| OrderBy {
        property: (*property).to_owned(),
        descending: false,
    };
    ExecuteQueryRequest {
        order_by: properties.iter().map(by).collect(),
        ..query(find_nodes("Good", []))
    }
}

#[test]
fn every_field_of_a_query_is_checked_and_named_where_it_cannot_be_right() {
    run(async {
        let cluster = Cluster::of(1).await;
        let client = cluster.client();
        for _ in 0..3 {
            client.execute_operation(create_node("Good", [])).await.unwrap();
        }
        let cut = FindNodes {
            label: "Good".into(),
            limit: 1,
            ..FindNodes::default()
        };
        let cursor = ask_to_the_end(&cluster, 1, query(cut.clone().into()))
            .await
            .unwrap()
            .unwrap()
            .cursor;
        assert!(!cursor.is_empty());
        let with_cursor = |cursor: bytes::Bytes, of: Query| ExecuteQueryRequest { cursor, ..query(of) };
        let path = |from, to, max_depth| ShortestPath {
            from,
            to,
            max_depth,
            ..ShortestPath::default()
        };
        let wrong_way = EdgesOf {
            node: 1,
            direction: 99,
            ..EdgesOf::default()
        };
        let wrong_walk = Traverse {
            start: vec![1],
            direction: -1,
            max_depth: 1,
            ..Traverse::default()
        };
        let named = |name: String| FindNodes {
            label: name,
            ..FindNodes::default()
        };
        let many_filters = FindNodes {
            filters: vec![
                PropertyFilter {
                    key: "a".into(),
                    test: Some(Test::Exists(true))
                };
                1_000
            ],
            ..FindNodes::default()
        };
        let many_types = EdgesOf {
            node: 1,
            types: (0..1_000).map(|n| format!("T{n}")).collect(),
            ..EdgesOf::default()
        };
        let other = find_nodes("Other", []);
        let mut truncated = cursor.clone();
        truncated.truncate(cursor.len() / 2);
        let bad = vec![
            (query(Query { kind: None }), "has no kind"),
            (query(wrong_way.into()), "direction"),
            (query(wrong_walk.into()), "direction"),
            (
                query(
                    EdgesOf {
                        node: NO_ID,
                        ..EdgesOf::default()
                    }
                    .into(),
                ),
                "below 2^63",
            ),
            (
                query(
                    Traverse {
                        start: vec![NO_ID],
                        max_depth: 1,
                        ..Traverse::default()
                    }
                    .into(),
                ),
                "below 2^63",
            ),
            (query(path(NO_ID, 1, 3).into()), "below 2^63"),
            (query(path(1, NO_ID, 3).into()), "below 2^63"),
            (query(path(1, 2, 0).into()), "1 to 32"),
            (query(path(1, 2, u32::MAX).into()), "1 to 32"),
            (query(named("L".repeat(1 << 20)).into()), "256"),
            (query(filtered("a", None)), "has no test"),
            (query(filtered("", Some(Test::Exists(true)))), "0 bytes"),
            (
                query(filtered("a", Some(Test::Less(Value { kind: None })))),
                "query.filters",
            ),
            (query(filtered("a", Some(Test::Equal(nested(40))))), "deep"),
            (
                query(filtered("a", Some(Test::StartsWith("x".repeat((1 << 20) + 1))))),
                "at most 1048576",
            ),
            (query(many_filters.into()), "filters"),
            (query(many_types.into()), "types"),
            (ordered(&["a", "a"]), "twice"),
            (ordered(&[""]), "0 bytes"),
            (
                ordered(&[
                    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
                ]),
                "order",
            ),
            (
                with_cursor(bytes::Bytes::from_static(b"\xff garbage"), cut.clone().into()),
                "cursor",
            ),
            (with_cursor(truncated, cut.clone().into()), "cursor"),
            (with_cursor(cursor.clone(), other), "another query"),
            (with_cursor(cursor.clone(), get_nodes([1])), "cursor"),
            (
                ExecuteQueryRequest {
                    bookmark: u64::MAX,
                    ..query(get_nodes([1]))
                },
                "never given",
            ),
            (
                ExecuteQueryRequest {
                    consistency: -1,
                    ..query(get_nodes([1]))
                },
                "consistency",
            ),
        ];
        for (request, words) in bad {
            says(&ask(&cluster, 1, request).await.unwrap_err(), words);
        }
        let histories = [
            (GetHistoryRequest::default(), "entity"),
            (
                GetHistoryRequest {
                    entity: Some(Entity::Node(NO_ID)),
                    ..GetHistoryRequest::default()
                },
                "below 2^63",
            ),
            (
                GetHistoryRequest {
                    entity: Some(Entity::Edge(NO_ID)),
                    ..GetHistoryRequest::default()
                },
                "below 2^63",
            ),
            (
                GetHistoryRequest {
                    entity: Some(Entity::Node(1)),
                    as_of: u64::MAX,
                    ..GetHistoryRequest::default()
                },
                "never given",
            ),
        ];
        for (request, words) in histories {
            says(&history(&cluster, 1, request).await.unwrap_err(), words);
        }
        // The next ones are served: the cursor, too, in its own query.
        let answer = ask(&cluster, 1, with_cursor(cursor, cut.into()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer.rows.len(), 1);
        assert_eq!(client.count(find_nodes("Good", [])).await.unwrap(), 3);
    });
}
