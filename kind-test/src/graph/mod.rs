//! What must be in the database after loading: read from the CSV files here, independently of the loader.
//!
//! `files` reads a data set by its `mapping`; `generated` writes one of the same shape where the real one is absent;
//! `compare` and `sample` hold a database against it.

pub mod compare;
pub mod files;
pub mod generated;
pub mod mapping;
pub mod sample;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kotoba_proto::v1::Value;

/// A node as the files name it: ids are unique inside one space only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub space: String,
    pub id: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct EdgeRecord {
    pub kind: String,
    pub source: Key,
    pub target: Key,
    pub properties: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NodeRecord {
    /// All labels, sorted.
    pub labels: Vec<String>,
    pub properties: BTreeMap<String, Value>,
}

/// A graph as the files have it.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub nodes: BTreeMap<Key, NodeRecord>,
    pub edges: Vec<EdgeRecord>,
    pub sources: BTreeSet<Source>,
}

/// Where the nodes of an id space are in the database: under this label, with the id in this property.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub label: String,
    pub space: String,
    pub id_property: String,
}

impl Graph {
    /// Nodes by any of their labels.
    pub fn label_counts(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for label in self.nodes.values().flat_map(|node| &node.labels) {
            *counts.entry(label.as_str()).or_default() += 1;
        }
        counts
    }

    pub fn type_counts(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for edge in &self.edges {
            *counts.entry(edge.kind.as_str()).or_default() += 1;
        }
        counts
    }

    /// Depth of every node within reach over edges of one type, in both directions: breadth first.
    pub fn reachable(&self, start: &Key, kind: &str, max_depth: u32) -> BTreeMap<Key, u32> {
        let mut neighbours: BTreeMap<&Key, BTreeSet<&Key>> = BTreeMap::new();
        for edge in self.edges.iter().filter(|edge| edge.kind == kind) {
            neighbours.entry(&edge.source).or_default().insert(&edge.target);
            neighbours.entry(&edge.target).or_default().insert(&edge.source);
        }
        let mut depths = BTreeMap::from([(start.clone(), 0)]);
        let mut border = VecDeque::from([(start, 0)]);
        while let Some((key, depth)) = border.pop_front() {
            if depth == max_depth {
                continue;
            }
            for next in neighbours.get(key).into_iter().flatten() {
                if !depths.contains_key(*next) {
                    depths.insert((*next).clone(), depth + 1);
                    border.push_back((next, depth + 1));
                }
            }
        }
        depths
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.space, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key {
            space: "Person".into(),
            id: id.into(),
        }
    }

    #[test]
    fn a_walk_goes_both_ways_and_keeps_the_smallest_depth() {
        let edge = |source: &str, target: &str| EdgeRecord {
            kind: "KNOWS".into(),
            source: key(source),
            target: key(target),
            properties: BTreeMap::new(),
        };
        let graph = Graph {
            edges: vec![
                edge("1", "2"),
                edge("3", "2"),
                edge("1", "3"),
                edge("3", "4"),
                edge("4", "5"),
            ],
            ..Graph::default()
        };
        let depths = graph.reachable(&key("2"), "KNOWS", 2);
        let expected = [("1", 1), ("2", 0), ("3", 1), ("4", 2)];
        assert_eq!(depths, expected.map(|(id, depth)| (key(id), depth)).into());
    }
}
