//! Loads of real files into sinks that keep, fail or answer nonsense.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kotoba_proto::v1::{CreateEdge, CreateNode, Operation, node_ref, operation};
use kotoba_proto::{ClusterError, RequestNumber};
use tempfile::TempDir;

use super::error::LayoutError;
use super::sink::Answer;
use super::*;

/// Keeps what it is sent; the batch with the node of id `fails_at` has an unknown outcome.
#[derive(Default)]
struct Memory {
    nodes: Mutex<Vec<CreateNode>>,
    edges: Mutex<Vec<CreateEdge>>,
    batches: Mutex<Vec<usize>>,
    fails_at: Option<&'static str>,
}

impl Sink for &Memory {
    async fn send(&self, _: Option<RequestNumber>, operations: Vec<Operation>) -> Result<Answer, ClusterError> {
        // Batches of a real cluster come back in any order.
        tokio::task::yield_now().await;
        self.batches.lock().unwrap().push(operations.len());
        if operations.iter().any(|operation| self.is_to_fail(operation)) {
            return Err(ClusterError::UnknownOutcome("no answer".into()));
        }
        let ids = operations.into_iter().map(|operation| self.apply(operation)).collect();
        Ok(Answer { ids, bookmark: 0 })
    }

    async fn partitions(&self) -> Result<u32, ClusterError> {
        Ok(4)
    }
}

impl Memory {
    fn is_to_fail(&self, operation: &Operation) -> bool {
        let Some(operation::Kind::CreateNode(node)) = &operation.kind else {
            return false;
        };
        self.fails_at
            .is_some_and(|id| node.properties.get("id") == Some(&id.into()))
    }

    fn apply(&self, operation: Operation) -> u64 {
        match operation.kind {
            Some(operation::Kind::CreateNode(node)) => {
                let mut nodes = self.nodes.lock().unwrap();
                nodes.push(node);
                nodes.len() as u64 - 1
            }
            Some(operation::Kind::CreateEdge(edge)) => {
                self.edges.lock().unwrap().push(edge);
                0
            }
            other => panic!("a load only creates, but sent {other:?}"),
        }
    }

    /// The node that an edge's end names.
    fn node(&self, end: &Option<kotoba_proto::v1::NodeRef>) -> CreateNode {
        match end.as_ref().and_then(|end| end.kind.as_ref()) {
            Some(node_ref::Kind::Id(id)) => self.nodes.lock().unwrap()[*id as usize].clone(),
            other => panic!("a load names nodes by id, not {other:?}"),
        }
    }
}

fn pipeline<S>(sink: S, batch: usize, allowed_bad_rows: u64) -> Pipeline<S> {
    Pipeline {
        sink,
        batch,
        concurrency: 4,
        bad_rows: BadRows::allowing(allowed_bad_rows),
        progress: Progress::start(crate::cli::output::Format::Json, 0),
        summary: Summary::default(),
        journal: None,
        next_batch: 0,
        unsettled: Default::default(),
        stop: Default::default(),
    }
}

fn files(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn plan_of(dir: &TempDir) -> Result<Plan, LoadError> {
    Plan::of_headers(&[], &[], Some(dir.path()), &Dialect::default())
}

const PEOPLE: &str = "id:ID(P),name,born:int,langs:string[],:LABEL\n\
                      a,Ada,1815,en;fr,Person;Writer\n\
                      b,\"Babbage, Charles\",1791,,Person\n\
                      c,,,,\n";
const KNOWS: &str = ":START_ID(P),:END_ID(P),since:date,:TYPE\na,b,1833-06-05,KNOWS\nc,a,,LIKES\n";

#[tokio::test]
async fn a_folder_of_files_with_headers_becomes_a_graph() {
    let dir = files(&[("people.csv", PEOPLE), ("knows.csv", KNOWS), ("notes.txt", "not csv")]);
    let memory = Memory::default();
    let mut pipeline = pipeline(&memory, 2, 0);
    pipeline.run(plan_of(&dir).unwrap()).await.unwrap();
    assert_eq!(pipeline.summary.totals(), "3 nodes, 2 relationships");
    let edges = memory.edges.lock().unwrap();
    let (ada, charles) = (memory.node(&edges[0].source), memory.node(&edges[0].target));
    assert_eq!(ada.labels, ["Person", "Writer"]);
    assert_eq!(ada.properties["langs"], vec!["en", "fr"].into());
    assert_eq!(charles.properties["name"], "Babbage, Charles".into());
    assert_eq!(charles.properties["id"], "b".into());
    assert_eq!(edges[1].r#type, "LIKES");
}

#[tokio::test]
async fn rows_go_out_in_batches_of_the_size_asked_for() {
    let rows: String = (0..1005).map(|id| format!("{id}\n")).collect();
    let dir = files(&[("n.csv", &format!(":ID\n{rows}"))]);
    let memory = Memory::default();
    pipeline(&memory, 200, 0).run(plan_of(&dir).unwrap()).await.unwrap();
    let mut batches = memory.batches.lock().unwrap().clone();
    batches.sort_unstable();
    assert_eq!(batches, [5, 200, 200, 200, 200, 200]);
}

#[tokio::test]
async fn long_texts_make_smaller_batches() {
    let row = "x".repeat(600_000);
    let dir = files(&[("n.csv", &format!(":ID,text\n1,{row}\n2,{row}\n3,{row}\n"))]);
    let memory = Memory::default();
    pipeline(&memory, 200, 0).run(plan_of(&dir).unwrap()).await.unwrap();
    let mut batches = memory.batches.lock().unwrap().clone();
    batches.sort_unstable();
    assert_eq!(batches, [1, 2]);
}

#[tokio::test]
async fn a_bad_row_stops_the_load_and_is_named() {
    let dir = files(&[("n.csv", ":ID,age:int\na,1\nb,x\nc,3\n")]);
    let error = pipeline(DryRun::default(), 1, 0)
        .run(plan_of(&dir).unwrap())
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("n.csv:3: column \"age\": \"x\" is not a 64-bit integer"),
        "{text}"
    );
}

#[tokio::test]
async fn bad_rows_are_left_out_up_to_the_limit() {
    let nodes = b":ID,age:int\na,1\nb,x\na,2\n\xff,3\nd,4,5\n,6\ne,7\n";
    let dir = files(&[("r.csv", ":START_ID,:END_ID,:TYPE\na,e,T\na,b,T\n")]);
    std::fs::write(dir.path().join("n.csv"), nodes).unwrap();
    let mut lenient = pipeline(DryRun::default(), 10, 6);
    lenient.run(plan_of(&dir).unwrap()).await.unwrap();
    assert_eq!(lenient.summary.totals(), "2 nodes, 1 relationships");
    assert_eq!(lenient.summary.skipped, 6);
    let error = pipeline(DryRun::default(), 10, 5)
        .run(plan_of(&dir).unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("r.csv:3: no node has id \"b\""), "{error}");
}

#[tokio::test]
async fn an_unknown_outcome_aborts_and_names_the_rows() {
    let rows: String = (0..10_000).map(|id| format!("{id}\n")).collect();
    let dir = files(&[("n.csv", &format!("id:ID\n{rows}"))]);
    let memory = Memory {
        fails_at: Some("25"),
        ..Memory::default()
    };
    let mut pipeline = pipeline(&memory, 10, 0);
    let error = pipeline.run(plan_of(&dir).unwrap()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("n.csv:22-31: the outcome of the write is unknown"),
        "{error}"
    );
    let sent = memory.batches.lock().unwrap().len();
    assert!(sent < 20, "{sent} batches were sent after a failure");
    assert_eq!(pipeline.summary.node_count(), memory.nodes.lock().unwrap().len() as u64);
}

#[tokio::test]
async fn named_files_get_the_labels_and_the_type_they_are_named_with() {
    let dir = files(&[("p.csv", ":ID\n1\n"), ("r.csv", ":START_ID,:END_ID\n1,1\n")]);
    let argument = |name: &str| dir.path().join(name).display().to_string();
    let (nodes, edges) = ([argument("p.csv=Person:Writer")], [argument("r.csv=KNOWS")]);
    let plan = Plan::of_headers(&nodes, &edges, None, &Dialect::default()).unwrap();
    let memory = Memory::default();
    pipeline(&memory, 10, 0).run(plan).await.unwrap();
    assert_eq!(memory.nodes.lock().unwrap()[0].labels, ["Person", "Writer"]);
    assert_eq!(memory.edges.lock().unwrap()[0].r#type, "KNOWS");
}

#[test]
fn a_file_that_says_nothing_about_itself_is_refused_before_anything_is_sent() {
    let dir = files(&[("n.csv", "id,name\n1,a\n")]);
    let error = plan_of(&dir).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::Layout {
                problem: LayoutError::Unclear,
                ..
            }
        ),
        "{error}"
    );
    let missing = ["nowhere.csv".to_owned()];
    let error = Plan::of_headers(&missing, &[], None, &Dialect::default()).unwrap_err();
    assert!(error.to_string().contains("nowhere.csv"), "{error}");
}

#[test]
fn separators_are_single_characters() {
    assert_eq!(plan::parse_separator("|"), Ok('|'));
    assert_eq!(plan::parse_separator("TAB"), Ok('\t'));
    assert_eq!(plan::parse_quote("none"), Ok(plan::Quote::None));
    for wrong in ["", "||", "é"] {
        assert!(plan::parse_separator(wrong).is_err(), "{wrong}");
    }
}

/// The LDBC data, where this machine has it.
fn ldbc_data() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = std::env::var_os("KOTOBA_SHARED").map_or(workspace.join("../shared"), PathBuf::from);
    let data = shared.join("ldbc-mini/data");
    data.is_dir().then_some(data)
}

fn ldbc_plan() -> Option<Plan> {
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/ldbc-mini.toml");
    let Some(data) = ldbc_data() else {
        eprintln!("skipped: no ldbc-mini data; set KOTOBA_SHARED to the folder that holds ldbc-mini");
        return None;
    };
    Some(Plan::of_mapping(&mapping, Some(&data), &Dialect::default()).unwrap())
}

#[tokio::test]
async fn the_ldbc_data_has_as_many_nodes_and_relationships_as_its_readme_says() {
    let Some(plan) = ldbc_plan() else { return };
    let mut pipeline = pipeline(DryRun::default(), 200, 0);
    pipeline.run(plan).await.unwrap();
    assert_eq!(pipeline.summary.totals(), "34,735 nodes, 70,842 relationships");
    let json = pipeline.summary.to_json(std::time::Duration::from_secs(1));
    let counts: BTreeMap<&str, u64> = [
        ("Person", 222),
        ("Forum", 805),
        ("Message:Post", 5_924),
        ("Message:Comment", 2_218),
        ("Tag", 16_080),
        ("TagClass", 71),
    ]
    .into();
    for (labels, count) in counts {
        assert_eq!(json["labels"][labels], count, "{labels}");
    }
    for (name, count) in [("KNOWS", 825), ("LIKES", 1_383), ("HAS_MEMBER", 3_584)] {
        assert_eq!(json["types"][name], count, "{name}");
    }
}

#[tokio::test]
async fn ldbc_values_arrive_with_their_types() {
    let Some(mut plan) = ldbc_plan() else { return };
    plan.edges.clear();
    let memory = Memory::default();
    pipeline(&memory, 1000, 0).run(plan).await.unwrap();
    let nodes = memory.nodes.lock().unwrap();
    let jose = nodes
        .iter()
        .find(|node| node.properties["id"] == 8_796_093_022_220i64.into())
        .unwrap();
    assert_eq!(jose.properties["birthday"], 558_921_600_000i64.into());
    assert_eq!(jose.properties["language"], vec!["es", "en"].into());
    let without_content =
        |node: &&CreateNode| node.labels.contains(&"Post".to_owned()) && !node.properties.contains_key("content");
    assert!(
        nodes
            .iter()
            .filter(without_content)
            .all(|post| post.properties.contains_key("imageFile"))
    );
    assert!(nodes.iter().any(|node| node.labels == ["Place", "City"]));
}
