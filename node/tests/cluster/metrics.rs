//! Metrics as a scraper gets them from members that work.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use kotoba_proto::ClusterError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{Cluster, PARTITIONS};
use crate::graph::{create_edge, create_node, delete_node, find_nodes};
use crate::settings::Pace;
use crate::wait::{ensure, run, until};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

/// One scrape: the head and the body.
async fn scrape(cluster: &Cluster, member: u64, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(cluster.host(member).addresses.http).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: m\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The samples of a page, by name with labels.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

async fn samples_of(cluster: &Cluster, member: u64) -> BTreeMap<String, f64> {
    samples(&scrape(cluster, member, "*/*").await.1)
}

/// Metrics without the suffixes and labels of their samples.
fn names(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|about| about.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn what_clients_do_is_counted_where_they_do_it() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, PARTITIONS).await;
        let client = cluster.client_of(1);
        let mut made = Vec::new();
        for _ in 0..20 {
            made.push(client.execute_operation(create_node("Counted", [])).await.unwrap().id);
        }
        // Wherever the receipt of each lies, some of these span two partitions.
        for pair in made.windows(2) {
            let edge = create_edge("NEXT", pair[0], pair[1]);
            client.execute_operation(edge).await.unwrap();
        }
        let refused = client.execute_operation(delete_node(made[1], false)).await;
        assert!(matches!(refused, Err(ClusterError::Refused(_))), "{refused:?}");
        let rows = client.fetch_rows(find_nodes("Counted", [])).await.unwrap();
        assert_eq!(rows.len(), 20);
        let _events = client.subscribe_events().await.unwrap();

        let seen = samples_of(&cluster, 1).await;
        let value = |name: &str| {
            seen.get(name)
                .copied()
                .unwrap_or_else(|| panic!("{name} is missing: {seen:#?}"))
        };
        assert_eq!(value("kotoba_operations_processed_total"), 39.0);
        assert_eq!(value("kotoba_operations_failed_total"), 1.0);
        assert_eq!(value("kotoba_request_seconds_count{method=\"ExecuteOperation\"}"), 40.0);
        assert_eq!(value("kotoba_request_seconds_count{method=\"ExecuteQuery\"}"), 1.0);
        let refused = "kotoba_requests_failed_total{method=\"ExecuteOperation\",code=\"FailedPrecondition\"}";
        assert_eq!(value(refused), 1.0);
        assert_eq!(value("kotoba_query_rows_total"), 20.0);
        assert_eq!(value("kotoba_event_subscribers"), 1.0);
        let outcome = |name: &str| value(&format!("kotoba_transactions_total{{outcome=\"{name}\"}}"));
        assert!(outcome("one_phase") >= 20.0);
        assert!(outcome("one_phase") + outcome("two_phase") >= 39.0);
        assert!(outcome("two_phase") >= 1.0, "{seen:#?}");
        assert_eq!(outcome("unknown"), 0.0);
        assert_eq!(value("kotoba_total_nodes"), 3.0);
        assert_eq!(value("kotoba_active_nodes"), 3.0);
        assert_eq!(value("kotoba_health_score"), 1.0);
        assert_eq!(value("kotoba_ready"), 1.0);
        assert!(value("kotoba_raft_log_fsync_seconds_count") > 0.0);
        assert!(value("kotoba_raft_log_file_bytes") > 0.0);
        assert!(value("kotoba_state_file_bytes{group=\"partition 0\"}") > 0.0);
        assert!(value("kotoba_disk_free_bytes") <= value("kotoba_disk_size_bytes"));
        assert!(value("process_resident_memory_bytes") > 1e6 && value("process_open_fds") > 10.0);
        let idle = samples_of(&cluster, 2).await;
        assert_eq!(idle["kotoba_operations_processed_total"], 0.0);
    });
}

#[test]
fn a_member_that_falls_silent_is_counted_at_those_that_are_left() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_quick_detection(), 3, PARTITIONS).await;
        let leader = cluster.meta_leader().await;
        let (lost, left) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        cluster.crash(lost).await;
        until("a failed member in the metrics", || async {
            let seen = samples_of(&cluster, left).await;
            ensure(seen["kotoba_failed_nodes"] == 1.0, || format!("{seen:#?}"))
        })
        .await;
        until("partitions at risk in the metrics", || async {
            let seen = samples_of(&cluster, leader).await;
            let at_risk = seen["kotoba_quorum_critical_partitions"] == f64::from(PARTITIONS);
            let degraded = seen["kotoba_replication_healthy"] == 0.0 && seen["kotoba_leaderless_partitions"] == 0.0;
            ensure(at_risk && degraded, || format!("{seen:#?}"))
        })
        .await;
        let seen = samples_of(&cluster, left).await;
        assert!(seen["kotoba_health_score"] < 0.7, "{seen:#?}");
    });
}

#[test]
fn a_scraper_gets_the_format_that_it_asks_for() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 1, PARTITIONS).await;
        let (head, open) = scrape(&cluster, 1, OPEN_METRICS).await;
        assert!(head.contains("application/openmetrics-text"), "{head}");
        assert!(open.ends_with("# EOF\n"));
        let (head, text) = scrape(&cluster, 1, "text/html, */*").await;
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        assert!(!text.contains("# EOF") && names(&text).contains("kotoba_build_info"));
        let samples = |page: &str| samples(page).into_keys().collect::<BTreeSet<_>>();
        assert_eq!(samples(&open), samples(&text));
        check_by_promtool(&text);
    });
}

/// The rules of names and units, by Prometheus' own tool where scripts/check-chart.sh names it.
fn check_by_promtool(page: &str) {
    let Some(promtool) = std::env::var_os("KOTOBA_PROMTOOL") else {
        return eprintln!("KOTOBA_PROMTOOL is not set: the metrics are not checked by promtool here");
    };
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && said.is_empty(), "{said}");
}

const MONITORING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/kotoba-operator/monitoring");

/// Every metric that is named in a file, in whatever part of it.
fn named_in(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(format!("{MONITORING}/{file}")).unwrap();
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names = words.filter(|word| word.starts_with("kotoba_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_members_have() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, PARTITIONS).await;
        // Failures have a series from the first one on.
        let missing = cluster
            .client_of(1)
            .execute_operation(delete_node(1 << 40, false))
            .await;
        assert!(missing.is_err());
        let mut known = BTreeSet::new();
        for member in 1..=3 {
            let samples = samples_of(&cluster, member).await.into_keys();
            known.extend(samples.map(|sample| sample.split('{').next().unwrap().to_owned()));
        }
        for file in ["dashboard.json", "rules.yaml", "rules.test.yaml"] {
            let named = named_in(file);
            assert!(named.len() > 10, "{file} names {named:?}");
            let unknown: Vec<_> = named.difference(&known).collect();
            assert!(unknown.is_empty(), "{file} names {unknown:?}, which no member has");
        }
    });
}
