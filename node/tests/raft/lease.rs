//! Reads that a leader answers within its lease, and the restart that could break the lease.

use std::time::Duration;

use kotoba_node::raft::{BarrierError, Settings};
use kotoba_state::ids::MemberId;

use crate::cluster::{Cluster, eventually, quick, replica_of};
use crate::machine::{get, set};

/// A lease so long that a restart, an election and a write fit into it.
fn patient() -> Settings {
    let mut settings = quick();
    settings.partition.election_timeout_min = Duration::from_millis(2_800);
    settings.partition.election_timeout_max = Duration::from_millis(3_000);
    settings
}

/// Asks for votes all the time.
fn restless() -> Settings {
    let mut settings = quick();
    settings.partition.election_timeout_min = Duration::from_millis(120);
    settings.partition.election_timeout_max = Duration::from_millis(240);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_answers_without_asking_until_its_lease_is_over() {
    let cluster = Cluster::calm(3).await;
    let leader = cluster.leader().await;
    let group = cluster.group(leader);
    group.lease_barrier().await.unwrap();
    cluster.net.isolate(leader);
    // Nobody can be asked any more, and nobody else can lead yet.
    assert!(group.lease_barrier().await.is_ok());
    eventually("the lease is over", || async {
        let unsure = Err(BarrierError::NoQuorum);
        (group.lease_barrier().await == unsure).then_some(())
    })
    .await;
}

/// The leader loses both followers: one is cut off and wants to lead, one restarts, and has forgotten that it promised not to
/// vote for another.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_restarts_keeps_the_promise_that_it_gave() {
    let mut cluster = Cluster::with(patient());
    let (leading, restarted, rival) = (MemberId(1), MemberId(2), MemberId(3));
    cluster.start(leading).await;
    cluster.start(restarted).await;
    cluster.start_with(rival, restless()).await;
    cluster.found_group().await;
    eventually("the leader that is meant", || async {
        let leader = cluster.leader().await;
        if leader == leading {
            return Some(());
        }
        // It works as soon as the other has caught up.
        let _ = cluster.group(leader).transfer_leader(replica_of(leading)).await;
        None
    })
    .await;
    cluster.set("key", b"old").await;
    let leader = cluster.group(leading);
    cluster.caught_up(restarted).await;

    cluster.net.cut(leading, rival);
    leader.lease_barrier().await.unwrap();
    cluster.stop(restarted).await;
    cluster.net.cut(leading, restarted);
    cluster.start(restarted).await;
    cluster.start_replica(restarted).await;

    let others = [cluster.group(restarted), cluster.group(rival)];
    let view = eventually("a write at another leader", || async {
        for other in &others {
            if other.propose(set("key", b"new")).await.is_ok() {
                return Some(other.view().unwrap());
            }
        }
        None
    })
    .await;
    let answered = leader.lease_barrier().await;
    assert!(
        answered.is_err(),
        "the old leader answers with what was before the write"
    );
    assert_eq!(get(&view, "key").as_deref(), Some(b"new".as_slice()));
}
