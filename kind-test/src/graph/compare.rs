//! Holds the database against the files: counts, every node and every edge; then a sample by other ways into the data.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use kotoba_proto::v1::value::Kind;
use kotoba_proto::v1::{Node, Value};

use super::sample::{Walk, lookups, walks};
use super::{EdgeRecord, Graph, Key, NodeRecord, Source};
use crate::database::{Database, Read, edges_of_type, nodes_with};
use crate::say::say;
use crate::writer::lines;

/// Differences in the error.
const SHOWN: usize = 15;

/// Fails with what differs.
pub async fn compare<D: Database>(database: &D, graph: &Graph, walk: &Walk) -> Result<()> {
    let mut differences = counts(database, graph).await?;
    let stored = Stored::read(database, graph).await?;
    differences.extend(stored.node_differences(graph));
    differences.extend(edge_differences(database, graph, &stored).await?);
    if differences.is_empty() {
        differences.extend(lookups(database, graph, &stored).await?);
        differences.extend(walks(database, graph, &stored, walk).await?);
    }
    let shown = &differences[..differences.len().min(SHOWN)];
    ensure!(
        differences.is_empty(),
        "{} differences from the files:{}",
        differences.len(),
        lines(shown)
    );
    say(format!(
        "{} nodes and {} edges are as in the files",
        graph.nodes.len(),
        graph.edges.len()
    ));
    Ok(())
}

async fn counts<D: Database>(database: &D, graph: &Graph) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for (label, expected) in graph.label_counts() {
        let count = database.count(nodes_with(label, Vec::new())).await?;
        if count != expected {
            differences.push(format!("{count} nodes {label}, not {expected}"));
        }
    }
    for (kind, expected) in graph.type_counts() {
        let count = database.count(edges_of_type(kind)).await?;
        if count != expected {
            differences.push(format!("{count} edges {kind}, not {expected}"));
        }
    }
    Ok(differences)
}

/// The loaded nodes as the database has them.
pub struct Stored {
    pub nodes: BTreeMap<Key, Node>,
    pub keys: BTreeMap<u64, Key>,
    twice: Vec<Key>,
}

impl Stored {
    async fn read<D: Database>(database: &D, graph: &Graph) -> Result<Self> {
        let mut stored = Stored {
            nodes: BTreeMap::new(),
            keys: BTreeMap::new(),
            twice: Vec::new(),
        };
        for source in &graph.sources {
            let label = &source.label;
            let answer = database.ask(nodes_with(label, Vec::new()), Read::Strong).await?;
            for node in answer.nodes() {
                stored.add(source, node);
            }
        }
        Ok(stored)
    }

    fn add(&mut self, source: &Source, node: &Node) {
        let key = Key {
            space: source.space.clone(),
            id: node
                .properties
                .get(&source.id_property)
                .map_or_else(String::new, id_text),
        };
        self.keys.insert(node.id, key.clone());
        if self.nodes.insert(key.clone(), node.clone()).is_some() {
            self.twice.push(key);
        }
    }

    fn node_differences(&self, graph: &Graph) -> Vec<String> {
        let twice = self.twice.iter().map(|key| format!("{key} is there twice"));
        let more = self.nodes.keys().filter(|key| !graph.nodes.contains_key(key));
        let more = more.map(|key| format!("{key} is there and not in the files"));
        let fewer = graph
            .nodes
            .iter()
            .filter_map(|(key, record)| match self.nodes.get(key) {
                None => Some(format!("{key} is missing")),
                Some(node) => node_difference(key, record, node),
            });
        twice.chain(more).chain(fewer).collect()
    }

    pub fn id(&self, key: &Key) -> Result<u64> {
        let node = self.nodes.get(key).with_context(|| format!("{key} is not stored"))?;
        Ok(node.id)
    }
}

/// Ids are integers or texts in properties, always texts in keys.
fn id_text(value: &Value) -> String {
    match &value.kind {
        Some(Kind::Integer(id)) => id.to_string(),
        Some(Kind::String(id)) => id.clone(),
        Some(_) | None => format!("{value:?}"),
    }
}

fn node_difference(key: &Key, record: &NodeRecord, node: &Node) -> Option<String> {
    let mut labels = node.labels.clone();
    labels.sort();
    if labels != record.labels {
        return Some(format!("{key} has the labels {labels:?}, not {:?}", record.labels));
    }
    property_difference(&record.properties, &node.properties).map(|difference| format!("{key}: {difference}"))
}

fn property_difference(expected: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>) -> Option<String> {
    let names = expected.keys().chain(found.keys());
    names
        .into_iter()
        .find(|name| expected.get(*name) != found.get(*name))
        .map(|name| format!("{name} is {:?}, not {:?}", found.get(name), expected.get(name)))
}

/// The edge as a line of text: a multiset of them is compared.
fn edge_text(kind: &str, source: &str, target: &str, properties: &BTreeMap<String, Value>) -> String {
    let mut text = format!("({source})-[{kind}]->({target})");
    for (name, value) in properties {
        text.push_str(&format!(" {name}={value:?}"));
    }
    text
}

pub fn record_text(edge: &EdgeRecord) -> String {
    let (source, target) = (edge.source.to_string(), edge.target.to_string());
    edge_text(&edge.kind, &source, &target, &edge.properties)
}

async fn edge_differences<D: Database>(database: &D, graph: &Graph, stored: &Stored) -> Result<Vec<String>> {
    let name = |id: u64| match stored.keys.get(&id) {
        Some(key) => key.to_string(),
        None => format!("entity {id}"),
    };
    let mut differences = Vec::new();
    for kind in graph.type_counts().keys() {
        let mut balance: BTreeMap<String, i64> = BTreeMap::new();
        for edge in graph.edges.iter().filter(|edge| edge.kind == *kind) {
            *balance.entry(record_text(edge)).or_default() += 1;
        }
        let answer = database.ask(edges_of_type(kind), Read::Strong).await?;
        for edge in answer.edges() {
            let text = edge_text(kind, &name(edge.source), &name(edge.target), &edge.properties);
            *balance.entry(text).or_default() -= 1;
        }
        differences.extend(balance.into_iter().filter(|(_, left)| *left != 0).map(|(text, left)| {
            let what = if left > 0 { "missing" } else { "too many" };
            format!("{what}: {text}")
        }));
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::fake::Fake;
    use kotoba_proto::v1::{CreateEdge, CreateNode, NodeRef, Operation};

    const WALKING: (&str, &str) = ("Person", "KNOWS");

    fn walk() -> Walk {
        Walk {
            space: WALKING.0.into(),
            kind: WALKING.1.into(),
        }
    }

    fn key(id: i64) -> Key {
        Key {
            space: "Person".into(),
            id: id.to_string(),
        }
    }

    /// A ring of twelve persons.
    fn ring() -> Graph {
        let node = |id: i64| NodeRecord {
            labels: vec!["Person".into()],
            properties: [("id".into(), id.into()), ("name".into(), format!("p{id}").into())].into(),
        };
        let edge = |id: i64| EdgeRecord {
            kind: "KNOWS".into(),
            source: key(id),
            target: key((id + 1) % 12),
            properties: [("since".into(), id.into())].into(),
        };
        Graph {
            nodes: (0..12).map(|id| (key(id), node(id))).collect(),
            edges: (0..12).map(edge).collect(),
            sources: [Source {
                label: "Person".into(),
                space: "Person".into(),
                id_property: "id".into(),
            }]
            .into(),
        }
    }

    fn loaded(graph: &Graph) -> Fake {
        let database = Fake::default();
        let mut ids = BTreeMap::new();
        for (key, record) in &graph.nodes {
            let node = CreateNode {
                labels: record.labels.clone(),
                properties: record.properties.clone(),
            };
            ids.insert(key.clone(), database.apply(vec![Operation::from(node)])[0].id);
        }
        for edge in &graph.edges {
            database.apply(vec![Operation::from(CreateEdge {
                r#type: edge.kind.clone(),
                source: Some(NodeRef::id(ids[&edge.source])),
                target: Some(NodeRef::id(ids[&edge.target])),
                properties: edge.properties.clone(),
            })]);
        }
        database
    }

    async fn difference(database: &Fake) -> String {
        compare(database, &ring(), &walk()).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_was_loaded_is_as_in_the_files() {
        compare(&loaded(&ring()), &ring(), &walk()).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_node_and_its_count_are_named() {
        let database = loaded(&ring());
        database.lose_node(database.find("Person", "id", &3.into()));
        let text = difference(&database).await;
        assert!(
            text.contains("11 nodes Person, not 12") && text.contains("Person 3 is missing"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_changed_property_is_named() {
        let database = loaded(&ring());
        let node = database.find("Person", "id", &3.into());
        database.set_property(node, "name", "other".into());
        assert!(difference(&database).await.contains("Person 3: name is"));
    }

    #[tokio::test]
    async fn an_edge_that_is_missing_is_named_by_its_ends() {
        let database = loaded(&ring());
        database.lose_edge(database.any_edge("KNOWS"));
        assert!(
            difference(&database)
                .await
                .contains("missing: (Person 0)-[KNOWS]->(Person 1)")
        );
    }

    #[tokio::test]
    async fn an_edge_that_only_one_end_sees_is_named() {
        let database = loaded(&ring());
        for edge in ring().edges.iter().map(|_| ()).zip(13..25u64).map(|(_, id)| id) {
            database.hide_incoming(edge);
        }
        assert!(difference(&database).await.contains("not seen going In"));
    }

    #[tokio::test]
    async fn a_node_that_is_there_twice_is_named() {
        let database = loaded(&ring());
        database.duplicate(database.find("Person", "id", &3.into()));
        assert!(difference(&database).await.contains("Person 3 is there twice"));
    }
}
