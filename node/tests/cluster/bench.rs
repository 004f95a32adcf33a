//! `kotoba bench` against a real cluster: it answers, its numbers add up, and nothing of it stays. Nothing here is timed.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::command::{ended, kotoba, stderr};
use crate::graph::{create_node, find_nodes};
use crate::wait::run;

const LABEL: &str = "KotobaBench";

async fn bench(cluster: &Cluster, arguments: &str) -> Output {
    let line = format!("bench {arguments} --clients 4 --duration-s 1 --nodes 150 -o json");
    ended(kotoba(cluster, Path::new("."), line.split(' '))).await
}

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", stderr(output));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(row: &Value) -> u64 {
    row["count"].as_u64().unwrap()
}

#[test]
fn each_workload_answers_and_leaves_only_what_was_there_before() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        client.execute_operation(create_node("Mine", [])).await.unwrap();
        for workload in ["write", "read", "traverse"] {
            let rows = rows(&bench(&cluster, workload).await);
            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0]["operation"], workload);
            assert!(count(&rows[0]) > 0 && rows[0]["errors"] == 0, "{rows:?}");
        }
        let mixed = rows(&bench(&cluster, "mixed").await);
        let (all, parts) = mixed.split_last().unwrap();
        assert_eq!(all["operation"], "all");
        assert_eq!(parts.iter().map(count).sum::<u64>(), count(all));
        assert_eq!(client.count(find_nodes("", [])).await.unwrap(), 1);
    });
}

#[test]
fn what_is_written_is_counted_and_can_be_kept_and_cleaned_later() {
    run(async {
        let cluster = Cluster::of(1).await;
        let client = cluster.client();
        let written = count(&rows(&bench(&cluster, "write --keep --value-size-bytes 10").await)[0]);
        assert_eq!(client.count(find_nodes(LABEL, [])).await.unwrap(), written);
        // A rate is a bound: 20 operations are due within the second.
        let at_a_rate = count(&rows(&bench(&cluster, "write --keep --rate-per-s 20").await)[0]);
        assert_eq!(at_a_rate, 20);
        assert_eq!(client.count(find_nodes(LABEL, [])).await.unwrap(), written + 20);
        rows(&bench(&cluster, "clean").await);
        assert_eq!(client.count(find_nodes("", [])).await.unwrap(), 0);
    });
}
