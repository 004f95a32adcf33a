//! Input that goes wrong: each kind gets an error that says what to do, nothing is applied, and the next request is served.

use kotoba_proto::ClusterError;
use kotoba_proto::v1::{
    CreateNode, Direction, ExecuteOperationRequest, ExecuteQueryRequest, GetNodes, Operation, Query, Traverse, Value,
};

use crate::cluster::Cluster;
use crate::graph::{create_edge, create_node, edges_of, find_nodes, get_nodes, traverse};
use crate::raw::{ask, send};
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
