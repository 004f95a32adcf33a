//! Writes reach all replicas, outlive stops, and reach those that come back late as a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use kotoba_node::raft::{Group, MembershipError};
use kotoba_state::ids::MemberId;

use crate::cluster::{Cluster, GROUP, deadline, eventually, replica_of};
use crate::machine::{Map, all, get, set};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_answered_by_the_state_machine_and_reaches_every_replica() {
    let cluster = Cluster::calm(3).await;
    assert_eq!(cluster.set("a", b"1").await.answer, b"");
    let second = cluster.set("a", b"2").await;
    assert_eq!(second.answer, b"1");
    for member in cluster.members.keys() {
        let group = cluster.group(*member);
        group.wait_applied(second.index, deadline()).await.unwrap();
        let view = group.view().unwrap();
        assert!(view.applied_index() >= second.index);
        assert_eq!(get(&view, "a").as_deref(), Some(b"2".as_slice()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_stays_as_it_was_while_the_replica_goes_on() {
    let cluster = Cluster::of(1).await;
    cluster.set("a", b"1").await;
    let view = cluster.group(MemberId(1)).view().unwrap();
    cluster.set("a", b"2").await;
    let newer = cluster.group(MemberId(1)).view().unwrap();
    let before = tokio::task::spawn_blocking(move || get(&view, "a")).await.unwrap();
    assert_eq!(before.as_deref(), Some(b"1".as_slice()));
    assert_eq!(get(&newer, "a").as_deref(), Some(b"2".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_missed_more_than_the_log_holds_catches_up_by_snapshot() {
    let mut cluster = Cluster::of(3).await;
    cluster.fill("before", 20).await;
    let leader = cluster.leader().await;
    let away = MemberId(if leader.0 == 3 { 2 } else { 3 });
    cluster.caught_up(away).await;
    cluster.stop(away).await;

    for round in 0..4 {
        cluster.fill(&format!("round{round}-"), 150).await;
    }
    let group = cluster.group(leader);
    let stopped_at = 30;
    eventually("the log is purged beyond the stopped follower", || async {
        (group.observe().purged_index > stopped_at + 300).then_some(())
    })
    .await;

    cluster.start(away).await;
    let follower = cluster.start_replica(away).await;
    cluster.caught_up(away).await;
    assert!(cluster.members[&away].groups.counts().snapshots_installed >= 1);
    eventually("a sender has its answer", || async {
        let mut senders = cluster.members.values();
        senders
            .any(|sender| sender.groups.counts().snapshots_sent >= 1)
            .then_some(())
    })
    .await;
    assert_eq!(all(&follower.view().unwrap()), all(&group.view().unwrap()));

    // And from there on by the log.
    let last = cluster.set("after", b"x").await;
    follower.wait_applied(last.index, deadline()).await.unwrap();
    assert_eq!(
        get(&follower.view().unwrap(), "after").as_deref(),
        Some(b"x".as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_outlive_a_restart_of_all_members() {
    let mut cluster = Cluster::of(3).await;
    cluster.fill("key", 250).await;
    let before = all(&cluster.group(cluster.leader().await).view().unwrap());
    assert_eq!(before.len(), 250);
    cluster.stop_all().await;
    for member in (1..=3).map(MemberId) {
        cluster.start(member).await;
        assert_eq!(
            cluster.members[&member].groups.stored(),
            [(crate::cluster::GROUP, replica_of(member))]
        );
        cluster.start_replica(member).await;
    }
    let leader = cluster.leader().await;
    for member in cluster.members.keys() {
        cluster.group(*member).wait_for_recovery(deadline()).await.unwrap();
        cluster.caught_up(*member).await;
        assert_eq!(all(&cluster.group(*member).view().unwrap()), before, "member {member}");
    }
    assert!(cluster.group(leader).leadership().leading);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_leads_when_the_leader_is_gone() {
    let mut cluster = Cluster::of(3).await;
    cluster.fill("key", 30).await;
    let first = cluster.leader().await;
    let term = cluster.group(first).leadership().term;
    cluster.stop(first).await;
    let second = cluster.leader().await;
    assert_ne!(first, second);
    let leadership = cluster.group(second).leadership();
    assert!(leadership.term > term);
    assert_eq!(leadership.leader, Some((replica_of(second), second)));
    assert_eq!(all(&cluster.group(second).view().unwrap()).len(), 30);
    cluster.set("after", b"1").await;

    cluster.start(first).await;
    cluster.start_replica(first).await;
    cluster.caught_up(first).await;
    assert_eq!(all(&cluster.group(first).view().unwrap()).len(), 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::calm(3).await;
    let first = cluster.leader().await;
    let second = MemberId(first.0 % 3 + 1);
    cluster.caught_up(second).await;
    let mut watched = cluster.group(first).watch_leadership();
    cluster.group(first).transfer_leader(replica_of(second)).await.unwrap();
    let now = watched.wait_for(|now| now.leader.is_some_and(|(_, member)| member == second));
    let now = *tokio::time::timeout(crate::cluster::PATIENCE, now)
        .await
        .unwrap()
        .unwrap();
    assert!(!now.leading);
    assert_eq!(cluster.leader().await, second);
}

/// openraft would have given up the lead before it saw that nobody took it: an election's time without a leader.
#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_kept_until_its_heir_can_take_it() {
    let mut cluster = Cluster::calm(3).await;
    let first = cluster.leader().await;
    let second = MemberId(first.0 % 3 + 1);
    cluster.caught_up(second).await;
    let leader = cluster.group(first);
    let term = leader.leadership().term;
    cluster.stop(second).await;
    refuses_to_hand_over(&leader, second).await;
    // It answers, but has not come to this replica yet.
    cluster.start(second).await;
    refuses_to_hand_over(&leader, second).await;
    cluster.set("key", b"1").await;
    let leadership = leader.leadership();
    assert_eq!((leadership.leading, leadership.term), (true, term));

    cluster.start_replica(second).await;
    eventually("the heir leads", || async {
        let _ = leader.transfer_leader(replica_of(second)).await;
        cluster.group(second).leadership().leading.then_some(())
    })
    .await;
}

async fn refuses_to_hand_over(leader: &Group, heir: MemberId) {
    let refused = leader.transfer_leader(replica_of(heir)).await;
    assert!(matches!(refused, Err(MembershipError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_says_who_leads_and_proposes_nothing() {
    let cluster = Cluster::calm(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.group(MemberId(leader.0 % 3 + 1));
    let mut known = follower.watch_leadership();
    known.wait_for(|known| known.leader.is_some()).await.unwrap();
    let leader = Some((replica_of(leader), leader));
    assert_eq!(
        follower.propose(set("a", b"1")).await,
        Err(kotoba_node::raft::ProposeError::NotLeader { leader })
    );
    assert_eq!(
        follower.read_barrier().await,
        Err(kotoba_node::raft::BarrierError::NotLeader { leader })
    );
    assert_eq!(all(&follower.view().unwrap()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_groups_share_the_log_and_the_lanes() {
    use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};
    use std::sync::Arc;
    const GROUPS: u32 = 12;
    let mut cluster = Cluster::new();
    for member in (1..=3).map(MemberId) {
        cluster.start(member).await;
    }
    let group_id = |number: u32| match number {
        0 => GroupId::Meta,
        number => GroupId::Partition(PartitionId(number)),
    };
    for number in 0..GROUPS {
        let replica = |member: MemberId| ReplicaId(u64::from(number) * 10 + member.0);
        for (member, running) in &cluster.members {
            let machine = Arc::new(crate::machine::Map);
            running
                .groups
                .start_replica(group_id(number), replica(*member), machine)
                .await
                .unwrap();
        }
        let voters = cluster
            .members
            .keys()
            .map(|member| (replica(*member), *member))
            .collect();
        let first = &cluster.members[&MemberId(1)].groups;
        first.get(group_id(number)).unwrap().initialize(voters).await.unwrap();
    }
    let members: BTreeSet<_> = cluster.members.keys().copied().collect();
    for number in 0..GROUPS {
        let value = number.to_string();
        let index = eventually("a write in each group", || async {
            for member in &members {
                let group = cluster.members[member].groups.get(group_id(number))?;
                if let Ok(proposed) = group.propose(set("number", value.as_bytes())).await {
                    return Some(proposed.index);
                }
            }
            None
        })
        .await;
        for member in &members {
            let group = cluster.members[member].groups.get(group_id(number)).unwrap();
            group.wait_applied(index, deadline()).await.unwrap();
            assert_eq!(get(&group.view().unwrap(), "number").as_deref(), Some(value.as_bytes()));
        }
    }
    let counts = cluster.members[&MemberId(1)].groups.counts();
    assert!(counts.log_commits > 0 && counts.log_bytes > 0, "{counts:?}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_rebuilt_from_its_leader_and_from_nobody_else() {
    let cluster = Cluster::calm(3).await;
    cluster.fill("before", 100).await;
    let leader = cluster.leader().await;
    let mut others = cluster.members.keys().copied().filter(|member| *member != leader);
    let (rebuilt, follower) = (others.next().unwrap(), others.next().unwrap());
    let groups = &cluster.members[&rebuilt].groups;
    let rebuild = |from| groups.rebuild_replica(GROUP, replica_of(rebuilt), from, Arc::new(Map));

    let refused = rebuild(follower).await.err().unwrap().to_string();
    assert!(refused.contains("no state was given"), "{refused}");
    assert!(
        groups.get(GROUP).is_none(),
        "it waits, stopped, for a leader to be found"
    );

    cluster.fill("meanwhile", 50).await;
    let group = rebuild(leader).await.unwrap();
    let last = cluster.set("after", b"1").await;
    group.wait_applied(last.index, deadline()).await.unwrap();
    assert_eq!(all(&group.view().unwrap()), all(&cluster.group(leader).view().unwrap()));
}
