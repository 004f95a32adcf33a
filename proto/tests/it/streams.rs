//! Rows and events: streams that are complete, or say that they are not.

use kotoba_proto::cluster::Search;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::{Consistency, CreateNode, FindNodes, OrderBy, row};
use kotoba_proto::{ClusterError, Options};

use crate::fake::{Answer, Fake, NEWEST_EVENT, OLDEST_EVENT, client};

const AMPLE_MS: u64 = 10_000;

fn ids(rows: Vec<kotoba_proto::v1::Row>) -> Vec<u64> {
    let id = |row: kotoba_proto::v1::Row| match row.kind {
        Some(row::Kind::Node(node)) => node.id,
        other => panic!("a node was expected, not {other:?}"),
    };
    rows.into_iter().map(id).collect()
}

#[tokio::test]
async fn rows_of_all_batches_arrive_with_their_snapshot() {
    let fake = Fake::start([Answer::Fails(Kind::Transient)]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let rows = cluster.execute_query(FindNodes::default()).await.unwrap();
    assert_eq!(rows.snapshot().0, 77);
    assert_eq!(ids(rows.collect().await.unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_an_error_and_not_a_short_answer() {
    let fake = Fake::start([Answer::CutOff]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let rows = cluster.execute_query(FindNodes::default()).await.unwrap();
    let error = rows.collect().await.unwrap_err();
    assert!(matches!(error, ClusterError::NetworkError { .. }), "{error}");
}

#[tokio::test]
async fn fetching_all_rows_starts_again_after_a_cut() {
    let fake = Fake::start([Answer::CutOff]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let rows = cluster.fetch_rows(FindNodes::default()).await.unwrap();
    assert_eq!(ids(rows), [1, 2, 3]);
    assert_eq!(fake.calls(), 2);
}

#[tokio::test]
async fn a_count_fetches_no_rows() {
    let fake = Fake::start([Answer::CutOff]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    assert_eq!(cluster.count(FindNodes::default()).await.unwrap(), 3);
    assert!(fake.script.queries.lock().unwrap().iter().all(|query| query.count_only));
}

#[tokio::test]
async fn pages_follow_the_cursors_to_the_end() {
    let fake = Fake::start([]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let pages_of_one = FindNodes {
        limit: 1,
        ..FindNodes::default()
    };
    let order = [OrderBy::descending("age")];
    let mut pages = cluster.execute_query_in_pages(Search::from(pages_of_one).ordered_by(order.clone()));
    let mut rows = Vec::new();
    while let Some(row) = pages.next().await.unwrap() {
        rows.push(row);
    }
    assert_eq!(ids(rows), [1, 2, 3]);
    let queries = fake.script.queries.lock().unwrap();
    let cursors: Vec<&[u8]> = queries.iter().map(|query| query.cursor.as_ref()).collect();
    assert_eq!(cursors, [&[][..], &[1], &[2]]);
    assert!(queries.iter().all(|query| query.order_by == order));
}

#[tokio::test]
async fn reading_your_writes_carries_the_bookmark_of_the_last_write() {
    let fake = Fake::start([]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let own = cluster.with_options(Options {
        consistency: Consistency::ReadYourWrites,
        ..cluster.options().clone()
    });
    own.execute_operation(CreateNode::default()).await.unwrap();
    own.fetch_rows(FindNodes::default()).await.unwrap();
    cluster.fetch_rows(FindNodes::default()).await.unwrap();
    let queries = fake.script.queries.lock().unwrap();
    assert_eq!(queries.iter().map(|query| query.bookmark).collect::<Vec<_>>(), [55, 0]);
}

#[tokio::test]
async fn events_go_on_where_a_member_left_off() {
    let fakes = [
        Fake::start([]).await,
        Fake::start([Answer::Fails(Kind::NoLeader)]).await,
    ];
    let cluster = client(&[&fakes[0].address, &fakes[1].address], AMPLE_MS);
    let mut events = cluster.subscribe_events().await.unwrap();
    assert_eq!(events.position(), NEWEST_EVENT);
    for position in NEWEST_EVENT + 1..NEWEST_EVENT + 8 {
        assert_eq!(events.next().await.unwrap().position, position);
    }
    assert!(fakes.iter().all(|fake| fake.calls() > 1));
}

#[tokio::test]
async fn events_that_are_lost_are_told_of_and_those_after_them_come() {
    let fake = Fake::start([]).await;
    let cluster = client(&[&fake.address], AMPLE_MS);
    let mut late = cluster.subscribe_events_after(7).await.unwrap();
    let error = late.next().await.unwrap_err();
    assert_eq!(error, ClusterError::EventsLost { oldest: OLDEST_EVENT });
    assert_eq!(late.next().await.unwrap().position, OLDEST_EVENT);
    let mut oldest = cluster.subscribe_events_after(0).await.unwrap();
    assert_eq!(oldest.next().await.unwrap().position, OLDEST_EVENT);
}

#[tokio::test]
async fn events_are_given_up_when_nobody_has_sent_any_for_as_long_as_the_deadline() {
    let fake = Fake::start([]).await;
    let mut events = client(&[&fake.address], 600).subscribe_events().await.unwrap();
    fake.stop().await;
    let mut heard = 0;
    let error = loop {
        match events.next().await {
            Ok(_) => heard += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_unreachable() && heard <= 2, "{error} after {heard}");
}
