//! A leader that is cut off acknowledges nothing, serves no fresh read, and follows once the link is back.

use kotoba_node::raft::{BarrierError, ProposeError};
use kotoba_state::ids::MemberId;

use crate::cluster::{Cluster, deadline, eventually, replica_of};
use crate::machine::{all, get, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_reads_nothing() {
    let cluster = Cluster::of(3).await;
    cluster.fill("key", 10).await;
    let old = cluster.leader().await;
    cluster.net.isolate(old);
    let isolated = cluster.group(old);
    let lost = isolated.propose(set("lost", b"1"));
    let barrier = isolated.read_barrier();
    let (lost, barrier) = futures::future::join(lost, barrier).await;
    assert!(
        matches!(lost, Err(ProposeError::Unknown | ProposeError::NotLeader { .. })),
        "{lost:?}"
    );
    assert!(
        matches!(barrier, Err(BarrierError::NoQuorum | BarrierError::NotLeader { .. })),
        "{barrier:?}"
    );

    let others = cluster
        .members
        .keys()
        .copied()
        .filter(|member| *member != old)
        .collect();
    cluster.leader_among(&others).await;
    let kept = cluster.set("kept", b"1").await;
    // It still believes to lead, perhaps; no barrier of it passes, and so none of its reads is fresh.
    assert!(isolated.read_barrier().await.is_err());
    assert_eq!(get(&isolated.view().unwrap(), "kept"), None);

    cluster.net.heal();
    isolated.wait_applied(kept.index, deadline()).await.unwrap();
    assert_eq!(get(&isolated.view().unwrap(), "kept").as_deref(), Some(b"1".as_slice()));
    let last = cluster.set("last", b"1").await;
    for member in cluster.members.keys() {
        cluster
            .group(*member)
            .wait_applied(last.index, deadline())
            .await
            .unwrap();
    }
    let states = cluster
        .members
        .keys()
        .map(|member| all(&cluster.group(*member).view().unwrap()));
    let states: Vec<_> = states.collect();
    assert!(states.iter().all(|state| *state == states[0]));
}

/// Milliseconds since the leader heard from the replica on a member; none where it never did.
fn silence(cluster: &Cluster, leader: MemberId, of: MemberId) -> Option<u64> {
    let progress = cluster.group(leader).observe().progress;
    progress.get(&replica_of(of))?.silent_ms
}

/// A calm cluster: its leader, and a follower that the leader has heard.
async fn leader_and_follower(cluster: &Cluster) -> (MemberId, MemberId) {
    let leader = cluster.leader().await;
    let follower = MemberId(leader.0 % 3 + 1);
    eventually("the follower is heard", || async {
        silence(cluster, leader, follower).filter(|ms| *ms < 500)
    })
    .await;
    (leader, follower)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_cut_off_does_not_disturb_the_group_when_it_is_back() {
    let cluster = Cluster::calm(3).await;
    let (leader, away) = leader_and_follower(&cluster).await;
    let term = cluster.group(leader).leadership().term;
    cluster.net.isolate(away);
    cluster.fill("key", 50).await;
    let two_elections = 2 * cluster.group(away).election_timeout().as_millis();
    eventually("the follower tried to be elected", || async {
        silence(&cluster, leader, away).filter(|ms| u128::from(*ms) > two_elections)
    })
    .await;
    cluster.net.heal();
    cluster.caught_up(away).await;
    // Pre-votes were refused, so it raised no term and forced no election.
    assert_eq!(cluster.group(leader).leadership().term, term);
    assert!(cluster.group(leader).leadership().leading);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_knows_how_long_a_replica_is_silent() {
    let cluster = Cluster::calm(3).await;
    let (leader, away) = leader_and_follower(&cluster).await;
    cluster.net.isolate(away);
    eventually("its silence grows", || async {
        silence(&cluster, leader, away).filter(|ms| *ms > 700)
    })
    .await;
}
