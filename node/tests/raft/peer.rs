//! Messages that are not for this member, this cluster or this replica are refused, whoever sends them.

use kotoba_proto::v1::raft_message::Body;
use kotoba_proto::v1::raft_service_client::RaftServiceClient;
use kotoba_proto::v1::{Envelope, Frame, RaftMessage, SnapshotBlock};
use kotoba_state::ids::MemberId;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::cluster::{CLUSTER, Cluster, GROUP, replica_of};
use kotoba_node::raft::PeerAddresses;

async fn dial(cluster: &Cluster) -> RaftServiceClient<Channel> {
    let address = cluster.net.address(MemberId(1)).unwrap();
    RaftServiceClient::connect(format!("http://{address}")).await.unwrap()
}

fn envelope() -> Envelope {
    Envelope {
        cluster_id: CLUSTER.to_owned(),
        from_member_id: 2,
        to_member_id: 1,
        format: 1,
    }
}

fn append_to(replica: u64) -> RaftMessage {
    RaftMessage {
        group: GROUP.number(),
        from_replica: 102,
        to_replica: replica,
        sequence: 0,
        stream: 1,
        body: Some(Body::AppendRequest(vec![1, 2, 3].into())),
    }
}

async fn control(cluster: &Cluster, envelope: Envelope, message: RaftMessage) -> Result<Streaming<Frame>, Status> {
    let frame = Frame {
        envelope: Some(envelope),
        messages: vec![message],
    };
    // The lane stays open: an answer may still come.
    let frames = futures::StreamExt::chain(futures::stream::iter([frame]), futures::stream::pending());
    Ok(dial(cluster).await.control(frames).await?.into_inner())
}

async fn answer(cluster: &Cluster, message: RaftMessage) -> Option<Body> {
    let mut answers = control(cluster, envelope(), message).await.unwrap();
    answers.message().await.unwrap()?.messages.remove(0).body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_of_another_cluster_member_or_format_is_refused() {
    let cluster = Cluster::of(1).await;
    let other_cluster = Envelope {
        cluster_id: "another".to_owned(),
        ..envelope()
    };
    let other_member = Envelope {
        to_member_id: 9,
        ..envelope()
    };
    let other_format = Envelope {
        format: 99,
        ..envelope()
    };
    for wrong in [other_cluster, other_member, other_format] {
        let refused = control(&cluster, wrong.clone(), append_to(101)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{wrong:?}");
        let block = SnapshotBlock {
            envelope: Some(wrong.clone()),
            ..SnapshotBlock::default()
        };
        let refused = dial(&cluster)
            .await
            .install_snapshot(futures::stream::iter([block]))
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_for_a_replica_that_is_not_here_reaches_no_other() {
    let cluster = Cluster::of(1).await;
    let last = cluster.set("a", b"1").await;
    let body = answer(&cluster, append_to(7)).await;
    assert!(
        matches!(&body, Some(Body::Error(reason)) if reason.contains("does not run here")),
        "{body:?}"
    );
    let group_of_nobody = RaftMessage {
        group: 500,
        ..append_to(101)
    };
    let body = answer(&cluster, group_of_nobody).await;
    assert!(matches!(body, Some(Body::Error(_))), "{body:?}");
    let seen = cluster.group(MemberId(1)).observe();
    assert_eq!((seen.leader, seen.applied), (Some(replica_of(MemberId(1))), last.index));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_answered_and_changes_nothing() {
    let cluster = Cluster::of(1).await;
    let body = answer(&cluster, append_to(101)).await;
    assert!(matches!(&body, Some(Body::Error(_))), "{body:?}");
    let no_request = RaftMessage {
        body: Some(Body::VoteAnswer(vec![1].into())),
        ..append_to(101)
    };
    assert!(matches!(answer(&cluster, no_request).await, Some(Body::Error(_))));
    cluster.set("a", b"1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_with_an_unreadable_header_is_refused() {
    let cluster = Cluster::of(1).await;
    let block = SnapshotBlock {
        envelope: Some(envelope()),
        group: GROUP.number(),
        from_replica: 102,
        to_replica: 101,
        header: vec![1, 2, 3].into(),
        ..SnapshotBlock::default()
    };
    let refused = dial(&cluster)
        .await
        .install_snapshot(futures::stream::iter([block]))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    cluster.set("a", b"1").await;
}
