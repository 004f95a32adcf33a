//! Drains under a writer: no request fails, nothing is lost, and what is removed stays removed.

use std::time::Duration;

use kotoba_proto::ClusterError;
use kotoba_proto::v1::{
    CancelDrainRequest, DrainRequest, EventKind, GetStatusResponse, MemberProgress, MemberState, MemberStatus,
    RemoveMemberRequest,
};
use tonic::Status;

use crate::cluster::Cluster;
use crate::graph::{create_node, find_nodes};
use crate::settings::Pace;
use crate::wait::{run, until};
use crate::writer::Writer;

/// Enough that a drain takes some passes, few enough for a quick test.
const PARTITIONS: u32 = 8;

/// A balanced cluster of four; three replicas of each partition.
async fn four() -> Cluster {
    let mut cluster = Cluster::with(Pace::default(), 3, PARTITIONS).await;
    let fourth = cluster.add().await;
    cluster.join(fourth, 1).await.unwrap();
    cluster
        .status_where("four active members", |status| {
            status.members.len() == 4
                && status
                    .members
                    .iter()
                    .all(|member| member.state() == MemberState::Active)
        })
        .await;
    cluster.rebalance(1).await;
    cluster.balanced().await;
    cluster.ready().await;
    cluster
}

fn member(status: &GetStatusResponse, id: u64) -> &MemberStatus {
    status.members.iter().find(|member| member.id == id).unwrap()
}

async fn drain(cluster: &Cluster, through: u64, member_id: u64) -> Result<MemberProgress, Status> {
    let answer = cluster.admin(through).drain(DrainRequest { member_id }).await?;
    Ok(answer.into_inner().progress.unwrap())
}

async fn remove(cluster: &Cluster, through: u64, member_id: u64) -> Result<MemberProgress, Status> {
    let answer = cluster
        .admin(through)
        .remove_member(RemoveMemberRequest { member_id })
        .await?;
    Ok(answer.into_inner().progress.unwrap())
}

async fn drained(cluster: &Cluster, through: u64, id: u64) {
    until("a drained member", || async {
        match drain(cluster, through, id).await {
            Ok(progress) if progress.drained => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

async fn removed(cluster: &Cluster, id: u64) {
    cluster
        .status_where("a removed member", |status| {
            member(status, id).state() == MemberState::Removed
        })
        .await;
    until("a process that knows of its removal", || async {
        match cluster.host(id).process.ready() {
            Err(reason) if reason.contains("was removed") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Every write was acknowledged, and everything acknowledged is there.
async fn check(cluster: &Cluster, writer: Writer, through: u64) {
    assert_eq!(
        writer.failed(),
        0,
        "requests failed that the client library could have hidden"
    );
    writer.finish().await.check(&cluster.client_of(through)).await;
}

#[test]
fn four_members_drain_to_three_under_a_writer_and_no_request_fails() {
    run(async {
        let mut cluster = four().await;
        let mut events = cluster.client_of(1).subscribe_events().await.unwrap();
        let writers = ["A", "B"].map(|name| Writer::start(cluster.client(), name));
        writers[0].progress(50).await;
        let asked = drain(&cluster, 1, 4).await.unwrap();
        assert_eq!(asked.state(), MemberState::Draining);
        drained(&cluster, 2, 4).await;
        let status = cluster.client_of(1).get_status().await.unwrap();
        let four = member(&status, 4);
        assert_eq!((four.replicas, four.leaders, four.meta_voter), (0, 0, false));
        assert!(four.drained && four.waiting_for.is_empty(), "{four:?}");
        writers[1].progress(30).await;
        let asked = remove(&cluster, 3, 4).await.unwrap();
        assert!(asked.state() == MemberState::Draining || asked.state() == MemberState::Removed);
        removed(&cluster, 4).await;
        assert_eq!(remove(&cluster, 1, 4).await.unwrap().state(), MemberState::Removed);
        writers[0].progress(30).await;
        for writer in writers {
            check(&cluster, writer, 1).await;
        }
        let mut kinds = Vec::new();
        while !kinds.contains(&EventKind::NodeLeft) {
            let event = tokio::time::timeout(Duration::from_secs(10), events.next())
                .await
                .unwrap();
            kinds.push(event.unwrap().kind());
        }
        assert!(kinds.contains(&EventKind::ConfigChanged) && kinds.contains(&EventKind::PartitionMoved));

        // For ever: the process says so now and after a restart, and its disk joins no more.
        for _ in 0..2 {
            let error = cluster
                .impatient_client_of(4, Duration::from_secs(1))
                .execute_operation(create_node("Person", []))
                .await
                .unwrap_err();
            assert!(error.to_string().contains("was removed"), "{error}");
            cluster.restart(4).await;
        }
        let error = cluster.join(4, 1).await.unwrap_err();
        assert!(
            matches!(&error, ClusterError::Refused(reason) if reason.contains("was removed")),
            "{error}"
        );
        cluster.stop(4).await;
        cluster.agree().await;
    });
}

#[test]
fn a_drain_is_cancelled_in_the_middle_and_the_member_stays() {
    run(async {
        let cluster = four().await;
        let writer = Writer::start(cluster.client(), "A");
        let before = member(&cluster.client_of(1).get_status().await.unwrap(), 2).replicas;
        drain(&cluster, 1, 2).await.unwrap();
        cluster
            .status_where("something moved", |status| member(status, 2).replicas < before)
            .await;
        let cancel = CancelDrainRequest { member_id: 2 };
        let answer = cluster.admin(3).cancel_drain(cancel).await.unwrap().into_inner();
        assert_eq!(answer.progress.unwrap().state(), MemberState::Active);
        let status = cluster
            .status_where("no more moves", |status| status.moves.is_empty())
            .await;
        let kept = member(&status, 2);
        assert!(
            kept.replicas < before && kept.state() == MemberState::Active,
            "{kept:?}"
        );
        assert!(cluster.host(2).process.ready().is_ok());
        writer.progress(20).await;
        cluster.rebalance(1).await;
        cluster.balanced().await;
        check(&cluster, writer, 2).await;
        cluster.agree().await;
    });
}

#[test]
fn a_drain_is_refused_where_the_rest_could_not_hold_the_replicas_and_nothing_is_touched() {
    run(async {
        let cluster = Cluster::of(3).await;
        let refused = drain(&cluster, 1, 2).await.unwrap_err();
        assert!(refused.message().contains("add a member first"), "{refused}");
        let error = cluster.client_of(1).leave_cluster(2).await.unwrap_err();
        assert!(matches!(error, ClusterError::Refused(_)), "{error}");
        let error = cluster.client_of(1).leave_cluster(9).await.unwrap_err();
        assert!(matches!(error, ClusterError::NotFound(_)), "{error}");
        let refused = remove(&cluster, 1, 2).await.unwrap_err();
        assert!(refused.message().contains("drain it first"), "{refused}");
        let status = cluster.client_of(1).get_status().await.unwrap();
        assert!(
            status
                .members
                .iter()
                .all(|member| member.state() == MemberState::Active)
        );
        assert!(status.moves.is_empty());
    });
}

#[test]
fn the_meta_leader_leaves_and_another_goes_on_with_its_drain() {
    run(async {
        let mut cluster = four().await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(20).await;
        let leader = cluster.meta_leader().await;
        let other = leader % 4 + 1;
        // Given twice, through two members: it is one.
        cluster.client_of(leader).leave_cluster(leader).await.unwrap();
        cluster.client_of(other).leave_cluster(leader).await.unwrap();
        removed(&cluster, leader).await;
        writer.progress(20).await;
        let status = cluster.client_of(other).get_status().await.unwrap();
        assert_ne!(status.leader_member_id, leader);
        let voters = status.members.iter().filter(|member| member.meta_voter);
        assert_eq!(voters.map(|member| member.id).filter(|id| *id != leader).count(), 3);
        check(&cluster, writer, other).await;
        let count = cluster.client_of(other).count(find_nodes("NodeA", [])).await.unwrap();
        assert!(count > 0);
        cluster.stop(leader).await;
        cluster.agree().await;
    });
}
