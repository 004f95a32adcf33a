//! What a query may name; checked before anything is read.

use std::collections::BTreeSet;

use super::{Error, MAX_DEPTH, MAX_FILTERS, MAX_IDS, MAX_TYPES, PropertyEquals, Query};
use crate::id::EntityId;
use crate::limits::{self, Subject};

pub fn check(query: &Query) -> Result<(), Error> {
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
        Query::EdgesOf { types, .. } => check_types(types),
        Query::Traverse {
            start,
            types,
            min_depth,
            max_depth,
            ..
        } => {
            check_ids(start)?;
            check_types(types)?;
            check_depth(*min_depth, *max_depth)
        }
    }
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

fn check_filters(filters: &[PropertyEquals]) -> Result<(), Error> {
    if filters.len() > MAX_FILTERS {
        return Err(Error::Filters(filters.len()));
    }
    for filter in filters {
        limits::check_property(&filter.key, &filter.value)?;
    }
    Ok(())
}

fn check_depth(min: u32, max: u32) -> Result<(), Error> {
    if !(1..=MAX_DEPTH).contains(&max) || min > max {
        return Err(Error::Depth { min, max });
    }
    Ok(())
}
