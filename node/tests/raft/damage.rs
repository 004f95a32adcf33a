//! A log that is damaged or gone is refused with a word on what to do; it is never taken for an empty one.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use kotoba_node::raft::{Groups, GroupsConfig, OpenError, StartError};
use kotoba_state::ids::MemberId;

use crate::cluster::{CLUSTER, Cluster, GROUP, quick, replica_of};
use crate::machine::Map;

const MEMBER: MemberId = MemberId(1);
/// The only segment of a small log.
const LOG: &str = "log/000000000001.segment";

/// A stopped member with entries in its log.
async fn stopped_member() -> (Cluster, PathBuf) {
    let mut cluster = Cluster::of(1).await;
    cluster.fill("key", 50).await;
    cluster.stop(MEMBER).await;
    let log = cluster.path(MEMBER).join(LOG);
    (cluster, log)
}

async fn open(cluster: &Cluster) -> Result<Groups, OpenError> {
    let config = GroupsConfig {
        data_dir: cluster.path(MEMBER),
        cluster_id: CLUSTER.to_owned(),
        member_id: MEMBER,
        settings: quick(),
        disk_room: Arc::new(()),
        link_filter: None,
    };
    Groups::open(config, cluster.net.clone(), Box::new(|_| {})).await
}

async fn refusal(cluster: &Cluster) -> String {
    match open(cluster).await {
        Ok(_) => panic!("a damaged log was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_log_is_not_replaced_by_an_empty_one() {
    let (cluster, log) = stopped_member().await;
    fs::remove_file(&log).unwrap();
    let refusal = refusal(&cluster).await;
    assert!(refusal.contains("it is missing"), "{refusal}");
    assert!(refusal.contains("join as a new member"), "{refusal}");
    assert!(!log.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_torn_log_is_refused() {
    let (cluster, log) = stopped_member().await;
    let whole = fs::read(&log).unwrap();
    for length in [0, 1, 100, whole.len() / 2, whole.len() - 4096] {
        fs::write(&log, &whole[..length]).unwrap();
        let refusal = refusal(&cluster).await;
        assert!(refusal.contains(LOG), "cut to {length}: {refusal}");
        assert_eq!(fs::read(&log).unwrap().len(), length, "a refused file is left as it is");
    }
    fs::write(&log, &whole).unwrap();
    open(&cluster).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_zeros_or_of_noise_is_refused() {
    let (cluster, log) = stopped_member().await;
    let length = fs::read(&log).unwrap().len();
    for byte in [0, 0xa5] {
        fs::write(&log, vec![byte; length]).unwrap();
        let refusal = refusal(&cluster).await;
        assert!(refusal.contains(LOG), "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_whose_log_was_exchanged_is_refused() {
    let (cluster, log) = stopped_member().await;
    let mut other = Cluster::new();
    other.start(MEMBER).await;
    other.stop(MEMBER).await;
    fs::copy(other.path(MEMBER).join(LOG), &log).unwrap();
    let groups = open(&cluster).await.unwrap();
    let started = groups.start_replica(GROUP, replica_of(MEMBER), Arc::new(Map)).await;
    assert!(matches!(started, Err(StartError::LogLost { .. })));
    groups.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_gone_cannot_be_made_up_from_a_shortened_log() {
    let mut cluster = Cluster::of(1).await;
    for round in 0..3 {
        cluster.fill(&format!("round{round}-"), 150).await;
    }
    let group = cluster.group(MEMBER);
    crate::cluster::eventually("the log is shortened", || async {
        (group.observe().purged_index > 200).then_some(())
    })
    .await;
    drop(group);
    cluster.stop(MEMBER).await;
    let replica = fs::read_dir(cluster.path(MEMBER).join("replicas")).unwrap().next();
    let replica = replica.unwrap().unwrap().path();
    let named = fs::read_to_string(replica.join("CURRENT")).unwrap();
    fs::remove_file(replica.join("CURRENT")).unwrap();
    let groups = open(&cluster).await.unwrap();
    let started = groups.start_replica(GROUP, replica_of(MEMBER), Arc::new(Map)).await;
    let refused = started.err().unwrap().to_string();
    groups.shutdown().await;
    assert!(refused.contains("state"), "{refused}");
    let file = replica.join(format!("{}.redb", named.trim()));
    assert!(file.exists(), "the state that nothing names any more is deleted");

    fs::remove_dir_all(cluster.path(MEMBER).join("replicas")).unwrap();
    fs::create_dir_all(cluster.path(MEMBER).join("replicas")).unwrap();
    let groups = open(&cluster).await.unwrap();
    let started = groups.start_replica(GROUP, replica_of(MEMBER), Arc::new(Map)).await;
    assert!(matches!(started, Err(StartError::State(_))), "{:?}", started.err());
    groups.shutdown().await;
}
