//! Large commands pass up to the limit, and not beyond; large states travel as snapshots.

use kotoba_node::raft::{MAX_PROPOSAL_BYTES, ProposeError};
use kotoba_state::ids::MemberId;

use crate::cluster::{Cluster, deadline, eventually, quick, replica_of};
use crate::machine::{all, get, set};

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_command_passes_and_one_byte_more_does_not() {
    let cluster = Cluster::of(3).await;
    let leader = cluster.group(cluster.leader().await);
    let value = vec![7; MAX_PROPOSAL_BYTES - set("big", b"").len()];
    let proposed = cluster.set("big", &value).await;
    for member in cluster.members.keys() {
        let group = cluster.group(*member);
        group.wait_applied(proposed.index, deadline()).await.unwrap();
        assert!(get(&group.view().unwrap(), "big").as_deref() == Some(&value));
    }
    let larger = vec![7; value.len() + 1];
    assert_eq!(
        leader.propose(set("big", &larger)).await,
        Err(ProposeError::TooLarge {
            limit: MAX_PROPOSAL_BYTES
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_commands_at_once_are_replicated_in_order() {
    let cluster = Cluster::of(3).await;
    let command = |number: u8| set(&format!("big{number}"), &vec![number; 1 << 20]);
    cluster.write_all((0..24).map(command)).await;
    for member in cluster.members.keys() {
        cluster.caught_up(*member).await;
    }
    let states = cluster
        .members
        .keys()
        .map(|member| all(&cluster.group(*member).view().unwrap()));
    let states: Vec<_> = states.collect();
    assert_eq!(states[0].len(), 24);
    assert!(states.iter().all(|state| *state == states[0]));
}

/// Long before there are as many entries as a log may have.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_large_entries_is_shortened_for_its_bytes_at_leader_and_follower() {
    let mut settings = quick();
    settings.partition.snapshot_every_entries = 100_000;
    settings.partition.kept_entries = 100_000;
    let mut cluster = Cluster::with(settings);
    cluster.start_group(3).await;
    for round in 0..6 {
        // The same key again: the state stays small.
        let command = |number: u8| set("big", &vec![round * 8 + number; 1 << 20]);
        cluster.write_all((0..8).map(command)).await;
    }
    for member in cluster.members.keys() {
        let group = cluster.group(*member);
        eventually("the log is shortened", || async {
            (group.observe().purged_index > 16).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_many_blocks_travels_to_a_new_learner() {
    let mut cluster = Cluster::of(1).await;
    let leader = cluster.group(MemberId(1));
    for round in 0..4 {
        let command = |number: u8| set(&format!("r{round}-{number}"), &vec![number; 20_000]);
        cluster.write_all((0..100).map(command)).await;
    }
    // The last snapshot may lie a hundred entries back, and some are kept before it.
    eventually("the log is shortened", || async {
        (leader.observe().purged_index > 200).then_some(())
    })
    .await;
    let new = MemberId(2);
    cluster.start(new).await;
    let learner = cluster.start_replica(new).await;
    leader.add_learner(replica_of(new), new).await.unwrap();
    cluster.caught_up(new).await;
    assert_eq!(cluster.members[&new].groups.counts().snapshots_installed, 1);
    assert!(all(&learner.view().unwrap()) == all(&leader.view().unwrap()));

    // What was installed is durable by itself, and the replica goes on from it.
    cluster.stop(new).await;
    cluster.start(new).await;
    let learner = cluster.start_replica(new).await;
    assert_eq!(all(&learner.view().unwrap()).len(), 400);
    let last = cluster.set("last", b"1").await;
    learner.wait_applied(last.index, deadline()).await.unwrap();
}
