//! Replicas come and go while clients write, and ids are never used twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kotoba_node::raft::{Group, MembershipError, ProposeError, StartError};
use kotoba_state::ids::{MemberId, ReplicaId};

use crate::cluster::{Cluster, GROUP, deadline, eventually, replica_of};
use crate::machine::{Map, all, get, set};

/// Writes numbered keys through whichever of these replicas leads, until told to stop; gives the acknowledged ones with
/// their indexes.
async fn write_until(stop: Arc<AtomicBool>, replicas: Vec<Group>) -> BTreeMap<u64, u64> {
    let mut acknowledged = BTreeMap::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for replica in &replicas {
            let command = set(&format!("w{number}"), &[1]);
            match replica.propose(command).await {
                Ok(proposed) => {
                    acknowledged.insert(number, proposed.index);
                    number += 1;
                }
                Err(ProposeError::NotLeader { .. } | ProposeError::Stopped) => {}
                // It may or may not be there: not counted, not repeated.
                Err(ProposeError::Unknown) => number += 1,
                Err(error @ ProposeError::TooLarge { .. }) => panic!("{error}"),
            }
        }
        tokio::task::yield_now().await;
    }
    acknowledged
}

/// Adds a learner at whoever leads; a leader that was just elected may refuse for a moment.
async fn add_learner(cluster: &Cluster, member: MemberId) {
    eventually("the learner is added", || async {
        let leader = cluster.group(cluster.leader().await);
        leader.add_learner(replica_of(member), member).await.ok()
    })
    .await;
}

async fn replace_voters(cluster: &Cluster, voters: &BTreeSet<ReplicaId>) {
    eventually("the voters are replaced", || async {
        let leader = cluster.group(cluster.leader().await);
        let seen = leader.observe();
        if seen.voters == [voters.clone()] && seen.membership_committed {
            return Some(());
        }
        let _ = leader.replace_voters(voters.clone(), &seen.membership_log_id).await;
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_moves_to_another_member_while_clients_write() {
    let mut cluster = Cluster::of(3).await;
    cluster.fill("before", 200).await;
    let new = MemberId(4);
    cluster.start(new).await;
    let replica = cluster.start_replica(new).await;

    let stop = Arc::new(AtomicBool::new(false));
    let replicas = cluster.members.keys().map(|member| cluster.group(*member)).collect();
    let writer = tokio::spawn(write_until(stop.clone(), replicas));

    add_learner(&cluster, new).await;
    eventually("the learner catches up", || async {
        let seen = cluster.group(cluster.leader().await).observe();
        let matched = seen.progress.get(&replica_of(new))?.matched_index?;
        (matched + 50 > seen.last_log_index).then_some(())
    })
    .await;
    let old = MemberId(1);
    let voters = [2, 3, 4].map(|member| replica_of(MemberId(member))).into();
    replace_voters(&cluster, &voters).await;
    let remaining = [2, 3, 4].map(MemberId).into();
    let leader = cluster.leader_among(&remaining).await;
    let seen = cluster.group(leader).observe();
    assert_eq!(seen.voters, [voters]);
    assert!(!seen.members.contains_key(&replica_of(old)), "{seen:?}");

    cluster.members[&old]
        .groups
        .retire_replica(GROUP, replica_of(old))
        .await
        .unwrap();
    assert!(cluster.members[&old].groups.get(GROUP).is_none());
    assert!(!cluster.path(old).join("replicas").read_dir().unwrap().any(|_| true));

    let last = eventually("a write after the move", || async {
        cluster
            .group(cluster.leader_among(&remaining).await)
            .propose(set("last", b"1"))
            .await
            .ok()
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.unwrap();
    // Some may have been acknowledged after the last one above.
    let newest = *acknowledged.values().max().unwrap();
    replica.wait_applied(newest.max(last.index), deadline()).await.unwrap();
    let view = replica.view().unwrap();
    for (number, index) in acknowledged {
        let found = get(&view, &format!("w{number}"));
        assert!(found.is_some(), "acknowledged write {number} at index {index} is lost");
    }
    assert!(all(&view).len() > 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_changed_in_between_is_not_replaced() {
    let mut cluster = Cluster::calm(3).await;
    let leader = cluster.group(cluster.leader().await);
    let seen = leader.observe();
    cluster.start(MemberId(4)).await;
    cluster.start_replica(MemberId(4)).await;
    add_learner(&cluster, MemberId(4)).await;
    let voters = seen.voters[0].clone();
    let result = leader.replace_voters(voters, &seen.membership_log_id).await;
    let actual = leader.observe().membership_log_id;
    assert_eq!(result, Err(MembershipError::Changed { actual }));
}

#[tokio::test(flavor = "multi_thread")]
async fn learners_are_added_and_removed_once_however_often_it_is_asked() {
    let mut cluster = Cluster::of(1).await;
    cluster.start(MemberId(2)).await;
    let learner = cluster.start_replica(MemberId(2)).await;
    let leader = cluster.group(MemberId(1));
    for _ in 0..2 {
        leader.add_learner(replica_of(MemberId(2)), MemberId(2)).await.unwrap();
    }
    let index = cluster.set("a", b"1").await.index;
    learner.wait_applied(index, deadline()).await.unwrap();
    assert_eq!(leader.observe().learners, [replica_of(MemberId(2))].into());
    let moved = leader.add_learner(replica_of(MemberId(2)), MemberId(3)).await;
    assert!(matches!(moved, Err(MembershipError::Refused(_))), "{moved:?}");
    let voter = leader.remove_learner(replica_of(MemberId(1))).await;
    assert!(matches!(voter, Err(MembershipError::Refused(_))), "{voter:?}");
    for _ in 0..2 {
        leader.remove_learner(replica_of(MemberId(2))).await.unwrap();
    }
    assert!(leader.observe().learners.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_initialized_once() {
    let cluster = Cluster::of(1).await;
    let group = cluster.group(MemberId(1));
    let other = [(replica_of(MemberId(1)), MemberId(1)), (ReplicaId(7), MemberId(7))];
    group.initialize(other.into()).await.unwrap();
    assert_eq!(group.observe().voters, [BTreeSet::from([replica_of(MemberId(1))])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_replica_id_is_refused_for_ever() {
    let mut cluster = Cluster::of(1).await;
    let (member, replica) = (MemberId(1), replica_of(MemberId(1)));
    cluster.set("a", b"1").await;
    for _ in 0..2 {
        cluster.members[&member]
            .groups
            .retire_replica(GROUP, replica)
            .await
            .unwrap();
    }
    for round in 0..2 {
        let groups = &cluster.members[&member].groups;
        let again = groups.start_replica(GROUP, replica, Arc::new(Map)).await;
        assert!(matches!(again, Err(StartError::Retired { .. })), "round {round}");
        assert_eq!(groups.stored(), []);
        cluster.stop(member).await;
        cluster.start(member).await;
    }
    let fresh = cluster.members[&member]
        .groups
        .start_replica(GROUP, ReplicaId(999), Arc::new(Map))
        .await;
    assert_eq!(all(&fresh.unwrap().view().unwrap()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_started_once_and_its_group_has_no_other_here() {
    let cluster = Cluster::of(1).await;
    let groups = &cluster.members[&MemberId(1)].groups;
    let again = cluster.start_replica(MemberId(1)).await;
    assert_eq!(again.replica(), replica_of(MemberId(1)));
    let other = groups.start_replica(GROUP, ReplicaId(8), Arc::new(Map)).await;
    assert!(matches!(other, Err(StartError::Occupied { .. })));
    // Nor does retiring one that does not run touch the one that does.
    groups.retire_replica(GROUP, ReplicaId(8)).await.unwrap();
    cluster.set("a", b"1").await;
}
