//! A read is asked again wherever that can help, and gives up with the reason it failed for.

use std::time::{Duration, Instant};

use kotoba_proto::ClusterError;
use kotoba_proto::v1::JoinClusterRequest;
use kotoba_proto::v1::error_detail::Kind;
use tonic::Code;

use crate::fake::{Answer, Fake, client, hanging_up, refusing_address};

const AMPLE_MS: u64 = 10_000;

#[tokio::test]
async fn members_are_asked_in_turn() {
    let (first, second) = (Fake::start([]).await, Fake::start([]).await);
    let cluster = client(&[&first.address, &second.address], AMPLE_MS);
    for _ in 0..6 {
        cluster.get_status().await.unwrap();
    }
    assert_eq!((first.calls(), second.calls()), (3, 3));
}

#[tokio::test]
async fn a_read_goes_on_past_members_that_are_down_or_hang_up() {
    let (refusing, closing) = (refusing_address().await, hanging_up().await);
    let healthy = Fake::start([]).await;
    let cluster = client(&[&refusing, &closing, &healthy.address], AMPLE_MS);
    for _ in 0..3 {
        cluster.check_health().await.unwrap();
    }
    assert_eq!(healthy.calls(), 3);
}

#[tokio::test]
async fn a_missing_leader_is_waited_for() {
    let fake = Fake::start(vec![Answer::Fails(Kind::NoLeader); 3]).await;
    client(&[&fake.address], AMPLE_MS).get_cluster_config().await.unwrap();
    assert_eq!(fake.calls(), 4);
}

#[tokio::test]
async fn a_read_without_proof_is_repeated() {
    let answers = [Code::Unavailable, Code::Unknown, Code::Internal].map(Answer::Bare);
    let fake = Fake::start(answers).await;
    client(&[&fake.address], AMPLE_MS).get_status().await.unwrap();
    assert_eq!(fake.calls(), 4);
}

#[tokio::test]
async fn joining_is_idempotent_and_so_is_repeated() {
    let fake = Fake::start([Answer::Bare(Code::Unavailable), Answer::Fails(Kind::UnknownOutcome)]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let joined = cluster.join_cluster(JoinClusterRequest::default()).await.unwrap();
    assert_eq!(joined.member_id, 4);
}

#[tokio::test]
async fn a_member_that_hangs_is_left_at_the_deadline() {
    let fake = Fake::start([Answer::Hangs]).await;
    let began = Instant::now();
    let error = client(&[&fake.address], 200).get_status().await.unwrap_err();
    assert!(matches!(error, ClusterError::Timeout { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_empty_disk_is_reported_when_every_member_has_one() {
    let unassigned = || Answer::Fails(Kind::Unassigned);
    let (first, second) = (Fake::start([unassigned()]).await, Fake::start([unassigned()]).await);
    let cluster = client(&[&first.address, &second.address], AMPLE_MS);
    let error = cluster.get_status().await.unwrap_err();
    assert!(matches!(error, ClusterError::Unassigned(_)), "{error}");
    cluster.get_status().await.unwrap();
}

#[tokio::test]
async fn where_nobody_listens_the_address_and_the_reason_are_named() {
    let refusing = refusing_address().await;
    let error = client(&[&refusing], 100).get_status().await.unwrap_err();
    assert!(error.is_unreachable());
    let text = error.to_string();
    assert!(text.contains(&refusing) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_member_that_comes_back_is_found_again_by_the_same_client() {
    let fake = Fake::start([]).await;
    let address = fake.address.clone();
    let cluster = client(&[&address], AMPLE_MS);
    cluster.get_status().await.unwrap();
    fake.stop().await;
    let asked_meanwhile = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.get_status().await }
    });
    let again = Fake::start_at(&address, []).await;
    asked_meanwhile.await.unwrap().unwrap();
    cluster.get_status().await.unwrap();
    assert_eq!(again.calls(), 2);
}
