//! Order, limits and cursors: whatever the sizes of the pages, no row is skipped or given twice.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use kotoba_graph::id::EntityId;
use kotoba_graph::key;
use kotoba_graph::operation::{EntityRef, Operation};
use kotoba_graph::query::{Direction, Error, GETS_PER_STEP, OrderBy, Plan, Position, Query, Row, Terms, Traversal};
use kotoba_graph::read::{Answer, Pair, Read};
use kotoba_graph::record::NodeRecord;
use kotoba_graph::value::{Properties, Value};
use proptest::prelude::*;

use crate::answers::expected;
use crate::graph::{Graph, with_limit};
use crate::questions::{graph_of, histories, questions_of, texts};
use crate::store::{LARGE, Paging};

fn orders() -> impl Strategy<Value = Vec<OrderBy>> {
    let by = |property: &'static str| {
        any::<bool>().prop_map(move |descending| OrderBy {
            property: property.to_owned(),
            descending,
        })
    };
    prop_oneof![
        Just(Vec::new()),
        by("p").prop_map(|p| vec![p]),
        (by("q"), by("p")).prop_map(|(q, p)| vec![q, p]),
    ]
}

fn shapes() -> impl Strategy<Value = Vec<(u64, Paging)>> {
    let paging = (1..4usize, 1..4u16).prop_map(|(page, partitions)| Paging { page, partitions });
    prop::collection::vec((1..6u64, paging), 1..4)
}

/// The order of the model: by the properties as openCypher orders them, then by id.
fn in_order(left: &Row, right: &Row, order: &[OrderBy]) -> Ordering {
    let value = |row: &Row, by: &OrderBy| {
        row.entity
            .properties()
            .get(&by.property)
            .cloned()
            .unwrap_or(Value::Null)
    };
    for by in order {
        let (left, right) = (value(left, by), value(right, by));
        let ordering = left.ordered(&right);
        let directed = if by.descending { ordering.reverse() } else { ordering };
        if directed != Ordering::Equal {
            return directed;
        }
    }
    left.entity.id().cmp(&right.entity.id())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pages_of_any_sizes_make_the_whole_answer(
        requests in histories(),
        questions in prop::collection::vec((questions_of(2..5), orders(), shapes()), 1..5),
    ) {
        let (graph, model) = graph_of(requests);
        for (question, order, shapes) in questions {
            let query = question.ask(&model);
            let mut all = expected(&model, &query);
            let given: Vec<Row> = graph.pages(&query, &order, &shapes).concat();
            if !order.is_empty() {
                all.sort_by(|left, right| in_order(left, right, &order));
                prop_assert_eq!(texts(&given), texts(&all), "{:?} by {:?}", &query, &order);
                continue;
            }
            let again: Vec<Row> = graph.pages(&query, &[], &[(3, LARGE)]).concat();
            prop_assert_eq!(texts(&given), texts(&again), "the order without an order is one, {:?}", &query);
            let (given, all) = (texts(&given), texts(&all));
            prop_assert_eq!(given.len(), all.len(), "{:?}", &query);
            prop_assert_eq!(given.iter().collect::<BTreeSet<_>>(), all.iter().collect::<BTreeSet<_>>());
        }
    }

    #[test]
    fn an_ordered_traversal_gives_the_first_rows_and_pages(
        requests in histories(),
        question in questions_of(7..10),
        descending in any::<bool>(),
        shapes in shapes(),
    ) {
        let (graph, model) = graph_of(requests);
        let query = question.ask(&model);
        let order = [OrderBy { property: "p".to_owned(), descending }];
        let mut all = expected(&model, &query);
        all.sort_by(|left, right| in_order(left, right, &order));
        let given: Vec<Row> = graph.pages(&query, &order, &shapes).concat();
        prop_assert_eq!(texts(&given), texts(&all));
    }

    #[test]
    fn an_order_without_a_limit_gives_all_rows_at_once(requests in histories(), question in questions_of(2..5)) {
        let (graph, model) = graph_of(requests);
        let query = without_limit(question.ask(&model));
        let order = vec![OrderBy { property: "q".to_owned(), descending: true }];
        let mut all = expected(&model, &query);
        all.sort_by(|left, right| in_order(left, right, &order));
        let terms = Terms { order, ..Terms::default() };
        let page = graph.page(query, terms, LARGE).unwrap();
        prop_assert_eq!(texts(&page.rows), texts(&all));
        prop_assert_eq!(page.cut, None);
    }
}

fn without_limit(query: Query) -> Query {
    with_limit(query, u64::MAX)
}

fn by(property: &str) -> Vec<OrderBy> {
    vec![OrderBy {
        property: property.to_owned(),
        descending: false,
    }]
}

fn all_nodes(limit: Option<u64>) -> Query {
    Query::FindNodes {
        label: None,
        filters: Vec::new(),
        limit,
    }
}

/// Nodes whose text is this large, numbered downwards.
fn nodes_of(bytes: usize, count: i64) -> Graph {
    let mut graph = Graph::default();
    let node = |number: i64| Operation::CreateNode {
        labels: BTreeSet::from(["A".to_owned()]),
        properties: Properties::from([
            ("n".to_owned(), Value::from(count - number)),
            ("text".to_owned(), Value::from("x".repeat(bytes).as_str())),
        ]),
    };
    let all: Vec<Operation> = (0..count).map(node).collect();
    // As much as one request may hold.
    let at_once = (4_000_000 / (bytes + 100)).clamp(1, 1_000);
    for some in all.chunks(at_once) {
        graph.run(some.to_vec(), LARGE).unwrap();
    }
    graph
}

#[test]
fn an_order_with_a_limit_holds_only_the_rows_that_come_first() {
    let graph = nodes_of(1_000, 200);
    let terms = Terms {
        order: by("n"),
        max_bytes: 10_000,
        ..Terms::default()
    };
    let first = graph.page(all_nodes(Some(3)), terms.clone(), LARGE).unwrap();
    let numbers: Vec<&Value> = first.rows.iter().map(|row| &row.entity.properties()["n"]).collect();
    assert_eq!(numbers, [&Value::from(1), &Value::from(2), &Value::from(3)]);
    for limit in [None, Some(100)] {
        let refused = graph.page(all_nodes(limit), terms.clone(), LARGE).unwrap_err();
        assert!(matches!(refused, Error::Memory(10_000)));
        assert!(refused.to_string().contains("limit"), "{refused}");
    }
}

#[test]
fn only_searches_have_an_order_and_a_place_to_go_on_from() {
    let id = EntityId::for_node(1);
    let ordered = Terms {
        order: by("p"),
        ..Terms::default()
    };
    let later = Terms {
        after: Some(Position::Key(key::node(id))),
        ..Terms::default()
    };
    let get = || Query::GetNodes { ids: vec![id] };
    assert!(matches!(Plan::with_terms(get(), ordered), Err(Error::NoOrder(_))));
    assert!(matches!(Plan::with_terms(get(), later), Err(Error::NoCursor(_))));
    let order = [by("p"), by("p")].concat();
    let twice = Terms {
        order,
        ..Terms::default()
    };
    assert!(matches!(
        Plan::with_terms(all_nodes(None), twice),
        Err(Error::OrderTwice(_))
    ));
}

#[test]
fn a_place_outside_of_the_query_is_refused() {
    let id = EntityId::for_node(1);
    let edges_of = || Query::EdgesOf {
        node: id,
        direction: Direction::Out,
        types: BTreeSet::new(),
        filters: Vec::new(),
        limit: Some(1),
    };
    let places = [
        (all_nodes(Some(1)), key::label("A", id)),
        (all_nodes(Some(1)), vec![255; 40]),
        (all_nodes(Some(1)), Vec::new()),
        (edges_of(), key::in_half(id, "T", id, id)),
        (edges_of(), key::node(id)),
    ];
    for (query, place) in places {
        let terms = Terms {
            after: Some(Position::Key(place)),
            ..Terms::default()
        };
        assert!(matches!(Plan::with_terms(query, terms), Err(Error::Cursor(_))));
    }
    let wrong_kind = Terms {
        order: by("p"),
        after: Some(Position::Key(key::node(id))),
        ..Terms::default()
    };
    assert!(matches!(
        Plan::with_terms(all_nodes(Some(1)), wrong_kind),
        Err(Error::Cursor(_))
    ));
}

/// The gets and the bytes that come back, step by step.
fn steps_of(graph: &Graph, query: Query) -> Vec<(usize, usize)> {
    steps_under(graph, query, Terms::default())
}

fn steps_under(graph: &Graph, query: Query, terms: Terms) -> Vec<(usize, usize)> {
    let mut plan = Plan::with_terms(query, terms).unwrap();
    let (mut answers, mut steps) = (Vec::new(), Vec::new());
    while let Some(reads) = plan.advance(answers).unwrap().next {
        let gets = reads.iter().filter(|read| matches!(read, Read::Get { .. })).count();
        answers = graph.store.answer(reads, LARGE);
        steps.push((gets, answers.iter().map(bytes_of).sum()));
    }
    steps
}

fn bytes_of(answer: &Answer) -> usize {
    match answer {
        Answer::Value(value) => value.as_ref().map_or(0, |value| value.len()),
        Answer::Pairs { pairs, .. } => pairs.iter().map(|(key, value)| key.len() + value.len()).sum(),
    }
}

/// A node with edges to others, each of which has some to nodes of its own; the first is the one in the middle.
fn star_of_stars(others: usize, own: usize) -> (Graph, EntityId) {
    let mut graph = Graph::default();
    let node = Operation::CreateNode {
        labels: BTreeSet::new(),
        properties: Properties::new(),
    };
    let nodes = vec![node; 1 + others + others * own];
    let created = graph.run(nodes, LARGE).unwrap().results;
    let ends = (1..=others).map(|other| (0, other));
    let leaves = (0..others * own).map(|leaf| (1 + leaf / own, 1 + others + leaf));
    let edges = ends.chain(leaves).map(|(source, target)| Operation::CreateEdge {
        edge_type: "T".to_owned(),
        source: EntityRef::Id(created[source].id),
        target: EntityRef::Id(created[target].id),
        properties: Properties::new(),
    });
    graph.run(edges.collect(), LARGE).unwrap();
    (graph, created[0].id)
}

/// Outwards; a page of 100 rows at most.
fn hops(start: EntityId, depth: u32) -> Query {
    Query::Traverse(Traversal {
        start: vec![start],
        direction: Direction::Out,
        min_depth: depth,
        max_depth: depth,
        limit: Some(100),
        ..Traversal::default()
    })
}

#[test]
fn a_walk_takes_one_step_a_hop_and_in_haste_one_for_its_rows() {
    let (graph, start) = star_of_stars(50, 3);
    let hasty = Terms {
        hasty: true,
        ..Terms::default()
    };
    let gets = |terms: Terms| -> Vec<usize> {
        let steps = steps_under(&graph, hops(start, 2), terms);
        steps.into_iter().map(|(gets, _)| gets).collect()
    };
    assert_eq!(gets(hasty), [0, 0, 100]);
    assert_eq!(gets(Terms::default()), [0, 0, 20, 80]);
}

#[test]
fn where_edges_lead_to_more_rows_than_are_wanted_few_of_them_are_read() {
    let (graph, start) = star_of_stars(16, 40);
    let steps = steps_of(&graph, hops(start, 2));
    const KEY_BYTES: usize = 30;
    let (_, bytes) = steps[1];
    assert!(bytes <= 16 * 33 * KEY_BYTES, "{steps:?}");
}

#[test]
fn large_records_are_read_few_at_a_time_and_small_ones_many() {
    let find = || Query::FindNodes {
        label: Some("A".to_owned()),
        filters: Vec::new(),
        limit: None,
    };
    let large = steps_of(&nodes_of(400_000, 100), find());
    let most = large.iter().map(|(_, bytes)| *bytes).max().unwrap();
    assert!(most <= 16 << 20, "{large:?}");
    assert!(large.iter().skip(2).all(|(gets, _)| *gets <= 24), "{large:?}");
    let small = steps_of(&nodes_of(10, 3_000), find());
    assert!(small.iter().any(|(gets, _)| *gets == GETS_PER_STEP), "{small:?}");
    let scanned = steps_of(&nodes_of(400_000, 100), all_nodes(None));
    assert!(scanned.iter().all(|(_, bytes)| *bytes <= 16 << 20), "{scanned:?}");
}

#[test]
fn a_count_without_filters_reads_keys_alone() {
    let graph = nodes_of(100_000, 20);
    let labelled = Query::FindNodes {
        label: Some("A".to_owned()),
        filters: Vec::new(),
        limit: None,
    };
    for query in [labelled, all_nodes(None)] {
        let terms = Terms {
            count_only: true,
            order: by("n"),
            max_bytes: 0,
            ..Terms::default()
        };
        assert_eq!(graph.page(query.clone(), terms.clone(), LARGE).unwrap().count, 20);
        let steps = steps_under(&graph, query, terms);
        assert!(
            steps.iter().all(|(gets, bytes)| *gets == 0 && *bytes < 10_000),
            "{steps:?}"
        );
    }
}

#[test]
fn a_limit_reads_no_record_that_is_no_row() {
    let graph = nodes_of(10, 500);
    let query = Query::FindNodes {
        label: Some("A".to_owned()),
        filters: Vec::new(),
        limit: Some(5),
    };
    let gets: usize = steps_of(&graph, query).iter().map(|(gets, _)| gets).sum();
    assert_eq!(gets, 5);
}

#[test]
fn rows_that_wait_for_a_slow_partition_are_bounded() {
    // One partition answers a pair a page, the other all it is asked: its rows wait for the first one's.
    let mut plan = Plan::new(Query::FindNodes {
        label: None,
        filters: vec![kotoba_graph::query::Filter::new("n", kotoba_graph::query::Test::Exists)],
        limit: Some(1_000_000),
    })
    .unwrap();
    let record = |id: EntityId| {
        let properties = Properties::from([
            ("n".to_owned(), Value::from(1)),
            ("text".to_owned(), Value::from("x".repeat(100_000).as_str())),
        ]);
        NodeRecord::new(id, BTreeSet::new(), properties).unwrap().encode()
    };
    let mut reads = plan.advance(Vec::new()).unwrap().next.unwrap();
    let (mut fast, mut rounds) = (0, 0);
    while rounds < 300 {
        rounds += 1;
        let answers = reads
            .drain(..)
            .map(|read| answer_unevenly(read, &record, &mut fast))
            .collect();
        reads = plan.advance(answers).unwrap().next.unwrap();
    }
    assert!(fast * 100_000 < 32 << 20, "{fast} rows wait");
}

fn answer_unevenly(read: Read, record: &impl Fn(EntityId) -> Vec<u8>, fast: &mut usize) -> Answer {
    let Read::ScanSlots(scan) = read else {
        panic!("only scans are expected: {read:?}")
    };
    let middle = kotoba_graph::id::Slot::new(2_048).unwrap();
    let (first, last) = (kotoba_graph::id::Slot::FIRST, kotoba_graph::id::Slot::LAST);
    let (mut pairs, mut more): (Vec<Pair>, _) = (Vec::new(), Vec::new());
    let before = kotoba_graph::id::Slot::new(2_047).unwrap();
    for (from, to, most) in [(first, before, 1), (middle, last, scan.limit.unwrap())] {
        let Some(part) = scan.within(from, to) else { continue };
        let sequence = part.after.as_ref().map_or(0, |after| {
            u64::from_be_bytes(after[3..11].try_into().unwrap()) & ((1 << 51) - 1)
        });
        for number in 1..=most as u64 {
            let id = EntityId::for_edge(sequence + number, part.first);
            pairs.push((key::node(id).into(), record(id).into()));
        }
        if from == middle {
            *fast += most;
        }
        more.push(Read::ScanSlots(part.continued_after(&pairs.last().unwrap().0).unwrap()));
    }
    Answer::Pairs { pairs, more }
}
