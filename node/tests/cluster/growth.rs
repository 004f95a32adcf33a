//! Growing from three members to five under a writer: everything moves where placement wants it and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};

use kotoba_proto::v1::{GetStatusResponse, MemberState, ReplicaRole};

use crate::cluster::Cluster;
use crate::settings::Pace;
use crate::wait::run;
use crate::writer::Writer;

/// Enough that five members cannot share them without moves, few enough for a quick test.
const MANY: u32 = 10;

async fn grow(cluster: &mut Cluster, count: u64) {
    for _ in 0..count {
        let number = cluster.add().await;
        let joined = cluster.join(number, 1 + number % 3).await.unwrap();
        assert_eq!(joined.member_id, number);
    }
}

async fn all_active(cluster: &Cluster, count: usize) {
    cluster
        .status_where("active members", |status| {
            let active = |state: MemberState| state == MemberState::Active;
            status.members.len() == count && status.members.iter().all(|member| active(member.state()))
        })
        .await;
}

/// Three voters of each partition on three members, in three zones, and no member with more than its bound.
fn assert_spread(status: &GetStatusResponse, members: usize) {
    let zones: BTreeMap<u64, &str> = status
        .members
        .iter()
        .map(|member| (member.id, member.zone.as_str()))
        .collect();
    let mut loads: BTreeMap<u64, usize> = zones.keys().map(|member| (*member, 0)).collect();
    for partition in &status.partitions {
        let holders: BTreeSet<u64> = partition.replicas.iter().map(|replica| replica.member_id).collect();
        assert_eq!(holders.len(), 3, "{partition:?}");
        assert!(
            partition
                .replicas
                .iter()
                .all(|replica| replica.role() == ReplicaRole::Voter),
            "{partition:?}"
        );
        assert_eq!(
            holders
                .iter()
                .map(|member| zones[member])
                .collect::<BTreeSet<_>>()
                .len(),
            3,
            "{partition:?}"
        );
        holders.iter().for_each(|member| *loads.get_mut(member).unwrap() += 1);
    }
    let total: usize = loads.values().sum();
    assert_eq!(loads.len(), members);
    // Zones come first: five members in three zones leave one of them alone in its zone with a replica of everything.
    let alone = |member: &u64| zones.values().filter(|zone| **zone == zones[member]).count() == 1;
    let bound = (total as f64 / members as f64 * 1.1).ceil() as usize;
    for (member, load) in &loads {
        assert!(
            *load > 0 && (*load <= bound || alone(member)),
            "member {member} holds {load} of {total}, bound {bound}"
        );
    }
}

#[test]
fn three_members_grow_to_five_under_a_writer_and_nothing_is_lost() {
    run(async {
        let mut cluster = Cluster::with(Pace::default(), 3, MANY).await;
        let writers = ["A", "B"].map(|name| Writer::start(cluster.client(), name));
        writers[0].progress(100).await;
        grow(&mut cluster, 2).await;
        all_active(&cluster, 5).await;
        let moves = cluster.rebalance(4).await;
        assert!(moves >= 2, "{moves} moves");
        cluster.balanced().await;
        writers[1].progress(50).await;
        cluster.ready().await;
        let status = cluster.client().get_status().await.unwrap();
        assert_spread(&status, 5);
        let done = status.rebalance.unwrap();
        assert_eq!((done.moves_open, done.moves_finished), (0, moves as u64));
        assert_eq!(cluster.rebalance(1).await, 0, "a balanced cluster has nothing to move");
        for writer in writers {
            let ledger = writer.finish().await;
            ledger.check(&cluster.client_of(5)).await;
        }
        cluster.agree().await;
    });
}

#[test]
fn a_rebalance_outlives_the_crash_of_the_meta_leader() {
    run(async {
        let mut cluster = Cluster::with(Pace::default(), 3, MANY).await;
        let writer = Writer::start(cluster.client(), "A");
        grow(&mut cluster, 2).await;
        all_active(&cluster, 5).await;
        cluster.rebalance(2).await;
        cluster
            .status_where("a rebalance in the middle", |status| !status.moves.is_empty())
            .await;
        let leader = cluster.meta_leader().await;
        cluster.crash(leader).await;
        writer.progress(30).await;
        let next = cluster.meta_leader().await;
        assert_ne!(next, leader);
        cluster.start(leader).await;
        cluster.balanced().await;
        cluster.ready().await;
        assert_spread(&cluster.client().get_status().await.unwrap(), 5);
        let ledger = writer.finish().await;
        ledger.check(&cluster.client()).await;
        cluster.agree().await;
    });
}

#[test]
fn a_member_that_crashes_while_it_joins_and_while_replicas_move_to_it_is_taken_in_all_the_same() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_short_log(), 3, MANY).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(100).await;
        let number = cluster.add().await;
        cluster.join(number, 2).await.unwrap();
        // Before it has an identity, or a moment after: both must do.
        cluster.crash(number).await;
        cluster.start(number).await;
        assert_eq!(cluster.join(number, 3).await.unwrap().member_id, number);
        all_active(&cluster, 4).await;
        let moves = cluster.rebalance(number).await;
        for _ in 0..2 {
            cluster
                .status_where("a rebalance under way", |status| {
                    let rebalance = status.rebalance.as_ref().unwrap();
                    rebalance.balanced || status.moves.iter().any(|row| row.to_member_id == number)
                })
                .await;
            cluster.crash(number).await;
            writer.progress(20).await;
            cluster.start(number).await;
        }
        cluster.balanced().await;
        cluster.ready().await;
        let status = cluster.client().get_status().await.unwrap();
        assert_eq!(status.rebalance.unwrap().moves_finished, moves as u64);
        let ledger = writer.finish().await;
        ledger.check(&cluster.client_of(number)).await;
        cluster.agree().await;
    });
}

#[test]
fn a_join_given_twice_is_one_member() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let number = cluster.add().await;
        let first = cluster.join(number, 1).await.unwrap();
        let second = cluster.join(number, 2).await.unwrap();
        assert_eq!(
            (first.member_id, first.cluster_id),
            (second.member_id, second.cluster_id)
        );
        all_active(&cluster, 4).await;
        cluster.restart(number).await;
        cluster.ready().await;
        assert_eq!(cluster.join(number, 3).await.unwrap().state(), MemberState::Active);
        assert_eq!(cluster.client_of(number).get_status().await.unwrap().members.len(), 4);
    });
}
