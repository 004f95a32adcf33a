//! Rows and events: streams that are complete, or say that they are not.

use kotoba_proto::cluster::Search;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::{Consistency, CreateNode, EventKind, FindNodes, OrderBy, row};
use kotoba_proto::{ClusterError, Options};

use crate::fake::{Answer, Fake, client};

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
async fn events_arrive_in_order_until_the_member_ends_them() {
    let fake = Fake::start([]).await;
    let mut events = client(&[&fake.address], AMPLE_MS).subscribe_events().await.unwrap();
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await.unwrap() {
        kinds.push(event.kind());
    }
    assert_eq!(kinds, [EventKind::NodeJoined, EventKind::LeaderElected]);
}
