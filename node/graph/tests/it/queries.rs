//! Queries: against the model, and one by one where a rule is dear.

use std::collections::BTreeSet;

use kotoba_graph::id::EntityId;
use kotoba_graph::key;
use kotoba_graph::operation::{EntityRef, Operation};
use kotoba_graph::query::{
    Direction, Entity, Error, Filter, MAX_VISITED, PathQuery, Plan, Query, Row, Test, Traversal,
};
use kotoba_graph::read::{Answer, Read};
use kotoba_graph::value::Properties;
use proptest::prelude::*;

use crate::answers::expected;
use crate::graph::Graph;
use crate::questions::{graph_of, histories, questions, sorted, texts};
use crate::store::{LARGE, Paging};

fn limit_of(query: &Query) -> usize {
    query.limit().map_or(usize::MAX, |limit| limit as usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn rows_are_what_the_model_says(
        requests in histories(),
        questions in prop::collection::vec(questions(), 1..8),
        page in 1..4usize,
        partitions in 1..4u16,
    ) {
        let (graph, model) = graph_of(requests);
        for question in questions {
            let query = question.ask(&model);
            let rows = graph.query(query.clone(), Paging { page, partitions }).unwrap();
            let all = expected(&model, &query);
            let counted = graph.count(query.clone(), Paging { page, partitions }).unwrap();
            prop_assert_eq!(counted, rows.len() as u64, "{:?}", &query);
            if let Query::ShortestPath(path) = &query {
                assert_is_path(&rows, path);
                prop_assert_eq!(rows.len(), all.len(), "{:?}", path);
                continue;
            }
            let limit = limit_of(&query).min(all.len());
            prop_assert_eq!(rows.len(), limit, "{:?}", &query);
            let (found, all_texts) = (texts(&rows), texts(&all));
            if limit == all.len() {
                prop_assert_eq!(sorted(found.clone()), sorted(all_texts.clone()));
            }
            let known: BTreeSet<&String> = all_texts.iter().collect();
            prop_assert!(found.iter().all(|row| known.contains(row)));
            let once: BTreeSet<&String> = found.iter().collect();
            prop_assert_eq!(once.len(), found.len());
            match query {
                Query::GetNodes { .. } | Query::GetEdges { .. } => prop_assert_eq!(found, all_texts),
                Query::Traverse(_) => {
                    let mut smallest: Vec<u32> = all.iter().map(|row| row.depth).collect();
                    smallest.sort();
                    smallest.truncate(limit);
                    let depths: Vec<u32> = rows.iter().map(|row| row.depth).collect();
                    prop_assert_eq!(depths, smallest);
                }
                Query::FindNodes { .. }
                | Query::FindEdges { .. }
                | Query::EdgesOf { .. }
                | Query::ShortestPath(_) => {}
            }
        }
    }
}

/// Each edge leads from the node before it to the node behind it, in the direction and types asked for.
fn assert_is_path(rows: &[Row], path: &PathQuery) {
    let ids: Vec<EntityId> = rows.iter().map(|row| row.entity.id()).collect();
    assert!(ids.is_empty() || (ids[0], *ids.last().unwrap()) == (path.from, path.to));
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(row.depth as usize, at.div_ceil(2));
        match &row.entity {
            Entity::Node { .. } => assert!(at % 2 == 0),
            Entity::Edge { locator, .. } => {
                let (out, back) = ((ids[at - 1], ids[at + 1]), (ids[at + 1], ids[at - 1]));
                let ends = (locator.source, locator.target);
                assert!(
                    (ends == out && path.direction != Direction::In)
                        || (ends == back && path.direction != Direction::Out)
                );
                assert!(path.types.is_empty() || path.types.contains(&locator.edge_type));
            }
        }
    }
}

fn some_id(number: u64) -> EntityId {
    EntityId::for_node(number)
}

#[test]
fn a_traversal_that_visits_too_many_nodes_says_what_to_do() {
    let start = some_id(0);
    let mut plan = Plan::new(Query::Traverse(Traversal {
        start: vec![start],
        direction: Direction::Out,
        types: BTreeSet::new(),
        min_depth: 1,
        max_depth: 32,
        limit: None,
        ..Traversal::default()
    }))
    .unwrap();
    plan.advance(Vec::new()).unwrap();
    let half = |number: usize| {
        let target = EntityId::for_edge(number as u64, start.slot());
        (key::out_half(start, "T", target, target).into(), Vec::new().into())
    };
    let pairs = (1..=MAX_VISITED).map(half).collect();
    let more = Vec::new();
    let refused = plan.advance(vec![Answer::Pairs { pairs, more }]).unwrap_err();
    assert!(matches!(refused, Error::Visited));
    assert!(refused.to_string().contains("lower its depth"));
}

#[test]
fn a_limit_does_not_count_nodes_above_the_smallest_depth() {
    let mut graph = Graph::default();
    let labels = BTreeSet::new();
    let properties = Properties::new();
    let mut operations = vec![Operation::CreateNode { labels, properties }; 5];
    // From 0 to 1, 2 and 3, which are read one by one; only the last of them in key order leads on to 4.
    let dead_ends = [(0, 1), (0, 2), (0, 3)];
    let ids: Vec<EntityId> = (1..=5).map(EntityId::for_node).collect();
    let last = (1..=3).max_by_key(|at| ids[*at]).unwrap();
    for (source, target) in dead_ends.into_iter().chain([(last, 4)]) {
        operations.push(Operation::CreateEdge {
            edge_type: "K".to_owned(),
            source: EntityRef::Operation(source),
            target: EntityRef::Operation(target),
            properties: Properties::new(),
        });
    }
    graph.run(operations, LARGE).unwrap();
    let query = Query::Traverse(Traversal {
        start: vec![ids[0]],
        direction: Direction::Out,
        types: BTreeSet::new(),
        min_depth: 2,
        max_depth: 3,
        limit: Some(1),
        ..Traversal::default()
    });
    for page in [1, 10] {
        let paging = Paging { page, partitions: 1 };
        let rows = graph.query(query.clone(), paging).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].depth, 2);
    }
}

#[test]
fn a_limit_stops_reading_a_supernode_early() {
    let start = some_id(0);
    let mut plan = Plan::new(Query::Traverse(Traversal {
        start: vec![start],
        direction: Direction::Out,
        types: BTreeSet::new(),
        min_depth: 1,
        max_depth: 3,
        limit: Some(2),
        ..Traversal::default()
    }))
    .unwrap();
    let Some(scan) = plan.advance(Vec::new()).unwrap().next else {
        panic!("the start is read")
    };
    let pairs = (1..=5)
        .map(|number| key::out_half(start, "T", some_id(number), some_id(9)))
        .map(|key| (key.into(), Vec::new().into()))
        .collect();
    let page = Answer::Pairs { pairs, more: scan };
    let next = plan.advance(vec![page]).unwrap().next.unwrap();
    let records = [1, 2].map(|number| Read::Get {
        key: key::node(some_id(number)),
    });
    assert_eq!(next, records);
}

#[test]
fn queries_beyond_their_bounds_are_refused_before_reading() {
    let traverse = |min_depth, max_depth| {
        Query::Traverse(Traversal {
            start: vec![some_id(1)],
            direction: Direction::Both,
            types: BTreeSet::new(),
            min_depth,
            max_depth,
            limit: None,
            ..Traversal::default()
        })
    };
    for (min, max) in [(0, 0), (0, 33), (3, 2)] {
        let refused = Plan::new(traverse(min, max)).unwrap_err();
        assert!(matches!(refused, Error::Depth { .. }));
    }
    let ids = vec![some_id(1); 10_001];
    assert!(matches!(Plan::new(Query::GetNodes { ids }), Err(Error::Ids(10_001))));
    let unnamed = Query::FindNodes {
        label: Some(String::new()),
        filters: Vec::new(),
        limit: None,
    };
    assert!(matches!(Plan::new(unnamed), Err(Error::Name(_))));
    let filters = vec![Filter::new("p", Test::Exists); 65];
    let filtered = Query::FindEdges {
        edge_type: None,
        filters,
        limit: None,
    };
    assert!(matches!(Plan::new(filtered), Err(Error::Filters(65))));
}

#[test]
fn answers_that_do_not_fit_the_reads_are_refused() {
    let get = || {
        let ids = vec![some_id(1)];
        let mut plan = Plan::new(Query::GetNodes { ids }).unwrap();
        plan.advance(Vec::new()).unwrap();
        plan
    };
    assert!(get().advance(Vec::new()).is_err());
    let page = Answer::Pairs {
        pairs: Vec::new(),
        more: Vec::new(),
    };
    assert!(get().advance(vec![page]).is_err());
    assert!(get().advance(vec![Answer::Value(Some(vec![1, 2, 3].into()))]).is_err());
}

#[test]
fn an_index_entry_without_its_node_is_reported_as_corruption() {
    let mut graph = Graph::default();
    graph.store.0.insert(key::label("A", some_id(1)), Vec::new());
    let query = Query::FindNodes {
        label: Some("A".to_owned()),
        filters: Vec::new(),
        limit: None,
    };
    let error = graph.query(query, LARGE).unwrap_err();
    assert!(error.to_string().ends_with("the store is corrupt"));
}
