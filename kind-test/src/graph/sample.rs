//! A sample of what was loaded, looked up by property, by id and along edges: other ways into the data than the scans of
//! `compare`. Walks along friendships are compared with walks over the files.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use kotoba_proto::v1::{Direction, Node, Row, row};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::compare::{Stored, record_text};
use super::{EdgeRecord, Graph, Key, NodeRecord, Source};
use crate::database::{Database, Read, edges_of, nodes_by_id, nodes_with, reachable};

/// Of each label and each type.
const SAMPLE: usize = 8;
/// Fixed, so that a failure can be repeated.
const SEED: u64 = 11;
/// Starts of walks, and how far they go.
const WALKS: usize = 3;
const WALK_DEPTH: u32 = 3;

/// Along which edges to walk.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Id space of the nodes to start from.
    pub space: String,
    pub kind: String,
}

/// A sample by property, by id, and its edges from both ends: other ways into the data than the scans above.
pub async fn lookups<D: Database>(database: &D, graph: &Graph, stored: &Stored) -> Result<Vec<String>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut differences = Vec::new();
    for source in &graph.sources {
        let of_source =
            |(key, record): &(&Key, &NodeRecord)| key.space == source.space && record.labels.contains(&source.label);
        let keys: Vec<&Key> = graph.nodes.iter().filter(of_source).map(|(key, _)| key).collect();
        for key in keys.choose_multiple(&mut random, SAMPLE) {
            differences.extend(lookup_node(database, key, source, stored).await?);
        }
    }
    for kind in graph.type_counts().keys() {
        let edges: Vec<&EdgeRecord> = graph.edges.iter().filter(|edge| edge.kind == *kind).collect();
        for edge in edges.choose_multiple(&mut random, SAMPLE) {
            differences.extend(lookup_edge(database, edge, stored).await?);
        }
    }
    Ok(differences)
}

async fn lookup_node<D: Database>(database: &D, key: &Key, source: &Source, stored: &Stored) -> Result<Vec<String>> {
    let node = stored.nodes.get(key).with_context(|| format!("{key} is not stored"))?;
    let id = node.properties.get(&source.id_property).cloned().unwrap_or_default();
    let queries = [
        ("property", nodes_with(&source.label, vec![(&source.id_property, id)])),
        ("id", nodes_by_id(vec![node.id])),
    ];
    let mut differences = Vec::new();
    for (by, query) in queries {
        let answer = database.ask(query, Read::Strong).await?;
        let found: Vec<&Node> = answer.nodes().collect();
        if found != [node] {
            differences.push(format!("{key} by its {by} gives {} other rows", found.len()));
        }
    }
    Ok(differences)
}

async fn lookup_edge<D: Database>(database: &D, edge: &EdgeRecord, stored: &Stored) -> Result<Vec<String>> {
    let (source, target) = (stored.id(&edge.source)?, stored.id(&edge.target)?);
    let mut differences = Vec::new();
    for (end, direction) in [(source, Direction::Out), (target, Direction::In)] {
        let query = edges_of(end, direction, &edge.kind);
        let answer = database.ask(query, Read::Strong).await?;
        let seen = answer
            .edges()
            .any(|found| (found.source, found.target) == (source, target) && found.properties == edge.properties);
        if !seen {
            differences.push(format!("not seen going {direction:?}: {}", record_text(edge)));
        }
    }
    Ok(differences)
}

pub async fn walks<D: Database>(database: &D, graph: &Graph, stored: &Stored, walk: &Walk) -> Result<Vec<String>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let starts: Vec<&Key> = graph.nodes.keys().filter(|key| key.space == walk.space).collect();
    ensure!(!starts.is_empty(), "the files have no node {}", walk.space);
    let mut differences = Vec::new();
    for start in starts.choose_multiple(&mut random, WALKS) {
        let expected = graph.reachable(start, &walk.kind, WALK_DEPTH);
        let query = reachable(stored.id(start)?, &walk.kind, WALK_DEPTH);
        let answer = database.ask(query, Read::Strong).await?;
        let found: BTreeMap<Key, u32> = answer.rows.iter().filter_map(|row| reached(row, stored)).collect();
        if found != expected || answer.rows.len() != expected.len() {
            differences.push(format!(
                "a walk of {WALK_DEPTH} steps from {start} reaches {} nodes, not the {} of the files",
                answer.rows.len(),
                expected.len()
            ));
        }
    }
    Ok(differences)
}

fn reached(row: &Row, stored: &Stored) -> Option<(Key, u32)> {
    let node = match &row.kind {
        Some(row::Kind::Node(node)) => node,
        Some(row::Kind::Edge(_)) | None => return None,
    };
    Some((stored.keys.get(&node.id)?.clone(), row.depth))
}
