//! What queries give on the model: by looking at everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kotoba_graph::id::EntityId;
use kotoba_graph::query::{Direction, Entity, PropertyEquals, Query, Row};
use kotoba_graph::record::Locator;
use kotoba_graph::value::Properties;

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
            node, direction, types, ..
        } => edges(&|locator, _| {
            let of_type = types.is_empty() || types.contains(&locator.edge_type);
            of_type && !neighbours(locator, *node, *direction).is_empty()
        }),
        Query::Traverse {
            start,
            direction,
            types,
            min_depth,
            max_depth,
            ..
        } => depths(model, start, *direction, types)
            .into_iter()
            .filter(|(_, depth)| (min_depth..=max_depth).contains(&depth))
            .map(|(id, depth)| node_row(model, id, depth))
            .collect(),
    }
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

fn accepts(filters: &[PropertyEquals], properties: &Properties) -> bool {
    filters.iter().all(|filter| {
        let found = properties.get(&filter.key);
        found.is_some_and(|value| value.equals(&filter.value))
    })
}

/// Where an edge leads from a node.
fn neighbours(locator: &Locator, node: EntityId, direction: Direction) -> Vec<EntityId> {
    let out = (locator.source == node && direction != Direction::In).then_some(locator.target);
    let into = (locator.target == node && direction != Direction::Out).then_some(locator.source);
    out.into_iter().chain(into).collect()
}

fn depths(
    model: &Model,
    start: &[EntityId],
    direction: Direction,
    types: &BTreeSet<String>,
) -> BTreeMap<EntityId, u32> {
    let mut depths = BTreeMap::new();
    let start = distinct(start).filter(|id| model.nodes.contains_key(id));
    let mut queue: VecDeque<_> = start.map(|id| (id, 0)).collect();
    while let Some((id, depth)) = queue.pop_front() {
        if depths.contains_key(&id) {
            continue;
        }
        depths.insert(id, depth);
        for (locator, _) in model.edges.values() {
            if types.is_empty() || types.contains(&locator.edge_type) {
                let found = neighbours(locator, id, direction);
                queue.extend(found.into_iter().map(|id| (id, depth + 1)));
            }
        }
    }
    depths
}
