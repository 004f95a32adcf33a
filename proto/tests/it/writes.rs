//! A write is applied once or not at all, whatever the members do.

use std::time::{Duration, Instant};

use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::{CreateEdge, CreateNode, NodeRef, Operation};
use kotoba_proto::{ClusterError, RequestNumber};
use tonic::Code;

use crate::fake::{Answer, Fake, client, hanging_up, refusing_address};

const AMPLE_MS: u64 = 10_000;

fn create() -> Operation {
    CreateNode {
        labels: vec!["Person".into()],
        properties: [("name".to_owned(), "Ada".into())].into(),
    }
    .into()
}

#[tokio::test]
async fn a_write_answers_with_id_cid_and_bookmark() {
    let fake = Fake::start([]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let outcome = cluster.execute_operation(create()).await.unwrap();
    assert_eq!((outcome.id, outcome.bookmark), (100, 55));
    assert!(outcome.cid.to_string().starts_with('b'));
    assert_eq!(cluster.bookmark(), 55);
}

#[tokio::test]
async fn several_operations_are_one_request_with_one_outcome_each() {
    let fake = Fake::start([]).await;
    let edge = CreateEdge {
        r#type: "KNOWS".into(),
        source: Some(NodeRef::operation(0)),
        target: Some(NodeRef::id(9)),
        ..CreateEdge::default()
    };
    let cluster = client(&[&fake.address], AMPLE_MS);
    let outcomes = cluster.execute_operations(vec![create(), edge.into()]).await.unwrap();
    assert_eq!(
        outcomes.iter().map(|outcome| outcome.id).collect::<Vec<_>>(),
        [100, 101]
    );
    assert_eq!(fake.script.operations.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_conflict_is_retried_until_it_is_gone() {
    let conflict = Answer::Fails(Kind::Transient);
    let fake = Fake::start(vec![conflict; 3]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    cluster.execute_operation(create()).await.unwrap();
    assert_eq!(fake.calls(), 4);
}

#[tokio::test]
async fn a_conflict_that_stays_is_reported_within_the_deadline() {
    let fake = Fake::start(vec![Answer::Fails(Kind::Transient); 1000]).await;
    let began = Instant::now();
    let error = client(&[&fake.address], 1_000)
        .execute_operation(create())
        .await
        .unwrap_err();
    assert_eq!(error, ClusterError::Transient("by script".into()));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(fake.calls() > 1);
}

/// What the members were sent of one write: its number, and whether it was marked as repeated.
fn attempts(fake: &Fake) -> Vec<(u64, bool)> {
    let requests = fake.script.operations.lock().unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.client_id == requests[0].client_id)
    );
    requests
        .iter()
        .map(|request| (request.sequence, request.repeated))
        .collect()
}

#[tokio::test]
async fn a_write_in_doubt_is_sent_again_under_its_number_and_marked() {
    for doubt in [Answer::Fails(Kind::UnknownOutcome), Answer::Bare(Code::Unavailable)] {
        let fake = Fake::start([Answer::Fails(Kind::Transient), doubt]).await;
        let cluster = client(&[&fake.address], AMPLE_MS);
        cluster.execute_operation(create()).await.unwrap();
        cluster.execute_operation(create()).await.unwrap();
        assert_eq!(attempts(&fake), [(1, false), (1, false), (1, true), (2, false)]);
    }
}

#[tokio::test]
async fn a_doubt_that_stays_is_reported_as_an_unknown_outcome() {
    let fake = Fake::start(vec![Answer::Bare(Code::Unavailable); 1000]).await;
    let error = client(&[&fake.address], 1_000)
        .execute_operation(create())
        .await
        .unwrap_err();
    assert!(matches!(error, ClusterError::UnknownOutcome(_)), "{error}");
}

#[tokio::test]
async fn a_connection_closed_under_a_write_sends_it_to_the_next_member_as_a_repeated_one() {
    let closing = hanging_up().await;
    let healthy = Fake::start([]).await;
    let cluster = client(&[&closing, &healthy.address], AMPLE_MS);
    cluster.execute_operation(create()).await.unwrap();
    assert_eq!(attempts(&healthy), [(1, true)]);
}

#[tokio::test]
async fn a_refused_connection_proves_nothing_was_sent_and_the_next_member_is_asked() {
    let refusing = refusing_address().await;
    let healthy = Fake::start([]).await;
    let cluster = client(&[&refusing, &healthy.address], AMPLE_MS);
    for _ in 0..4 {
        cluster.execute_operation(create()).await.unwrap();
    }
    assert_eq!(healthy.calls(), 4);
}

#[tokio::test]
async fn a_redirect_is_followed_to_a_member_that_is_not_in_the_list() {
    let leader = Fake::start([]).await;
    let follower = Fake::start([Answer::Redirects(leader.address.clone())]).await;
    client(&[&follower.address], AMPLE_MS)
        .execute_operation(create())
        .await
        .unwrap();
    assert_eq!((follower.calls(), leader.calls()), (1, 1));
}

#[tokio::test]
async fn a_redirect_to_a_dead_leader_comes_back_to_the_list() {
    let dead = refusing_address().await;
    let follower = Fake::start([Answer::Redirects(dead)]).await;
    client(&[&follower.address], AMPLE_MS)
        .execute_operation(create())
        .await
        .unwrap();
    assert_eq!(follower.calls(), 2);
}

#[tokio::test]
async fn a_member_that_hangs_is_left_at_the_deadline_with_the_outcome_unknown() {
    let fake = Fake::start([Answer::Hangs]).await;
    let error = client(&[&fake.address], 200)
        .execute_operation(create())
        .await
        .unwrap_err();
    assert!(matches!(error, ClusterError::UnknownOutcome(_)), "{error}");
}

#[tokio::test]
async fn a_refusal_is_reported_at_once() {
    for kind in [Kind::Refused, Kind::Invalid, Kind::NotFound] {
        let fake = Fake::start([Answer::Fails(kind)]).await;
        client(&[&fake.address], AMPLE_MS)
            .execute_operation(create())
            .await
            .unwrap_err();
        assert_eq!(fake.calls(), 1);
    }
}

#[tokio::test]
async fn too_many_operations_are_refused_before_they_are_sent() {
    let fake = Fake::start([]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    for count in [0, 1001] {
        let error = cluster.execute_operations(vec![create(); count]).await.unwrap_err();
        assert!(matches!(error, ClusterError::Invalid(_)), "{error}");
    }
    assert_eq!(fake.calls(), 0);
}

#[tokio::test]
async fn many_tasks_share_one_client() {
    let fake = Fake::start([]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let cluster = cluster.clone();
            tokio::spawn(async move { cluster.execute_operation(create()).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(fake.calls(), 20);
}

#[tokio::test]
async fn a_write_of_an_earlier_process_is_sent_again_under_the_number_it_had() {
    let fake = Fake::start([Answer::Fails(Kind::Transient)]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let number = RequestNumber {
        client_id: [7; 16],
        sequence: 9,
        sent_after: Some(41),
    };
    cluster.execute_numbered(number, vec![create()]).await.unwrap();
    let sent = fake.script.operations.lock().unwrap().clone();
    assert_eq!(sent.len(), 2);
    for request in sent {
        assert_eq!(request.client_id, vec![7; 16]);
        assert_eq!((request.sequence, request.repeated, request.sent_after), (9, true, 41));
    }
}
