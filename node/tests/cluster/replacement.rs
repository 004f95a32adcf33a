//! Members that fail for good: their replicas are placed elsewhere, and a new disk takes their place.

use std::time::Duration;

use kotoba_node::config::MembershipConfig;
use kotoba_proto::v1::{GetStatusResponse, MemberState, RemoveMemberRequest};

use crate::cluster::Cluster;
use crate::settings::Pace;
use crate::wait::run;
use crate::writer::Writer;

const PARTITIONS: u32 = 6;

fn pace() -> Pace {
    let quick = Pace::with_quick_detection();
    Pace {
        membership: MembershipConfig {
            replacement_after: Some(Duration::from_millis(500)),
            ..quick.membership.clone()
        },
        ..quick
    }
}

fn replicas(status: &GetStatusResponse, id: u64) -> u32 {
    status
        .members
        .iter()
        .find(|member| member.id == id)
        .map_or(0, |member| member.replicas)
}

fn state(status: &GetStatusResponse, id: u64) -> Option<MemberState> {
    status
        .members
        .iter()
        .find(|member| member.id == id)
        .map(|member| member.state())
}

/// Nothing is on the member that failed, and every partition has all its voters in sync again.
async fn replaced(cluster: &Cluster, failed: u64) {
    cluster
        .status_where("a replaced member", |status| {
            let whole = status.partitions.iter().all(|partition| partition.voters_in_sync == 3);
            replicas(status, failed) == 0 && status.moves.is_empty() && whole
        })
        .await;
}

async fn active(cluster: &Cluster, id: u64) {
    cluster
        .status_where("an active member", |status| {
            state(status, id) == Some(MemberState::Active)
        })
        .await;
}

#[test]
fn the_replicas_of_a_member_that_fails_for_good_are_placed_elsewhere() {
    run(async {
        let mut cluster = Cluster::with(pace(), 3, PARTITIONS).await;
        let fourth = cluster.add().await;
        cluster.join(fourth, 1).await.unwrap();
        active(&cluster, fourth).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(30).await;
        cluster.crash(2).await;
        replaced(&cluster, 2).await;
        writer.progress(30).await;
        // Back again, it deletes what it had and holds nothing until a rebalance.
        cluster.start(2).await;
        cluster.ready().await;
        let status = cluster
            .status_where("a member that is back", |status| {
                status.replication.as_ref().unwrap().is_healthy
            })
            .await;
        assert_eq!(replicas(&status, 2), 0);
        cluster.rebalance(1).await;
        cluster.balanced().await;
        assert!(replicas(&cluster.client_of(1).get_status().await.unwrap(), 2) > 0);
        writer.finish().await.check(&cluster.client_of(2)).await;
        cluster.agree().await;
    });
}

#[test]
fn a_lost_disk_is_followed_by_a_new_member_at_the_same_address_and_the_dead_one_is_removed() {
    run(async {
        let mut cluster = Cluster::with(pace(), 3, PARTITIONS).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(30).await;
        cluster.crash(3).await;
        cluster.lose_disk(3);
        cluster.start(3).await;
        cluster
            .status_where("a failed member", |status| {
                status.replication.as_ref().unwrap().failed_nodes_count == 1
            })
            .await;
        let status = cluster.client_of(1).get_status().await.unwrap();
        let why = &status.members[2].waiting_for;
        assert!(why.contains("add a member first"), "{why}");
        let joined = cluster.join(3, 1).await.unwrap();
        assert_eq!(joined.member_id, 4);
        replaced(&cluster, 3).await;
        let remove = RemoveMemberRequest { member_id: 3 };
        cluster.admin(1).remove_member(remove).await.unwrap();
        let status = cluster
            .status_where("the dead member removed", |status| {
                state(status, 3) == Some(MemberState::Removed)
            })
            .await;
        assert!(status.members[3].meta_voter, "three voters again");
        writer.progress(30).await;
        writer.finish().await.check(&cluster.client_of(3)).await;
        cluster.agree().await;
    });
}
