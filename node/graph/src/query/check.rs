//! What a query may name; checked before anything is read.

use std::collections::BTreeSet;

use super::{
    Error, Filter, MAX_DEPTH, MAX_FILTERS, MAX_IDS, MAX_ORDER, MAX_TYPES, OrderBy, PathQuery, Query, Terms, Test,
    Traversal,
};
use crate::id::EntityId;
use crate::limits::{self, Subject};
use crate::value::Value;

pub fn check(query: &Query, terms: &Terms) -> Result<(), Error> {
    check_terms(query, terms)?;
    match query {
        Query::GetNodes { ids } | Query::GetEdges { ids } => check_ids(ids),
        Query::FindNodes { label, filters, .. } => {
            check_name(Subject::Label, label.as_deref())?;
            check_filters(filters)
        }
        Query::FindEdges { edge_type, filters, .. } => {
            check_name(Subject::EdgeType, edge_type.as_deref())?;
            check_filters(filters)
        }
        Query::EdgesOf { types, filters, .. } => {
            check_types(types)?;
            check_filters(filters)
        }
        Query::Traverse(traversal) => check_traversal(traversal),
        Query::ShortestPath(PathQuery { types, max_depth, .. }) => {
            check_types(types)?;
            check_depth(1, *max_depth)
        }
    }
}

/// Only where rows are searched can they be ordered, and only where their order is known is there a place to go on from.
fn check_terms(query: &Query, terms: &Terms) -> Result<(), Error> {
    let name = match query {
        Query::FindNodes { .. } | Query::FindEdges { .. } | Query::EdgesOf { .. } => return check_order(&terms.order),
        Query::Traverse(_) if !terms.order.is_empty() => return check_order(&terms.order),
        Query::Traverse(_) => "a traversal that is not ordered",
        Query::GetNodes { .. } => "a list of nodes by id",
        Query::GetEdges { .. } => "a list of edges by id",
        Query::ShortestPath(_) => "a shortest path",
    };
    if !terms.order.is_empty() {
        return Err(Error::NoOrder(name));
    }
    match terms.after {
        Some(_) => Err(Error::NoCursor(name)),
        None => Ok(()),
    }
}

fn check_order(order: &[OrderBy]) -> Result<(), Error> {
    if order.len() > MAX_ORDER {
        return Err(Error::Order(order.len()));
    }
    let mut names = BTreeSet::new();
    for by in order {
        limits::check_name(Subject::PropertyKey, &by.property)?;
        if !names.insert(&by.property) {
            return Err(Error::OrderTwice(by.property.clone()));
        }
    }
    Ok(())
}

fn check_traversal(traversal: &Traversal) -> Result<(), Error> {
    check_ids(&traversal.start)?;
    check_types(&traversal.types)?;
    check_filters(&traversal.edges)?;
    check_filters(&traversal.nodes.filters)?;
    limits::check_node(&traversal.nodes.labels, &[].into())?;
    check_depth(traversal.min_depth, traversal.max_depth)
}

fn check_ids(ids: &[EntityId]) -> Result<(), Error> {
    if ids.len() > MAX_IDS {
        return Err(Error::Ids(ids.len()));
    }
    Ok(())
}

fn check_name(subject: Subject, name: Option<&str>) -> Result<(), Error> {
    match name {
        Some(name) => Ok(limits::check_name(subject, name)?),
        None => Ok(()),
    }
}

fn check_types(types: &BTreeSet<String>) -> Result<(), Error> {
    if types.len() > MAX_TYPES {
        return Err(Error::Types(types.len()));
    }
    for edge_type in types {
        limits::check_name(Subject::EdgeType, edge_type)?;
    }
    Ok(())
}

fn check_filters(filters: &[Filter]) -> Result<(), Error> {
    if filters.len() > MAX_FILTERS {
        return Err(Error::Filters(filters.len()));
    }
    filters.iter().try_for_each(check_filter)
}

fn check_filter(filter: &Filter) -> Result<(), Error> {
    limits::check_name(Subject::PropertyKey, &filter.key)?;
    let check = |value: &Value| Ok(limits::check_property(&filter.key, value)?);
    match &filter.test {
        Test::Equal(value)
        | Test::NotEqual(value)
        | Test::Less(value)
        | Test::LessOrEqual(value)
        | Test::Greater(value)
        | Test::GreaterOrEqual(value) => check(value),
        // As one list, so that the number of its values is bounded too.
        Test::In(values) => check(&Value::List(values.clone())),
        Test::StartsWith(prefix) => check(&Value::from(prefix.as_str())),
        Test::Exists | Test::Missing => Ok(()),
    }
}

fn check_depth(min: u32, max: u32) -> Result<(), Error> {
    if !(1..=MAX_DEPTH).contains(&max) || min > max {
        return Err(Error::Depth { min, max });
    }
    Ok(())
}
