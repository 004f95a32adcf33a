//! Random questions to random graphs, of every kind of query.

use std::collections::BTreeSet;
use std::ops::Range;

use kotoba_graph::id::EntityId;
use kotoba_graph::query::{Direction, Filter, NodeFilter, PathQuery, Query, Row, Test, Traversal};
use kotoba_graph::value::Value;
use proptest::prelude::*;

use crate::generate::{ANY, Draft, LABELS, NEW_EDGE, NEW_NODE, TYPES, drafts, names, request, values};
use crate::graph::Graph;
use crate::model::Model;
use crate::store::LARGE;

/// A query before its ids are chosen among those of the model.
#[derive(Clone, Debug)]
pub struct Question {
    kind: u8,
    picks: Vec<u16>,
    name: Option<u8>,
    types: BTreeSet<String>,
    direction: Direction,
    filters: Vec<Filter>,
    labels: BTreeSet<String>,
    prune: bool,
    depths: (u32, u32),
    limit: Option<u64>,
}

/// Filters on the two properties that most entities have.
pub fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let kinds = vec![
        Test::Equal as fn(Value) -> Test,
        Test::NotEqual,
        Test::Less,
        Test::LessOrEqual,
        Test::Greater,
        Test::GreaterOrEqual,
    ];
    let comparison = (prop::sample::select(kinds), values()).prop_map(|(kind, value)| kind(value));
    let test = prop_oneof![
        6 => comparison,
        1 => prop::collection::vec(values(), 0..3).prop_map(Test::In),
        1 => prop::sample::select(vec![Test::Exists, Test::Missing]),
        1 => "[xy]?".prop_map(Test::StartsWith),
    ];
    let filter = ("[pq]", test).prop_map(|(key, test)| Filter::new(key, test));
    prop_oneof![
        2 => Just(Vec::new()),
        2 => prop::collection::vec(filter, 1..3),
    ]
}

/// Questions of every kind.
pub fn questions() -> impl Strategy<Value = Question> {
    questions_of(0..10)
}

/// Questions of some kinds: 2 to 4 search, 5 and 6 ask for a path, 7 to 9 traverse.
pub fn questions_of(kinds: Range<u8>) -> impl Strategy<Value = Question> {
    let directions = vec![Direction::Both, Direction::Out, Direction::In];
    let types = prop::sample::select(TYPES.to_vec()).prop_map(String::from);
    (
        kinds,
        prop::collection::vec(any::<u16>(), 1..4),
        prop::option::of(0..3u8),
        prop::collection::btree_set(types, 0..3),
        prop::sample::select(directions),
        filters(),
        (prop::collection::btree_set(names(LABELS), 0..2), any::<bool>()),
        (0..4u32, 1..4u32),
        prop::option::of(0..8u64),
    )
        .prop_map(
            |(kind, picks, name, types, direction, filters, (labels, prune), (min, more), limit)| Question {
                kind,
                picks,
                name,
                types,
                direction,
                filters,
                labels,
                prune,
                depths: (min, min + more),
                limit,
            },
        )
}

impl Question {
    pub fn ask(self, model: &Model) -> Query {
        let nodes: Vec<EntityId> = model.nodes.keys().copied().collect();
        let edges: Vec<EntityId> = model.edges.keys().copied().collect();
        let name = |of: [&str; 3]| self.name.map(|name| of[usize::from(name)].to_owned());
        let picked = |of: &[EntityId]| -> Vec<EntityId> { self.picks.iter().map(|pick| choose(of, *pick)).collect() };
        match self.kind {
            0 => Query::GetNodes { ids: picked(&nodes) },
            1 => Query::GetEdges { ids: picked(&edges) },
            2 => Query::FindNodes {
                label: name(LABELS),
                filters: self.filters,
                limit: self.limit,
            },
            3 => Query::FindEdges {
                edge_type: name(TYPES),
                filters: self.filters,
                limit: self.limit,
            },
            4 => Query::EdgesOf {
                node: picked(&nodes)[0],
                direction: self.direction,
                types: self.types,
                filters: self.filters,
                limit: self.limit,
            },
            5 | 6 => Query::ShortestPath(PathQuery {
                from: picked(&nodes)[0],
                to: *picked(&nodes).last().unwrap(),
                direction: self.direction,
                types: self.types,
                max_depth: self.depths.1,
            }),
            7 => Query::Traverse(Traversal {
                edges: self.filters.clone(),
                ..self.walk(picked(&nodes))
            }),
            8 => Query::Traverse(Traversal {
                nodes: NodeFilter {
                    labels: self.labels.clone(),
                    filters: self.filters.clone(),
                },
                prune: self.prune,
                ..self.walk(picked(&nodes))
            }),
            _ => Query::Traverse(self.walk(picked(&nodes))),
        }
    }
}

impl Question {
    fn walk(&self, start: Vec<EntityId>) -> Traversal {
        Traversal {
            start,
            direction: self.direction,
            types: self.types.clone(),
            min_depth: self.depths.0,
            max_depth: self.depths.1,
            limit: self.limit,
            ..Traversal::default()
        }
    }
}

fn choose(of: &[EntityId], pick: u16) -> EntityId {
    let pick = usize::from(pick);
    match of.get(pick % (of.len() + 1)) {
        Some(id) => *id,
        None => EntityId::for_node(1 << 40),
    }
}

/// A row as text: NaN is not equal to itself.
pub fn texts<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<String> {
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

pub fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// Nodes, then edges one by one (a refused one takes no other with it), then anything.
pub fn histories() -> impl Strategy<Value = Vec<Vec<Draft>>> {
    let edges = prop::collection::vec(drafts(NEW_EDGE, 1..2), 0..32);
    let changes = prop::collection::vec(drafts(ANY, 1..3), 0..8);
    (drafts(NEW_NODE, 3..12), edges, changes).prop_map(|(nodes, edges, changes)| {
        let edges_and_changes = edges.into_iter().chain(changes);
        std::iter::once(nodes).chain(edges_and_changes).collect()
    })
}

pub fn graph_of(requests: Vec<Vec<Draft>>) -> (Graph, Model) {
    let (mut graph, mut model) = (Graph::default(), Model::default());
    for drafts in requests {
        let operations = request(drafts, &model);
        let mut sequence = graph.next_sequence;
        if model.run(&operations, &mut sequence).is_ok() {
            graph.run(operations, LARGE).unwrap();
        }
    }
    (graph, model)
}
