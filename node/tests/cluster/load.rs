//! `kotoba load`, killed and run again: the graph is what one run without a break makes of the same files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Child;

use kotoba_proto::v1::{Edge, FindNodes, Node, Value};

use crate::cluster::Cluster;
use crate::command::{ended, kill, kotoba, stderr};
use crate::graph::{delete_node, edges, find_edges, find_nodes, nodes};
use crate::wait::{ensure, run, until};

const PEOPLE: u64 = 3_000;
const PROGRESS: &str = "load.progress";

/// Two files of nodes and one of relationships.
fn write_files(folder: &Path) {
    let mut people = "id:ID(P){id-type:int},name,born:int,langs:string[],:LABEL\n".to_owned();
    let mut knows = ":START_ID(P),:END_ID(P),since:date,:TYPE\n".to_owned();
    for id in 0..PEOPLE {
        let label = ["Person", "Person;Writer"][id as usize % 2];
        people += &format!("{id},Name {id},{},en;fr{id},{label}\n", 1700 + id % 300);
        let (other, edge_type) = ((id * 7 + 1) % PEOPLE, ["KNOWS", "LIKES"][id as usize % 2]);
        knows += &format!("{id},{other},1833-06-{:02},{edge_type}\n", id % 28 + 1);
    }
    let places: String = (0..200).map(|id| format!("p{id},Place\n")).collect();
    std::fs::write(folder.join("people.csv"), people).unwrap();
    std::fs::write(folder.join("places.csv"), format!("key:ID(Q),:LABEL\n{places}")).unwrap();
    std::fs::write(folder.join("relations.csv"), knows).unwrap();
}

/// The load as it is typed, and typed again.
fn arguments(more: &[&'static str]) -> Vec<&'static str> {
    let load = [
        "load",
        ".",
        "--batch",
        "50",
        "--concurrency",
        "4",
        "--progress",
        PROGRESS,
    ];
    [&load, more].concat()
}

/// What a graph holds, by natural keys: the ids and the order in which it was made do not show.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    nodes: Vec<String>,
    edges: Vec<String>,
    /// How many of which labels, and of which type.
    counts: BTreeMap<String, usize>,
}

fn key_of(node: &Node) -> String {
    let keys = ["id", "key"].iter().filter_map(|key| node.properties.get(*key));
    keys.map(text).collect()
}

fn text(value: &Value) -> String {
    kotoba_proto::value::to_json(value).to_string()
}

fn properties(properties: &BTreeMap<String, Value>) -> String {
    let texts = properties.iter().map(|(key, value)| format!("{key}={}", text(value)));
    texts.collect::<Vec<_>>().join(",")
}

async fn content(cluster: &Cluster) -> Content {
    let client = cluster.client();
    let all = nodes(client.fetch_rows(FindNodes::default()).await.unwrap());
    let keys: BTreeMap<u64, String> = all.values().map(|node| (node.id, key_of(node))).collect();
    let edge = |edge: &Edge| {
        let (source, target) = (&keys[&edge.source], &keys[&edge.target]);
        format!("{source}-{}>{target} {}", edge.r#type, properties(&edge.properties))
    };
    let all_edges = edges(client.fetch_rows(find_edges("")).await.unwrap());
    let mut counts = BTreeMap::new();
    let labels = all.values().map(|node| node.labels.join(":"));
    for name in labels.chain(all_edges.values().map(|edge| edge.r#type.clone())) {
        *counts.entry(name).or_default() += 1;
    }
    let mut content = Content {
        nodes: all
            .values()
            .map(|node| format!("{} {:?} {}", key_of(node), node.labels, properties(&node.properties)))
            .collect(),
        edges: all_edges.values().map(edge).collect(),
        counts,
    };
    content.nodes.sort();
    content.edges.sort();
    content
}

/// The graph that one run without a break makes.
async fn undisturbed(folder: &Path) -> Content {
    let cluster = Cluster::of(1).await;
    let loaded = ended(kotoba(&cluster, folder, arguments(&[]))).await;
    assert!(loaded.status.success(), "{}", stderr(&loaded));
    assert_eq!(stderr(&loaded), "", "nobody watches");
    assert!(
        !folder.join(PROGRESS).exists(),
        "the progress of a load that is done is deleted"
    );
    content(&cluster).await
}

fn start(cluster: &Cluster, folder: &Path) -> Child {
    kotoba(cluster, folder, arguments(&[])).spawn().unwrap()
}

/// Kills a load as soon as it has noted so many bytes of progress.
async fn kill_at(cluster: &Cluster, folder: &Path, bytes: u64) {
    let mut child = start(cluster, folder);
    until("progress", || {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the load has ended before {bytes} bytes of progress"
        );
        let noted = std::fs::metadata(folder.join(PROGRESS)).map_or(0, |file| file.len());
        async move { ensure(noted >= bytes, || format!("{noted} bytes")) }
    })
    .await;
    kill(child);
}

async fn kill_among_relationships(cluster: &Cluster, folder: &Path, count: u64) {
    let client = cluster.client();
    let mut child = start(cluster, folder);
    until("relationships", || {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the load has ended before {count} relationships"
        );
        let client = client.clone();
        async move {
            let made = client.count(find_edges("")).await.unwrap();
            ensure(made >= count, || format!("{made} relationships"))
        }
    })
    .await;
    kill(child);
}

#[test]
fn a_load_that_is_killed_again_and_again_makes_the_graph_of_one_that_is_not() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path());
        let wanted = undisturbed(folder.path()).await;
        assert_eq!((wanted.nodes.len(), wanted.edges.len()), (3_200, 3_000));

        let cluster = Cluster::of(3).await;
        for bytes in [1, 3_000, 9_000, 20_000] {
            kill_at(&cluster, folder.path(), bytes).await;
        }
        for count in [1, 900, 2_000] {
            kill_among_relationships(&cluster, folder.path(), count).await;
        }
        let loaded = ended(kotoba(&cluster, folder.path(), arguments(&["-o", "json"]))).await;
        assert!(loaded.status.success(), "{}", stderr(&loaded));
        let summary: serde_json::Value = serde_json::from_slice(&loaded.stdout).unwrap();
        assert_eq!(summary["nodes"], 3_200);
        assert!(summary["created_earlier"].as_u64().unwrap() > 3_200, "{summary}");
        assert_eq!(content(&cluster).await, wanted);
    });
}

#[test]
fn rows_whose_receipts_are_gone_are_listed_and_created_again_only_when_asked_for() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path());
        let wanted = undisturbed(folder.path()).await;
        let cluster = Cluster::of(3).await;
        kill_at(&cluster, folder.path(), 6_000).await;
        cluster.forget_the_past().await;

        let refused = ended(kotoba(&cluster, folder.path(), arguments(&[]))).await;
        let told = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{told}");
        assert!(
            told.contains("load.progress.in-doubt") && told.contains("--resend-in-doubt"),
            "{told}"
        );
        assert_eq!(cluster.client().count(find_edges("")).await.unwrap(), 0);

        // As it says: those in doubt are looked for, and those that are there deleted.
        let in_doubt = people_in_doubt(folder.path());
        let client = cluster.client();
        let people = nodes(client.fetch_rows(find_nodes("Person", [])).await.unwrap());
        let is_in_doubt = |node: &&Node| in_doubt.contains(&node.properties["id"].as_integer().unwrap());
        let deletions: Vec<_> = people
            .values()
            .filter(is_in_doubt)
            .map(|node| delete_node(node.id, false))
            .collect();
        for some in deletions.chunks(500) {
            client.execute_operations(some.to_vec()).await.unwrap();
        }
        let loaded = ended(kotoba(&cluster, folder.path(), arguments(&["--resend-in-doubt"]))).await;
        assert!(loaded.status.success(), "{}", stderr(&loaded));
        assert_eq!(content(&cluster).await, wanted);
        assert!(!folder.path().join("load.progress.in-doubt").exists());
    });
}

/// The people whose lines are listed as in doubt.
fn people_in_doubt(folder: &Path) -> BTreeSet<i64> {
    let list = std::fs::read_to_string(folder.join("load.progress.in-doubt")).unwrap();
    let lines = list.lines().filter_map(|line| line.split_once("people.csv:"));
    // The header is line 1, and the first person has id 0.
    lines.map(|(_, line)| line.parse::<i64>().unwrap() - 2).collect()
}

#[test]
fn a_bad_row_is_put_right_and_the_load_goes_on_behind_it() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        write_files(folder.path());
        let wanted = undisturbed(folder.path()).await;
        let path = folder.path().join("people.csv");
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, good.replace("\n2000,Name 2000,", "\n2000,Name 2000,x")).unwrap();

        let cluster = Cluster::of(1).await;
        let stopped = ended(kotoba(&cluster, folder.path(), arguments(&[]))).await;
        assert!(
            stderr(&stopped).contains("people.csv:2002: column \"born\""),
            "{}",
            stderr(&stopped)
        );
        // It stopped in order, so nothing is in doubt, however late it goes on.
        cluster.forget_the_past().await;

        std::fs::write(&path, good.replace("\n5,Name 5,", "\n5,Name five,")).unwrap();
        let changed = ended(kotoba(&cluster, folder.path(), arguments(&[]))).await;
        assert!(
            stderr(&changed).contains("people.csv was changed since"),
            "{}",
            stderr(&changed)
        );
        let other_rows = ended(kotoba(&cluster, folder.path(), arguments(&["--accept-changed-files"]))).await;
        let told = stderr(&other_rows);
        assert!(
            told.contains("people.csv:2-51: an earlier run has created other rows"),
            "{told}"
        );

        std::fs::write(&path, good).unwrap();
        let loaded = ended(kotoba(&cluster, folder.path(), arguments(&["--accept-changed-files"]))).await;
        assert!(loaded.status.success(), "{}", stderr(&loaded));
        assert_eq!(content(&cluster).await, wanted);
    });
}
