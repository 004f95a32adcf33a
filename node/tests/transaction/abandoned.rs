//! Transactions whose coordinator does not carry on: who meets what they left does not wait for long, and those that are slow and
//! alive are waited for.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kotoba_node::transaction::{LeaderSettings, Request};
use kotoba_state::ids::PartitionId;
use kotoba_state::partition::Key;

use crate::harness::router::Fate;
use crate::harness::*;

/// No transaction is over for its age.
fn patient() -> LeaderSettings {
    LeaderSettings {
        transaction_lifetime: Duration::from_secs(3_600),
        ..quiet()
    }
}

/// A transaction that is prepared at `b` when its member dies; it would have been decided at `a`.
async fn abandoned() -> (Arc<Cluster>, Key, Key, Doom) {
    let cluster = Cluster::with_settings(2, &patient());
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let (coordinator, doom) = cluster.doomed_coordinator(1);
    let writes = only([put(&a, "left"), put(&b, "left")]);
    let commit = tokio::spawn(async move { coordinator.begin().commit(writes).await });
    within("the member did not die", doom.death.cancelled()).await;
    commit.abort();
    assert_eq!(cluster.heads_of_intents(1).len(), 1);
    (cluster, a, b, doom)
}

#[tokio::test]
async fn a_writer_does_not_wait_for_a_member_that_is_silent() {
    let (cluster, a, b, _) = abandoned().await;
    cluster.wrote([put(&b, "new")]).await;
    assert_eq!(cluster.read_now(&b).await.as_deref(), Some("new"));
    assert_eq!(cluster.read_now(&a).await, None);
}

#[tokio::test]
async fn readers_do_not_wait_for_a_member_that_is_silent() {
    let (cluster, _, b, _) = abandoned().await;
    // So many that they are not let pass by pushing it any more.
    for _ in 0..20 {
        assert_eq!(cluster.read_now(&b).await, None);
    }
}

#[tokio::test]
async fn a_member_that_was_started_again_says_at_once_that_it_knows_nothing_of_it() {
    let (cluster, _, b, doom) = abandoned().await;
    cluster.restart(&doom);
    cluster.wrote([put(&b, "new")]).await;
    assert_eq!(cluster.router.coordinators_asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_transaction_that_its_coordinator_carries_on_is_waited_for() {
    let cluster = Cluster::with_settings(2, &patient());
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let at_a = |asked, request: &Request| asked == PartitionId(0) && matches!(request, Request::OnePhase(_));
    let late = cluster.router.on_next(Fate::HoldRequest, at_a);
    let coordinator = cluster.coordinator();
    let mut commit = pin!(coordinator.begin().commit(only([put(&a, "1"), put(&b, "1")])));
    run_until(&late, commit.as_mut()).await;
    // As long as a writer waits, which is longer than a silent member would have.
    let writer = cluster.committing(only([put(&b, "2")]));
    let other = joined(writer).await;
    assert!(is_conflict(&other), "{other:?}");
    assert!(cluster.router.coordinators_asked.load(Ordering::SeqCst) > 1);
    late.open();
    let committed = within("no end", commit).await.expect("nobody may have rolled it back");
    assert_eq!(cluster.read(&a, committed).await.as_deref(), Some("1"));
    assert_eq!(cluster.read(&b, committed).await.as_deref(), Some("1"));
}
