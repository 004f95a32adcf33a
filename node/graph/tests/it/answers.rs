//! What queries give on the model: by looking at everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kotoba_graph::id::EntityId;
use kotoba_graph::query::{Direction, Entity, Filter, PathQuery, Query, Row, Test, Traversal};
use kotoba_graph::record::Locator;
use kotoba_graph::value::{Properties, Value};

use crate::model::Model;

/// What a query gives without its limit; (id, depth) tells rows apart.
pub fn expected(model: &Model, query: &Query) -> Vec<Row> {
    let edges = |accept: &dyn Fn(&Locator, &Properties) -> bool| -> Vec<Row> {
        let rows = model.edges.iter();
        let rows = rows.filter(|(_, (locator, record))| accept(locator, &record.properties));
        rows.map(|(id, _)| edge_row(model, *id)).collect()
    };
    match query {
        Query::GetNodes { ids } => distinct(ids)
            .filter(|id| model.nodes.contains_key(id))
            .map(|id| node_row(model, id, 0))
            .collect(),
        Query::GetEdges { ids } => distinct(ids)
            .filter(|id| model.edges.contains_key(id))
            .map(|id| edge_row(model, id))
            .collect(),
        Query::FindNodes { label, filters, .. } => model
            .nodes
            .iter()
            .filter(|(_, node)| label.iter().all(|label| node.labels.contains(label)))
            .filter(|(_, node)| accepts(filters, &node.properties))
            .map(|(id, _)| node_row(model, *id, 0))
            .collect(),
        Query::FindEdges { edge_type, filters, .. } => edges(&|locator, properties| {
            edge_type.iter().all(|name| *name == locator.edge_type) && accepts(filters, properties)
        }),
        Query::EdgesOf {
            node,
            direction,
            types,
            filters,
            ..
        } => edges(&|locator, properties| {
            let of_type = types.is_empty() || types.contains(&locator.edge_type);
            of_type && !neighbours(locator, *node, *direction).is_empty() && accepts(filters, properties)
        }),
        Query::Traverse(walk) => depths(model, walk)
            .into_iter()
            .filter(|(_, depth)| (walk.min_depth..=walk.max_depth).contains(depth))
            .filter(|(id, _)| is_row(model, walk, *id))
            .map(|(id, depth)| node_row(model, id, depth))
            .collect(),
        Query::ShortestPath(path) => shortest_path(model, path),
    }
}

fn is_row(model: &Model, walk: &Traversal, id: EntityId) -> bool {
    let node = &model.nodes[&id];
    walk.nodes.labels.iter().all(|label| node.labels.contains(label)) && accepts(&walk.nodes.filters, &node.properties)
}

fn distinct(ids: &[EntityId]) -> impl Iterator<Item = EntityId> {
    let mut seen = BTreeSet::new();
    ids.iter().copied().filter(move |id| seen.insert(*id))
}

fn node_row(model: &Model, id: EntityId, depth: u32) -> Row {
    let record = model.nodes[&id].clone();
    Row {
        entity: Entity::Node { id, record },
        depth,
    }
}

fn edge_row(model: &Model, id: EntityId) -> Row {
    let (locator, record) = model.edges[&id].clone();
    Row {
        entity: Entity::Edge { id, locator, record },
        depth: 0,
    }
}

fn accepts(filters: &[Filter], properties: &Properties) -> bool {
    filters.iter().all(|filter| {
        let found = properties.get(&filter.key);
        holds(&filter.test, found.unwrap_or(&Value::Null))
    })
}

/// The comparisons of the few values that the tests store: integers below ten, halves, NaN, texts and lists.
fn holds(test: &Test, value: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Float(float) => Some(*float),
        _ => None,
    };
    let compare = |bound: &Value, numbers: fn(&f64, &f64) -> bool, texts: fn(&str, &str) -> bool| match (value, bound) {
        (Value::String(value), Value::String(bound)) => texts(value, bound),
        (value, bound) => match (number(value), number(bound)) {
            (Some(value), Some(bound)) => numbers(&value, &bound),
            _ => matches!((value, bound), (Value::List(_), Value::List(_))) && texts("", ""),
        },
    };
    let is_null = |value: &Value| *value == Value::Null;
    match test {
        Test::Equal(bound) => value.equals(bound),
        Test::NotEqual(bound) => !is_null(value) && !is_null(bound) && !value.equals(bound),
        Test::Less(bound) => compare(bound, f64::lt, |a, b| a < b),
        Test::LessOrEqual(bound) => compare(bound, f64::le, |a, b| a <= b),
        Test::Greater(bound) => compare(bound, f64::gt, |a, b| a > b),
        Test::GreaterOrEqual(bound) => compare(bound, f64::ge, |a, b| a >= b),
        Test::In(wanted) => wanted.iter().any(|wanted| value.equals(wanted)),
        Test::Exists => !is_null(value),
        Test::Missing => is_null(value),
        Test::StartsWith(prefix) => matches!(value, Value::String(text) if text.starts_with(prefix.as_str())),
    }
}

/// Where an edge leads from a node.
fn neighbours(locator: &Locator, node: EntityId, direction: Direction) -> Vec<EntityId> {
    let out = (locator.source == node && direction != Direction::In).then_some(locator.target);
    let into = (locator.target == node && direction != Direction::Out).then_some(locator.source);
    out.into_iter().chain(into).collect()
}

fn depths(model: &Model, walk: &Traversal) -> BTreeMap<EntityId, u32> {
    let mut depths = BTreeMap::new();
    let start = distinct(&walk.start).filter(|id| model.nodes.contains_key(id));
    let mut queue: VecDeque<_> = start.map(|id| (id, 0)).collect();
    while let Some((id, depth)) = queue.pop_front() {
        if depths.contains_key(&id) {
            continue;
        }
        depths.insert(id, depth);
        if walk.prune && depth > 0 && !is_row(model, walk, id) {
            continue;
        }
        for (locator, record) in model.edges.values() {
            let of_type = walk.types.is_empty() || walk.types.contains(&locator.edge_type);
            if of_type && accepts(&walk.edges, &record.properties) {
                let found = neighbours(locator, id, walk.direction);
                queue.extend(found.into_iter().map(|id| (id, depth + 1)));
            }
        }
    }
    depths
}

/// Any shortest path: tests compare its length, and that it is one.
fn shortest_path(model: &Model, path: &PathQuery) -> Vec<Row> {
    let step = |id: EntityId| -> Vec<(EntityId, EntityId)> {
        let of_type = |locator: &Locator| path.types.is_empty() || path.types.contains(&locator.edge_type);
        let edges = model.edges.iter().filter(|(_, (locator, _))| of_type(locator));
        edges
            .flat_map(|(edge, (locator, _))| {
                let found = neighbours(locator, id, path.direction);
                found.into_iter().map(|far| (*edge, far))
            })
            .collect()
    };
    if !model.nodes.contains_key(&path.from) || !model.nodes.contains_key(&path.to) {
        return Vec::new();
    }
    let mut ways = BTreeMap::from([(path.from, vec![node_row(model, path.from, 0)])]);
    let mut queue = VecDeque::from([path.from]);
    while let Some(id) = queue.pop_front() {
        let way = ways[&id].clone();
        if id == path.to {
            return way;
        }
        let depth = way.last().unwrap().depth + 1;
        for (edge, far) in step(id) {
            if depth <= path.max_depth && !ways.contains_key(&far) {
                let edge = Row {
                    depth,
                    ..edge_row(model, edge)
                };
                let longer = way.iter().cloned().chain([edge, node_row(model, far, depth)]);
                ways.insert(far, longer.collect());
                queue.push_back(far);
            }
        }
    }
    Vec::new()
}
