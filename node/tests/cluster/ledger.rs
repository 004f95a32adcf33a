//! What clients were told, and the check that the cluster still says the same.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use kotoba_proto::v1::{Direction, Edge, Node};
use kotoba_proto::{ContentId, KotobaCluster};

use crate::graph::{cid, edges, edges_of, find_edges, find_nodes, get_edges, get_nodes, nodes};

/// Entities asked for in one query of the check.
const CHUNK: usize = 200;
const QUERIES_AT_ONCE: usize = 16;

/// An acknowledged edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEdge {
    pub cid: ContentId,
    pub source: u64,
    pub target: u64,
}

/// Everything that was acknowledged under one label and one type, which nobody else uses.
#[derive(Debug, Default)]
pub struct Ledger {
    pub label: String,
    pub edge_type: String,
    pub nodes: BTreeMap<u64, ContentId>,
    pub edges: BTreeMap<u64, KnownEdge>,
    pub deleted: BTreeSet<u64>,
    /// Entities whose last write has an unknown outcome: each may be as before it or as after it.
    pub uncertain: BTreeSet<u64>,
    /// Creations with an unknown outcome: so many more may be there.
    pub unknown_nodes: usize,
    pub unknown_edges: usize,
    /// Commit timestamps, in the order of the acknowledgements.
    pub bookmarks: Vec<u64>,
    /// Those of transactions that shared their commit with no other.
    pub alone: Vec<u64>,
}

impl Ledger {
    pub fn new(name: &str) -> Self {
        Ledger {
            label: format!("Node{name}"),
            edge_type: format!("EDGE{name}"),
            ..Ledger::default()
        }
    }

    /// Every acknowledged write is there with its CID, every edge is seen from both of its ends, and nothing else is there.
    pub async fn check(&self, client: &KotobaCluster) {
        assert!(
            self.bookmarks.windows(2).all(|pair| pair[0] < pair[1]),
            "the bookmarks of one client do not grow"
        );
        self.check_nodes(client).await;
        self.check_edges(client).await;
        self.check_adjacency(client).await;
        self.check_counts(client).await;
    }

    async fn check_nodes(&self, client: &KotobaCluster) {
        let ids: Vec<u64> = self.nodes.keys().chain(&self.deleted).copied().collect();
        let mut found: BTreeMap<u64, Node> = BTreeMap::new();
        for chunk in ids.chunks(CHUNK) {
            found.extend(nodes(
                client.fetch_rows(get_nodes(chunk.iter().copied())).await.unwrap(),
            ));
        }
        for id in self.nodes.keys() {
            assert!(found.contains_key(id), "acknowledged node {id} is lost");
        }
        for (id, known) in self.certain(&self.nodes) {
            let node = &found[id];
            assert_eq!(&cid(&node.cid), known, "node {id} has another version");
        }
        for id in self.deleted.difference(&self.uncertain) {
            assert!(!found.contains_key(id), "deleted node {id} is there");
        }
    }

    async fn check_edges(&self, client: &KotobaCluster) {
        let ids: Vec<u64> = self.edges.keys().copied().collect();
        let mut found: BTreeMap<u64, Edge> = BTreeMap::new();
        for chunk in ids.chunks(CHUNK) {
            found.extend(edges(
                client.fetch_rows(get_edges(chunk.iter().copied())).await.unwrap(),
            ));
        }
        for (id, known) in self.certain(&self.edges) {
            let edge = found
                .get(id)
                .unwrap_or_else(|| panic!("acknowledged edge {id} is lost"));
            assert_eq!(&known_edge(edge), known, "edge {id} has another version");
        }
    }

    /// The in-half of an edge is a row of its own: it must be there, with the same version.
    async fn check_adjacency(&self, client: &KotobaCluster) {
        let outgoing = self.halves(client, Direction::Out).await;
        let incoming = self.halves(client, Direction::In).await;
        for (id, known) in self.certain(&self.edges) {
            let half = outgoing.get(id).map(known_edge);
            assert_eq!(half.as_ref(), Some(known), "edge {id} is not seen from its source");
        }
        assert_eq!(outgoing, incoming, "an edge is seen from one end only");
    }

    /// All edges as they are seen from the nodes at one of their ends.
    async fn halves(&self, client: &KotobaCluster, direction: Direction) -> BTreeMap<u64, Edge> {
        let queries = self
            .nodes
            .keys()
            .map(|node| client.fetch_rows(edges_of(*node, direction)));
        let answers: Vec<_> = stream::iter(queries).buffer_unordered(QUERIES_AT_ONCE).collect().await;
        answers.into_iter().flat_map(|rows| edges(rows.unwrap())).collect()
    }

    async fn check_counts(&self, client: &KotobaCluster) {
        let nodes = client.count(find_nodes(&self.label, [])).await.unwrap();
        let edges = client.count(find_edges(&self.edge_type)).await.unwrap();
        let uncertain = self.uncertain.len();
        assert_count("nodes", nodes, self.nodes.len(), self.unknown_nodes, uncertain);
        assert_count("edges", edges, self.edges.len(), self.unknown_edges, uncertain);
    }

    fn certain<'a, T>(&'a self, known: &'a BTreeMap<u64, T>) -> impl Iterator<Item = (&'a u64, &'a T)> {
        known.iter().filter(|(id, _)| !self.uncertain.contains(id))
    }
}

fn known_edge(edge: &Edge) -> KnownEdge {
    KnownEdge {
        cid: cid(&edge.cid),
        source: edge.source,
        target: edge.target,
    }
}

fn assert_count(what: &str, found: u64, known: usize, unknown: usize, uncertain: usize) {
    let possible = known..=known + unknown + uncertain;
    let found = usize::try_from(found).unwrap();
    assert!(
        possible.contains(&found),
        "{found} {what} are there, known are {known}, possible {possible:?}"
    );
}
