//! Edges are created while their nodes are deleted, under chaos: at every snapshot each edge has both halves, and both
//! its nodes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use kotoba_graph::read::Read;
use kotoba_node::transaction::{Acknowledgement, Coordinator, ReadFrom, Writes};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::ConditionKind::{Absent, Exists};
use kotoba_state::partition::Key;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

use crate::harness::chaos::{Told, busy, in_chaos, member, to_the_end};
use crate::harness::*;

const PARTITIONS: usize = 3;
const NODES: usize = 5;
const WORKERS: u64 = 5;
/// Where they share commits.
const MORE_WORKERS: u64 = 16;
const CHANGES: u64 = 30;
const CHECKERS: u64 = 2;
const CHECKS: u64 = 25;
/// A member that has all the work sends at least so many messages before it dies, and at most twice as many.
const MESSAGES_OF_ONE: i64 = 150;

/// Who runs the changes.
enum Members {
    /// A member for each.
    Many,
    /// One for all, until it dies: so creations share commits.
    One(Mutex<Option<(Arc<Coordinator>, Doom)>>),
}

impl Members {
    fn next(&self, cluster: &Cluster, rng: &mut StdRng) -> (Arc<Coordinator>, Doom) {
        let Members::One(one) = self else {
            return member(cluster, rng);
        };
        let mut one = one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(living) = one.as_ref().filter(|(_, doom)| !doom.death.is_cancelled()) {
            return living.clone();
        }
        let messages = rng.random_range(MESSAGES_OF_ONE..2 * MESSAGES_OF_ONE);
        one.insert(cluster.doomed_coordinator(messages)).clone()
    }
}

fn node(cluster: &Cluster, number: usize) -> Key {
    cluster.key(number % PARTITIONS, &format!("node {number}"))
}

/// `out` at the source, `in` at the target; a graph's adjacency in small.
fn half(cluster: &Cluster, kind: &str, at: usize, other: usize, edge: &str) -> Key {
    cluster.key(at % PARTITIONS, &format!("{kind} {at}|{other}|{edge}"))
}

fn halves_of(cluster: &Cluster, kind: &str, at: usize) -> Read {
    let bound = |end: char| cluster.key(at % PARTITIONS, &format!("{kind} {at}{end}"));
    scan(&bound('|'), &bound('}'))
}

/// The other node and the edge's name of each half.
fn parse(halves: Vec<(Key, Vec<u8>)>) -> Vec<(usize, String)> {
    let parse_one = |(key, _): (Key, Vec<u8>)| {
        let text = String::from_utf8(key[2..].to_vec()).expect("tests write text");
        let mut parts = text.split('|').skip(1);
        let other = parts.next().expect("the other node").parse().expect("a number");
        (other, parts.next().expect("the edge").to_owned())
    };
    halves.into_iter().map(parse_one).collect()
}

/// As a member's gateway commits what has read nothing.
async fn commit(coordinator: &Arc<Coordinator>, writes: Writes) -> Told {
    Told::by(coordinator.commit_shared(writes, Acknowledgement::ByMajority).await)
}

async fn create_edge(cluster: &Cluster, coordinator: &Arc<Coordinator>, rng: &mut StdRng, edge: &str) -> Told {
    let (source, target) = (rng.random_range(0..NODES), rng.random_range(0..NODES));
    let halves = [
        half(cluster, "out", source, target, edge),
        half(cluster, "in", target, source, edge),
    ];
    let mut writes = only(halves.iter().map(|half| put(half, "edge")));
    writes.conditions = [source, target]
        .map(|number| condition(&node(cluster, number), Exists, true))
        .into();
    commit(coordinator, writes).await
}

async fn create_node(cluster: &Cluster, coordinator: &Arc<Coordinator>, rng: &mut StdRng) -> Told {
    let key = node(cluster, rng.random_range(0..NODES));
    let mut writes = only([put(&key, "node")]);
    writes.conditions = vec![condition(&key, Absent, true)];
    commit(coordinator, writes).await
}

/// Deletes a node with all its edges, or only if it has none.
async fn delete_node(cluster: &Cluster, coordinator: &Coordinator, rng: &mut StdRng) -> Option<Told> {
    let number = rng.random_range(0..NODES);
    let mut transaction = coordinator.begin();
    let reads = vec![halves_of(cluster, "out", number), halves_of(cluster, "in", number)];
    let mut read = transaction.read(reads).await.ok()?.into_iter();
    let mut next = || parse(pairs(read.next().expect("two answers to two reads")));
    let (outgoing, incoming) = (next(), next());
    if !(outgoing.is_empty() && incoming.is_empty()) && rng.random() {
        return None;
    }
    let mut keys = vec![node(cluster, number)];
    for (target, edge) in outgoing {
        keys.extend([
            half(cluster, "out", number, target, &edge),
            half(cluster, "in", target, number, &edge),
        ]);
    }
    for (source, edge) in incoming {
        keys.extend([
            half(cluster, "out", source, number, &edge),
            half(cluster, "in", number, source, &edge),
        ]);
    }
    let mut writes: Writes = only(keys.iter().map(delete));
    writes.conditions = vec![condition(&keys[0], Exists, true)];
    Some(Told::by(transaction.commit(writes).await))
}

async fn work(cluster: Arc<Cluster>, members: Arc<Members>, seed: u64, worker: u64) -> Vec<(Option<String>, Told)> {
    let mut rng = StdRng::seed_from_u64(seed * 1_000 + worker);
    let mut told = Vec::new();
    for number in 0..CHANGES {
        let edge = format!("{worker}-{number}");
        let (coordinator, doom) = members.next(&cluster, &mut rng);
        let kind = rng.random_range(0..10);
        let change = async {
            match kind {
                0..5 => Some(create_edge(&cluster, &coordinator, &mut rng, &edge).await),
                5..8 => Some(create_node(&cluster, &coordinator, &mut rng).await),
                _ => delete_node(&cluster, &coordinator, &mut rng).await,
            }
        };
        if let Some(outcome) = to_the_end(&cluster, &doom, change).await {
            told.push(((kind < 5).then_some(edge), outcome));
        }
    }
    told
}

/// What is in the graph: nodes, and edges as (source, target, name).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Graph {
    nodes: BTreeSet<usize>,
    edges: BTreeSet<(usize, usize, String)>,
}

/// The whole graph at a snapshot; none where a partition did not answer.
async fn graph(cluster: &Cluster, snapshot: Timestamp) -> Option<Graph> {
    let reads = (0..NODES).flat_map(|number| {
        [
            get(&node(cluster, number)),
            halves_of(cluster, "out", number),
            halves_of(cluster, "in", number),
        ]
    });
    let mut answers = cluster
        .coordinator()
        .read_at(snapshot, ReadFrom::Leaders, reads.collect(), usize::MAX)
        .await
        .ok()?
        .into_iter();
    let mut next = || answers.next().expect("an answer to each read");
    let mut graph = Graph::default();
    let mut incoming = BTreeSet::new();
    for number in 0..NODES {
        if value(next()).is_some() {
            graph.nodes.insert(number);
        }
        graph.edges.extend(
            parse(pairs(next()))
                .into_iter()
                .map(|(target, edge)| (number, target, edge)),
        );
        incoming.extend(
            parse(pairs(next()))
                .into_iter()
                .map(|(source, edge)| (source, number, edge)),
        );
    }
    assert_eq!(graph.edges, incoming, "an edge with one half at {snapshot}");
    for (source, target, edge) in &graph.edges {
        let both = graph.nodes.contains(source) && graph.nodes.contains(target);
        assert!(both, "{source} -> {target} ({edge}) dangles at {snapshot}: {graph:?}");
    }
    Some(graph)
}

async fn check(cluster: Arc<Cluster>) -> Vec<(Timestamp, Graph)> {
    let mut seen = Vec::new();
    for _ in 0..CHECKS {
        let snapshot = cluster.oracle.issue();
        seen.extend(graph(&cluster, snapshot).await.map(|graph| (snapshot, graph)));
    }
    seen
}

/// What the workers did, or what the checkers saw.
enum Seen {
    Changes(Vec<(Option<String>, Told)>),
    Graphs(Vec<(Timestamp, Graph)>),
}

/// Gives how many edges were created at the timestamp of another one.
async fn run(seed: u64, workers: u64, members: Members) -> usize {
    println!("seed {seed}");
    let members = Arc::new(members);
    let cluster = Cluster::with_settings(PARTITIONS, &busy());
    cluster
        .wrote((0..NODES).map(|number| put(&node(&cluster, number), "node")))
        .await;
    let mut tasks = JoinSet::new();
    for worker in 0..workers {
        let (cluster, members) = (cluster.clone(), members.clone());
        tasks.spawn(async move { Seen::Changes(work(cluster, members, seed, worker).await) });
    }
    for _ in 0..CHECKERS {
        let cluster = cluster.clone();
        tasks.spawn(async move { Seen::Graphs(check(cluster).await) });
    }
    let (mut edges, mut graphs) = (Vec::new(), 0);
    for seen in in_chaos(&cluster, seed, tasks).await {
        match seen {
            Seen::Changes(changes) => edges.extend(were_true(&cluster, changes).await),
            Seen::Graphs(seen) => {
                for (snapshot, before) in seen {
                    assert_eq!(
                        graph(&cluster, snapshot).await,
                        Some(before),
                        "a snapshot changed: {snapshot}"
                    );
                    graphs += 1;
                }
            }
        }
    }
    graph(&cluster, cluster.oracle.issue()).await.expect("all is calm");
    let created = edges.len();
    assert!(
        created >= 5 && graphs >= 5,
        "almost nothing happened: {created} edges, {graphs} graphs"
    );
    created - edges.into_iter().collect::<BTreeSet<_>>().len()
}

/// When edges were created; fails where a client was told otherwise.
async fn were_true(cluster: &Cluster, changes: Vec<(Option<String>, Told)>) -> Vec<Timestamp> {
    let mut created = Vec::new();
    for (edge, told) in changes {
        if let (Some(edge), Told::Committed(at)) = (edge, told) {
            let graph = graph(cluster, at).await.expect("all is calm");
            assert!(
                graph.edges.iter().any(|(_, _, name)| *name == edge),
                "told that {edge} was created at {at}"
            );
            created.push(at);
        }
    }
    created
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_snapshot_of_a_graph_in_chaos_has_a_dangling_edge() {
    for seed in [1, 2] {
        run(seed, WORKERS, Members::Many).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_has_one_whose_changes_share_commits() {
    let mut shared = 0;
    for seed in [3, 4, 5] {
        shared += run(seed, MORE_WORKERS, Members::One(Mutex::default())).await;
        println!("{shared} shared a commit");
    }
    assert!(shared >= 5, "almost nothing was shared: {shared}");
}
