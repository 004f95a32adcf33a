//! Queries, and the rows that answer them.

use std::time::Duration;

use kotoba_graph::id::EntityId;
use kotoba_graph::query::{Direction, Entity, Filter, NodeFilter, OrderBy, PathQuery, Query, Row, Test, Traversal};
use kotoba_graph::value::Value;
use kotoba_proto::v1;
use kotoba_proto::v1::property_filter::Test as SentTest;
use kotoba_proto::v1::query::Kind;
use kotoba_state::ids::Timestamp;

use super::Invalid;
use super::operation::entity_id;
use super::value::{list_from, properties_to, value_from};
use crate::gateway::{Level, Reading, Subject};

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

/// Whose history is asked for.
pub fn subject(sent: &v1::GetHistoryRequest) -> Result<Subject, Invalid> {
    use v1::get_history_request::Entity as Sent;
    match sent.entity {
        Some(Sent::Node(number)) => Ok(Subject::Node(entity_id("node", number)?)),
        Some(Sent::Edge(number)) => Ok(Subject::Edge(entity_id("edge", number)?)),
        None => Err(Invalid::new("entity", "is missing: name a node or an edge")),
    }
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
            filters: both(find.r#where, find.filters)?,
            limit: limit(find.limit),
        },
        Kind::FindEdges(find) => Query::FindEdges {
            edge_type: (!find.r#type.is_empty()).then_some(find.r#type),
            filters: both(find.r#where, find.filters)?,
            limit: limit(find.limit),
        },
        Kind::EdgesOf(edges) => Query::EdgesOf {
            node: entity_id("query.node", edges.node)?,
            direction: direction(edges.direction)?,
            types: edges.types.into_iter().collect(),
            filters: filters("query.filters", edges.filters)?,
            limit: limit(edges.limit),
        },
        Kind::Traverse(traverse) => Query::Traverse(traversal(traverse)?),
        Kind::ShortestPath(path) => Query::ShortestPath(PathQuery {
            from: entity_id("query.from", path.from)?,
            to: entity_id("query.to", path.to)?,
            direction: direction(path.direction)?,
            types: path.types.into_iter().collect(),
            max_depth: path.max_depth,
        }),
    })
}

/// The order of an answer as it was sent.
pub fn order(sent: Vec<v1::OrderBy>) -> Vec<OrderBy> {
    let by = |by: v1::OrderBy| OrderBy {
        property: by.property,
        descending: by.descending,
    };
    sent.into_iter().map(by).collect()
}

fn traversal(sent: v1::Traverse) -> Result<Traversal, Invalid> {
    Ok(Traversal {
        start: ids("query.start", &sent.start)?,
        direction: direction(sent.direction)?,
        types: sent.types.into_iter().collect(),
        edges: filters("query.edge_filters", sent.edge_filters)?,
        nodes: NodeFilter {
            labels: sent.labels.into_iter().collect(),
            filters: filters("query.node_filters", sent.node_filters)?,
        },
        prune: sent.prune,
        fan_out: (sent.fan_out > 0).then_some(sent.fan_out),
        min_depth: sent.min_depth,
        max_depth: sent.max_depth,
        limit: limit(sent.limit),
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

/// Filters of both forms; the first came with the first version of the wire.
fn both(equal: Vec<v1::PropertyEquals>, sent: Vec<v1::PropertyFilter>) -> Result<Vec<Filter>, Invalid> {
    let equal = equal.into_iter().map(|filter| {
        let value = required("query.where", &filter.key, filter.value)?;
        Ok(Filter::new(filter.key, Test::Equal(value)))
    });
    let mut all: Vec<Filter> = equal.collect::<Result<_, _>>()?;
    all.extend(filters("query.filters", sent)?);
    Ok(all)
}

fn filters(field: &str, sent: Vec<v1::PropertyFilter>) -> Result<Vec<Filter>, Invalid> {
    let filter = |sent: v1::PropertyFilter| {
        let test = test(field, &sent.key, sent.test)?;
        Ok(Filter::new(sent.key, test))
    };
    sent.into_iter().map(filter).collect()
}

fn test(field: &str, key: &str, sent: Option<SentTest>) -> Result<Test, Invalid> {
    let value = |sent| required(field, key, Some(sent));
    Ok(match sent {
        Some(SentTest::Equal(sent)) => Test::Equal(value(sent)?),
        Some(SentTest::NotEqual(sent)) => Test::NotEqual(value(sent)?),
        Some(SentTest::Less(sent)) => Test::Less(value(sent)?),
        Some(SentTest::LessOrEqual(sent)) => Test::LessOrEqual(value(sent)?),
        Some(SentTest::Greater(sent)) => Test::Greater(value(sent)?),
        Some(SentTest::GreaterOrEqual(sent)) => Test::GreaterOrEqual(value(sent)?),
        Some(SentTest::In(list)) => Test::In(list_from(list).map_err(|invalid| invalid.within(field))?),
        Some(SentTest::Exists(true)) => Test::Exists,
        Some(SentTest::Exists(false)) => Test::Missing,
        Some(SentTest::StartsWith(prefix)) => Test::StartsWith(prefix),
        None => {
            let fault = format!("{key} has no test, or one that this version does not know");
            return Err(Invalid::new(field, fault));
        }
    })
}

fn required(field: &str, key: &str, sent: Option<v1::Value>) -> Result<Value, Invalid> {
    let sent = sent.ok_or_else(|| Invalid::new(field, format!("{key} has no value")))?;
    value_from(sent).map_err(|invalid| invalid.within(field))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_both_forms_hold_together() {
        let find = v1::FindNodes {
            r#where: vec![v1::PropertyEquals {
                key: "a".into(),
                value: Some(1.into()),
            }],
            filters: vec![v1::PropertyFilter::new("b", SentTest::Exists(false))],
            ..v1::FindNodes::default()
        };
        let Ok(Query::FindNodes { filters, .. }) = query(Some(find.into())) else {
            panic!("the query converts");
        };
        let expected = [
            Filter::new("a", Test::Equal(Value::from(1))),
            Filter::new("b", Test::Missing),
        ];
        assert_eq!(filters, expected);
    }

    #[test]
    fn a_filter_without_a_test_or_a_value_names_its_field_and_key() {
        let edges = |test| v1::EdgesOf {
            filters: vec![v1::PropertyFilter {
                key: "age".into(),
                test,
            }],
            ..v1::EdgesOf::default()
        };
        let no_value = Some(SentTest::Less(v1::Value { kind: None }));
        for test in [None, no_value] {
            let invalid = query(Some(edges(test).into())).unwrap_err();
            assert!(invalid.to_string().starts_with("query.filters"), "{invalid}");
        }
    }
}
