//! The real process of the operator, with a hundred clusters of three pods each, and how much memory it has.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Router, serve};
use kotoba_operator::names::CLUSTER_LABEL;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval};

use crate::api_server::ApiServer;

const CLUSTERS: usize = 100;
const PODS: usize = 3;
/// What issue 5 allows.
const MOST_MIB: u64 = 64;
/// A debug build on a busy machine needs some of it.
const DEADLINE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_with_a_hundred_clusters_stays_small() {
    let api = ApiServer::default();
    for number in 0..CLUSTERS {
        let name = format!("g-{number}");
        let object = json!({
            "apiVersion": "kotoba.dev/v1alpha1",
            "kind": "KotobaCluster",
            "metadata": { "name": name, "generation": 1 },
            "spec": { "replicas": PODS },
        });
        api.store()
            .put(("kotobaclusters".into(), "graphs".into(), name), object);
    }
    let operator = start(&served(&api).await);
    until("every cluster has a StatefulSet", || {
        api.store().all("statefulsets").len() == CLUSTERS
    })
    .await;
    let sets = api.store().all("statefulsets");
    for set in &sets {
        make_pods(&api, set);
    }
    let is_seen = |cluster: &Value| cluster["status"]["replicas"] == PODS;
    until("the pods of every cluster are seen", || {
        api.store().all("kotobaclusters").iter().all(is_seen)
    })
    .await;
    let used = resident_mib(&operator);
    println!("the operator has {used} MiB");
    assert!(used <= MOST_MIB, "{used} MiB with {CLUSTERS} clusters");
}

/// The API server of memory behind HTTP; gives its address.
async fn served(api: &ApiServer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(api.clone());
    tokio::spawn(async move { serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

/// Watches stay open and tell nothing: what changes is found by the passes that come by themselves.
async fn answer(State(api): State<ApiServer>, request: Request) -> Response {
    if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
        let silence = futures::stream::pending::<Result<Vec<u8>, std::convert::Infallible>>();
        return Response::new(Body::from_stream(silence));
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let answered = api.answer(Request::from_parts(head, body.to_vec().into())).await;
    answered.map(Body::new)
}

fn start(server: &str) -> Child {
    let kubeconfig = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{}", std::process::id()));
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "memory", "cluster": { "server": server } }],
        "users": [{ "name": "nobody", "user": {} }],
        "contexts": [{ "name": "memory", "context": { "cluster": "memory", "user": "nobody" } }],
        "current-context": "memory",
    });
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_kotoba-operator"))
        .args(["run", "--listen", "127.0.0.1:0", "--identity", "one"])
        .args([
            "--namespace",
            "kotoba-system",
            "--cluster-image",
            "kotoba:1",
            "--log",
            "error",
        ])
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Pods as the StatefulSet's controller makes them, at an address where nobody answers.
fn make_pods(api: &ApiServer, set: &Value) {
    let cluster = set["metadata"]["name"].as_str().unwrap();
    for slot in 0..PODS {
        let name = format!("{cluster}-{slot}");
        let template = &set["spec"]["template"];
        let object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": { CLUSTER_LABEL: cluster },
                "annotations": template["metadata"]["annotations"],
            },
            "spec": template["spec"],
            "status": { "podIP": "127.0.0.1" },
        });
        api.store().put(("pods".into(), "graphs".into(), name), object);
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let mut looks = interval(Duration::from_millis(100));
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        looks.tick().await;
    }
}

fn resident_mib(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap();
    kib.div_ceil(1024)
}
