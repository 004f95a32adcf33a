//! Shortest paths and what a traversal follows, one rule at a time.

use std::collections::BTreeSet;

use kotoba_graph::id::EntityId;
use kotoba_graph::operation::{EntityRef, Operation};
use kotoba_graph::query::{Direction, Filter, NodeFilter, PathQuery, Query, Row, Test, Traversal};
use kotoba_graph::value::{Properties, Value};
use proptest::prelude::*;

use crate::graph::Graph;
use crate::questions::{graph_of, histories, questions_of, texts};
use crate::store::{LARGE, Paging};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_path_does_not_depend_on_pages_or_partitions(
        requests in histories(),
        question in questions_of(5..7),
        page in 1..4usize,
        partitions in 1..4u16,
    ) {
        let (graph, model) = graph_of(requests);
        let query = question.ask(&model);
        let one = graph.query(query.clone(), LARGE).unwrap();
        let other = graph.query(query, Paging { page, partitions }).unwrap();
        prop_assert_eq!(texts(&one), texts(&other));
    }
}

/// Nodes 1 to `nodes`, and edges with a number each, in the order given.
fn graph_with(nodes: u64, edges: &[(usize, usize)]) -> (Graph, Vec<EntityId>) {
    let mut graph = Graph::default();
    let node = |number: u64| Operation::CreateNode {
        labels: BTreeSet::from([if number.is_multiple_of(2) { "Even" } else { "Odd" }.to_owned()]),
        properties: Properties::from([("n".to_owned(), Value::from(number as i64))]),
    };
    let mut operations: Vec<Operation> = (0..nodes).map(node).collect();
    for (number, (source, target)) in edges.iter().enumerate() {
        operations.push(Operation::CreateEdge {
            edge_type: "K".to_owned(),
            source: EntityRef::Operation(*source),
            target: EntityRef::Operation(*target),
            properties: Properties::from([("number".to_owned(), Value::from(number as i64))]),
        });
    }
    graph.run(operations, LARGE).unwrap();
    (graph, (1..=nodes).map(EntityId::for_node).collect())
}

fn path(from: EntityId, to: EntityId, direction: Direction, max_depth: u32) -> Query {
    Query::ShortestPath(PathQuery {
        from,
        to,
        direction,
        types: BTreeSet::new(),
        max_depth,
    })
}

/// The numbers of the nodes of an answer.
fn numbers(rows: &[Row], ids: &[EntityId]) -> Vec<usize> {
    let nodes = rows.iter().map(|row| row.entity.id());
    nodes
        .filter_map(|id| ids.iter().position(|known| *known == id))
        .collect()
}

#[test]
fn a_path_is_as_long_as_allowed_and_goes_in_the_direction_asked() {
    // 0 -> 1 -> 2 -> 3 -> 4, and a shortcut back from 3 to 0.
    let (graph, ids) = graph_with(5, &[(0, 1), (1, 2), (2, 3), (3, 4), (3, 0)]);
    let found = |from: usize, to: usize, direction, depth| {
        let rows = graph.query(path(ids[from], ids[to], direction, depth), LARGE).unwrap();
        numbers(&rows, &ids)
    };
    assert_eq!(found(0, 4, Direction::Out, 4), [0, 1, 2, 3, 4]);
    assert!(found(0, 4, Direction::Out, 3).is_empty());
    assert_eq!(found(0, 4, Direction::Both, 2), [0, 3, 4]);
    assert_eq!(found(4, 0, Direction::In, 4), [4, 3, 2, 1, 0]);
    assert!(found(4, 0, Direction::Out, 32).is_empty());
    assert_eq!(found(2, 2, Direction::Out, 1), [2]);
    let absent = EntityId::for_node(1 << 40);
    for (from, to) in [(absent, ids[0]), (ids[0], absent), (absent, absent)] {
        assert!(
            graph
                .query(path(from, to, Direction::Both, 32), LARGE)
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn of_parallel_edges_the_one_with_the_smallest_id_is_taken() {
    let (graph, ids) = graph_with(2, &[(0, 1), (0, 1), (1, 0)]);
    let rows = graph.query(path(ids[0], ids[1], Direction::Both, 1), LARGE).unwrap();
    let all = Query::EdgesOf {
        node: ids[0],
        direction: Direction::Both,
        types: BTreeSet::new(),
        filters: Vec::new(),
        limit: None,
    };
    let edges = graph.query(all, LARGE).unwrap();
    let smallest = edges.iter().map(|row| row.entity.id()).min().unwrap();
    assert_eq!(rows[1].entity.id(), smallest);
    assert_eq!(rows.iter().map(|row| row.depth).collect::<Vec<_>>(), [0, 1, 1]);
}

fn walk(start: EntityId) -> Traversal {
    Traversal {
        start: vec![start],
        direction: Direction::Out,
        min_depth: 1,
        max_depth: 8,
        ..Traversal::default()
    }
}

#[test]
fn a_node_that_is_no_row_is_walked_through_unless_it_is_pruned() {
    // A chain: even, odd, even, odd, even.
    let (graph, ids) = graph_with(5, &[(0, 1), (1, 2), (2, 3), (3, 4)]);
    let even = |prune| Traversal {
        nodes: NodeFilter {
            labels: BTreeSet::from(["Even".to_owned()]),
            filters: Vec::new(),
        },
        prune,
        ..walk(ids[0])
    };
    let found = |walk| numbers(&graph.query(Query::Traverse(walk), LARGE).unwrap(), &ids);
    assert_eq!(found(even(false)), [2, 4]);
    assert!(found(even(true)).is_empty());
    let low = Traversal {
        nodes: NodeFilter {
            labels: BTreeSet::new(),
            filters: vec![Filter::new("n", Test::LessOrEqual(Value::from(2)))],
        },
        prune: true,
        ..walk(ids[0])
    };
    assert_eq!(found(low), [1, 2]);
}

#[test]
fn only_edges_that_pass_their_filter_are_followed() {
    let (graph, ids) = graph_with(4, &[(0, 1), (0, 2), (2, 3), (1, 3)]);
    for direction in [Direction::Out, Direction::Both] {
        let walk = Traversal {
            edges: vec![Filter::new("number", Test::In(vec![1.into(), 2.into()]))],
            direction,
            ..walk(ids[0])
        };
        let rows = graph.query(Query::Traverse(walk), LARGE).unwrap();
        assert_eq!(numbers(&rows, &ids), [2, 3]);
    }
}

#[test]
fn a_fan_out_bounds_the_edges_looked_at_of_each_node() {
    let star: Vec<(usize, usize)> = (1..50).map(|leaf| (0, leaf)).collect();
    let (graph, ids) = graph_with(50, &star);
    let found = |fan_out, page| {
        let walk = Traversal {
            fan_out,
            ..walk(ids[0])
        };
        let paging = Paging { page, partitions: 2 };
        graph.query(Query::Traverse(walk), paging).unwrap().len()
    };
    assert_eq!(found(None, 7), 49);
    for page in [1, 7, 100] {
        assert_eq!(found(Some(12), page), 12);
    }
}
