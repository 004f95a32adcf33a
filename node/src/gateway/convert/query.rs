//! Queries, and the rows that answer them.

use std::time::Duration;

use kotoba_graph::id::EntityId;
use kotoba_graph::query::{Direction, Entity, PropertyEquals, Query, Row};
use kotoba_proto::v1;
use kotoba_proto::v1::query::Kind;
use kotoba_state::ids::Timestamp;

use super::Invalid;
use super::operation::entity_id;
use super::value::{properties_to, value_from};
use crate::gateway::{Level, Reading};

/// What a query must see, as it was sent.
pub fn reading(sent: &v1::ExecuteQueryRequest) -> Result<Reading, Invalid> {
    let level = match v1::Consistency::try_from(sent.consistency) {
        Ok(v1::Consistency::Strong) => Level::Strong,
        Ok(v1::Consistency::ReadYourWrites) => Level::ReadYourWrites,
        Ok(v1::Consistency::Eventual) => Level::Eventual,
        Err(_) => return Err(Invalid::new("consistency", "is of a kind this version does not know")),
    };
    Ok(Reading {
        level,
        bookmark: Timestamp(sent.bookmark),
        as_of: Some(Timestamp(sent.as_of)).filter(|at| at.0 > 0),
        max_staleness: Some(Duration::from_millis(sent.max_staleness_ms.into())).filter(|bound| !bound.is_zero()),
    })
}

/// A query as it was sent.
pub fn query(sent: Option<v1::Query>) -> Result<Query, Invalid> {
    let kind = sent
        .and_then(|query| query.kind)
        .ok_or_else(|| Invalid::new("query", "has no kind"))?;
    Ok(match kind {
        Kind::GetNodes(get) => Query::GetNodes {
            ids: ids("query.ids", &get.ids)?,
        },
        Kind::GetEdges(get) => Query::GetEdges {
            ids: ids("query.ids", &get.ids)?,
        },
        Kind::FindNodes(find) => Query::FindNodes {
            label: (!find.label.is_empty()).then_some(find.label),
            filters: filters(find.r#where)?,
            limit: limit(find.limit),
        },
        Kind::FindEdges(find) => Query::FindEdges {
            edge_type: (!find.r#type.is_empty()).then_some(find.r#type),
            filters: filters(find.r#where)?,
            limit: limit(find.limit),
        },
        Kind::EdgesOf(edges) => Query::EdgesOf {
            node: entity_id("query.node", edges.node)?,
            direction: direction(edges.direction)?,
            types: edges.types.into_iter().collect(),
            limit: limit(edges.limit),
        },
        Kind::Traverse(traverse) => Query::Traverse {
            start: ids("query.start", &traverse.start)?,
            direction: direction(traverse.direction)?,
            types: traverse.types.into_iter().collect(),
            min_depth: traverse.min_depth,
            max_depth: traverse.max_depth,
            limit: limit(traverse.limit),
        },
    })
}

fn ids(field: &str, numbers: &[u64]) -> Result<Vec<EntityId>, Invalid> {
    numbers.iter().map(|number| entity_id(field, *number)).collect()
}

fn limit(sent: u64) -> Option<u64> {
    (sent > 0).then_some(sent)
}

fn direction(sent: i32) -> Result<Direction, Invalid> {
    match v1::Direction::try_from(sent) {
        Ok(v1::Direction::Both) => Ok(Direction::Both),
        Ok(v1::Direction::Out) => Ok(Direction::Out),
        Ok(v1::Direction::In) => Ok(Direction::In),
        Err(_) => Err(Invalid::new(
            "query.direction",
            format!("{sent} is not known to this version"),
        )),
    }
}

fn filters(sent: Vec<v1::PropertyEquals>) -> Result<Vec<PropertyEquals>, Invalid> {
    sent.into_iter()
        .map(|filter| {
            let value = filter
                .value
                .ok_or_else(|| Invalid::new("query.where", format!("{} has no value", filter.key)))?;
            Ok(PropertyEquals {
                value: value_from(value).map_err(|invalid| invalid.within("query.where"))?,
                key: filter.key,
            })
        })
        .collect()
}

/// A row as it is sent.
pub fn row(row: Row) -> v1::Row {
    let kind = match row.entity {
        Entity::Node { id, record } => v1::row::Kind::Node(v1::Node {
            id: id.number(),
            cid: record.cid.to_bytes().to_vec().into(),
            labels: record.labels.into_iter().collect(),
            properties: properties_to(record.properties),
        }),
        Entity::Edge { id, locator, record } => v1::row::Kind::Edge(v1::Edge {
            id: id.number(),
            cid: record.cid.to_bytes().to_vec().into(),
            r#type: locator.edge_type,
            source: locator.source.number(),
            target: locator.target.number(),
            properties: properties_to(record.properties),
        }),
    };
    v1::Row {
        kind: Some(kind),
        depth: row.depth,
    }
}
