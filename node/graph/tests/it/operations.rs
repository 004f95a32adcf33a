//! Requests of operations: against the model, and one by one where a rule is dear.

use std::collections::BTreeSet;

use kotoba_graph::id::EntityId;
use kotoba_graph::key;
use kotoba_graph::operation::{
    Batch, EntityRef, Error, MAX_DETACHED_EDGES, MAX_MUTATION_BYTES, MAX_OPERATIONS, Operation, Step,
};
use kotoba_graph::read::{Answer, Read};
use kotoba_graph::value::{Properties, Value};
use proptest::prelude::*;

use crate::generate::{ANY, drafts, request};
use crate::graph::Graph;
use crate::model::{Model, Refusal};
use crate::store::{LARGE, Paging};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_store_is_what_the_model_says_after_every_request(
        requests in prop::collection::vec(drafts(ANY, 1..8), 1..14),
        page in 1..4usize,
    ) {
        let mut graph = Graph::default();
        let mut model = Model::default();
        let paging = Paging { page, partitions: 3 };
        for drafts in requests {
            let operations = request(drafts, &model);
            model_and_graph_agree(&mut graph, &mut model, operations, paging)?;
        }
    }
}

fn model_and_graph_agree(
    graph: &mut Graph,
    model: &mut Model,
    operations: Vec<Operation>,
    paging: Paging,
) -> Result<(), TestCaseError> {
    // A refused request may use up sequences in one and not the other.
    let mut sequence = graph.next_sequence;
    let expected = model.run(&operations, &mut sequence);
    let found = graph.run(operations.clone(), paging);
    match (expected, found) {
        (Ok(results), Ok(mutation)) => prop_assert_eq!(results, mutation.results),
        (Err((at, refusal)), Err(error)) => {
            // The ends of a new edge are judged at the commit, so a later operation may be refused first.
            let is_late = matches!(operations[at], Operation::CreateEdge { .. });
            prop_assert!(
                is_late || (Some(at), Some(refusal)) == (error.operation(), refusal_of(&error)),
                "{error}"
            );
        }
        (expected, found) => prop_assert!(false, "model: {expected:?}, graph: {found:?}"),
    }
    prop_assert_eq!(&graph.store, &model.stored());
    Ok(())
}

fn refusal_of(error: &Error) -> Option<Refusal> {
    match error {
        Error::NodeNotFound { .. } => Some(Refusal::NodeNotFound),
        Error::EdgeNotFound { .. } => Some(Refusal::EdgeNotFound),
        Error::HasEdges { .. } => Some(Refusal::HasEdges),
        Error::OperationCount(_)
        | Error::Entity { .. }
        | Error::LabelTwice { .. }
        | Error::OtherVersion { .. }
        | Error::Reference { .. }
        | Error::TooManyEdges
        | Error::TooLarge(_)
        | Error::Read(_) => None,
    }
}

fn create_node() -> Operation {
    Operation::CreateNode {
        labels: BTreeSet::new(),
        properties: Properties::new(),
    }
}

fn create_edge(source: EntityRef, target: EntityRef) -> Operation {
    Operation::CreateEdge {
        edge_type: "KNOWS".to_owned(),
        source,
        target,
        properties: Properties::new(),
    }
}

fn delete(node: EntityRef, detach: bool) -> Operation {
    Operation::DeleteNode {
        node,
        detach,
        expected: None,
    }
}

fn some_nodes(graph: &mut Graph, count: usize) -> Vec<EntityRef> {
    let created = graph.run(vec![create_node(); count], LARGE).unwrap();
    let ids = created.results.iter().map(|result| result.id);
    ids.map(EntityRef::Id).collect()
}

fn id_of(reference: EntityRef) -> EntityId {
    match reference {
        EntityRef::Id(id) => id,
        EntityRef::Operation(_) => panic!("not yet created"),
    }
}

#[test]
fn creating_reads_nothing_and_conditions_only_nodes_that_exist_already() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 2);
    let operations = vec![
        create_node(),
        create_edge(EntityRef::Operation(0), nodes[0]),
        create_edge(nodes[0], nodes[0]),
    ];
    let (mutation, rounds) = graph.plan(operations, LARGE).unwrap();
    assert_eq!(rounds, 0);
    let [condition] = mutation.conditions.as_slice() else {
        panic!("one node exists already: {:?}", mutation.conditions)
    };
    assert_eq!(condition.key, key::node(id_of(nodes[0])));
    assert_eq!(condition.operation, 1);
    assert!(condition.guarded);
    // A node record, and two halves and a locator of each edge.
    assert_eq!(mutation.writes.len(), 7);
}

#[test]
fn an_edge_that_does_not_outlive_its_request_leaves_its_conditions_unguarded() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 2);
    let operations = vec![
        create_edge(nodes[0], nodes[1]),
        Operation::DeleteEdge {
            edge: EntityRef::Operation(0),
            expected: None,
        },
    ];
    let (mutation, _) = graph.plan(operations, LARGE).unwrap();
    assert!(mutation.writes.is_empty());
    assert_eq!(mutation.conditions.len(), 2);
    assert!(mutation.conditions.iter().all(|condition| !condition.guarded));
    assert_eq!(mutation.results[0], mutation.results[1]);
}

#[test]
fn a_delete_reads_the_record_and_both_ranges_in_one_round() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 1);
    let id = id_of(nodes[0]);
    let mut batch = Batch::new(vec![delete(nodes[0], false)], None, &mut || 0).unwrap();
    let Step::Read(reads) = batch.advance(Vec::new()).unwrap() else {
        panic!("a delete reads")
    };
    let scan = |range: key::Range| Read::Scan {
        from: range.from,
        to: range.to,
        limit: Some(1),
        keys_only: true,
    };
    let expected = [
        Read::Get { key: key::node(id) },
        scan(key::out_halves(id, None)),
        scan(key::in_halves(id, None)),
    ];
    assert_eq!(reads, expected);
    let answers = graph.store.answer(reads, LARGE);
    assert!(matches!(batch.advance(answers).unwrap(), Step::Done(_)));
}

#[test]
fn a_mixed_request_takes_two_rounds_whatever_it_holds() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 4);
    let edges = vec![
        create_edge(nodes[0], nodes[1]),
        create_edge(nodes[2], nodes[3]),
        create_edge(nodes[3], nodes[3]),
    ];
    let created = graph.run(edges, LARGE).unwrap();
    let edge = |at: usize| EntityRef::Id(created.results[at].id);
    let operations = vec![
        Operation::UpdateEdge {
            edge: edge(1),
            set: Properties::from([("since".to_owned(), Value::from(1))]),
            replace: false,
            expected: None,
        },
        Operation::DeleteEdge {
            edge: edge(0),
            expected: None,
        },
        delete(nodes[0], false),
        delete(nodes[3], true),
        create_node(),
        create_edge(EntityRef::Operation(4), nodes[1]),
    ];
    let (mutation, rounds) = graph.plan(operations, LARGE).unwrap();
    assert_eq!(rounds, 2);
    graph.store.apply(mutation.writes);
    let halves = graph.store.0.keys().filter(|key| matches!(key[2], b'O' | b'I'));
    assert_eq!(halves.count(), 2);
}

#[test]
fn a_node_with_edges_is_kept_unless_it_is_detached() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 2);
    graph.run(vec![create_edge(nodes[0], nodes[1])], LARGE).unwrap();
    for node in &nodes {
        let refused = graph.run(vec![delete(*node, false)], LARGE).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "operation 0: node {} has edges: delete them first, or delete it with detach",
                id_of(*node)
            )
        );
    }
    graph.run(vec![delete(nodes[1], true)], LARGE).unwrap();
    graph.run(vec![delete(nodes[0], false)], LARGE).unwrap();
    assert!(graph.store.0.is_empty());
}

#[test]
fn a_node_is_deleted_after_its_edges_in_one_request_but_not_before() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 2);
    let edges = vec![create_edge(nodes[0], nodes[1]); 3];
    let created = graph.run(edges, LARGE).unwrap();
    let mut operations: Vec<Operation> = created
        .results
        .iter()
        .map(|result| Operation::DeleteEdge {
            edge: EntityRef::Id(result.id),
            expected: None,
        })
        .collect();
    operations.push(delete(nodes[0], false));
    let mut reversed = operations.clone();
    reversed.reverse();
    let refused = graph.run(reversed, LARGE).unwrap_err();
    assert!(matches!(refused, Error::HasEdges { operation: 0, .. }));
    graph.run(operations, LARGE).unwrap();
}

#[test]
fn a_node_that_keeps_one_of_its_edges_is_not_deleted() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 2);
    let edges = vec![create_edge(nodes[0], nodes[1]); 3];
    let created = graph.run(edges, LARGE).unwrap();
    // Whichever of the three the scan finds first, one that is kept must be seen.
    for kept in 0..3 {
        let gone = created.results.iter().enumerate();
        let gone = gone.filter(|(at, _)| *at != kept);
        let mut operations: Vec<Operation> = gone
            .map(|(_, result)| Operation::DeleteEdge {
                edge: EntityRef::Id(result.id),
                expected: None,
            })
            .collect();
        operations.push(delete(nodes[1], false));
        let refused = graph.run(operations, LARGE).unwrap_err();
        assert!(matches!(refused, Error::HasEdges { operation: 2, .. }));
    }
}

#[test]
fn an_edge_that_is_updated_and_then_detached_is_gone_however_late_its_half_is_read() {
    let paging = Paging { page: 1, partitions: 1 };
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 2);
    let edges = vec![create_edge(nodes[0], nodes[1]); 5];
    let created = graph.run(edges, LARGE).unwrap();
    let last = created.results.iter().map(|result| result.id).max().unwrap();
    let operations = vec![
        Operation::UpdateEdge {
            edge: EntityRef::Id(last),
            set: Properties::new(),
            replace: true,
            expected: None,
        },
        delete(nodes[0], true),
        delete(nodes[1], false),
    ];
    graph.run(operations, paging).unwrap();
    assert!(graph.store.0.is_empty());
}

#[test]
fn a_request_that_detaches_too_many_edges_says_what_to_do() {
    let node = EntityId::for_node(1);
    let mut batch = Batch::new(vec![delete(EntityRef::Id(node), true)], None, &mut || 0).unwrap();
    batch.advance(Vec::new()).unwrap();
    let half = |number: usize| {
        let edge = EntityId::for_edge(number as u64, node.slot());
        (key::out_half(node, "T", node, edge).into(), Vec::new().into())
    };
    let page = |pairs| Answer::Pairs {
        pairs,
        more: Vec::new(),
    };
    let answers = vec![
        Answer::Value(None),
        page((0..=MAX_DETACHED_EDGES).map(half).collect()),
        page(Vec::new()),
    ];
    let refused = batch.advance(answers).unwrap_err();
    assert!(matches!(refused, Error::TooManyEdges));
    assert!(refused.to_string().ends_with("delete edges in smaller requests first"));
}

#[test]
fn requests_that_are_empty_too_long_too_large_or_refer_wrongly_are_refused() {
    let refused = |operations| Graph::default().run(operations, LARGE).unwrap_err();
    assert!(matches!(refused(Vec::new()), Error::OperationCount(0)));
    let many = vec![create_node(); MAX_OPERATIONS + 1];
    assert!(matches!(refused(many), Error::OperationCount(1_001)));

    let large = Operation::CreateNode {
        labels: BTreeSet::new(),
        properties: Properties::from([("p".to_owned(), Value::Bytes(vec![0; 1_000_000]))]),
    };
    let most = MAX_MUTATION_BYTES / 1_000_000;
    assert!(matches!(refused(vec![large; most + 1]), Error::TooLarge(_)));

    let to = EntityRef::Operation;
    for wrong in [
        vec![create_edge(to(0), to(0))],
        vec![create_edge(to(1), to(1)), create_node()],
        vec![
            create_node(),
            Operation::DeleteEdge {
                edge: to(0),
                expected: None,
            },
        ],
    ] {
        assert!(matches!(refused(wrong), Error::Reference { .. }));
    }
    let twice = Operation::UpdateNode {
        node: to(0),
        set: Properties::new(),
        add_labels: BTreeSet::from(["A".to_owned()]),
        remove_labels: BTreeSet::from(["A".to_owned()]),
        replace: false,
        expected: None,
    };
    assert!(matches!(refused(vec![create_node(), twice]), Error::LabelTwice { .. }));
}

#[test]
fn an_entity_above_a_limit_names_its_operation_and_property() {
    let nested = (0..33).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let bad = Operation::CreateNode {
        labels: BTreeSet::new(),
        properties: Properties::from([("deep".to_owned(), nested)]),
    };
    let refused = Graph::default().run(vec![create_node(), bad], LARGE).unwrap_err();
    assert_eq!(refused.operation(), Some(1));
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(cause, "property deep nests lists and maps deeper than 32");
}

#[test]
fn a_half_without_its_record_is_reported_as_corruption() {
    let mut graph = Graph::default();
    let nodes = some_nodes(&mut graph, 1);
    let created = graph.run(vec![create_edge(nodes[0], nodes[0])], LARGE).unwrap();
    let edge = created.results[0].id;
    let id = id_of(nodes[0]);
    graph.store.0.remove(&key::out_half(id, "KNOWS", id, edge));
    let delete = Operation::DeleteEdge {
        edge: EntityRef::Id(edge),
        expected: None,
    };
    let error = graph.run(vec![delete], LARGE).unwrap_err();
    assert!(error.to_string().ends_with("the store is corrupt"));
}

#[test]
fn a_change_is_refused_where_the_entity_has_another_version_than_expected() {
    let mut graph = Graph::default();
    let created = graph.run(vec![create_node(); 2], LARGE).unwrap();
    let node = created.results[0];
    let set = |expected| Operation::UpdateNode {
        node: EntityRef::Id(node.id),
        set: Properties::from([("n".to_owned(), Value::from(1))]),
        add_labels: BTreeSet::new(),
        remove_labels: BTreeSet::new(),
        replace: false,
        expected: Some(expected),
    };
    let refused = graph.run(vec![set(created.results[1].cid)], LARGE).unwrap_err();
    assert!(matches!(refused, Error::OtherVersion { operation: 0, .. }), "{refused}");
    let updated = graph.run(vec![set(node.cid)], LARGE).unwrap().results[0];
    assert!(
        graph.run(vec![set(node.cid)], LARGE).is_err(),
        "the version has changed"
    );
    let delete = Operation::DeleteNode {
        node: EntityRef::Id(node.id),
        detach: false,
        expected: Some(updated.cid),
    };
    graph.run(vec![delete], LARGE).unwrap();
}
