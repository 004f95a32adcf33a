//! Holes 9 to 11: outcomes that come late, twice, or after they were forgotten.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use kotoba_node::transaction::{Reply, Request};
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{
    Answer, Command, Known, PrepareAnswer, Push, ReadAt, Resolved, TxnHead, TxnStatus, read_at, slot_of,
};

use crate::harness::router::Fate;
use crate::harness::*;

fn at(partition: u32, matches: fn(&Request) -> bool) -> impl Fn(PartitionId, &Request) -> bool + Send + 'static {
    move |asked, request| asked == PartitionId(partition) && matches(request)
}

fn is_prepare(request: &Request) -> bool {
    matches!(request, Request::Prepare(_))
}

fn is_commit(request: &Request) -> bool {
    matches!(request, Request::OnePhase(_))
}

fn is_check(request: &Request) -> bool {
    matches!(request, Request::CheckTxn { .. })
}

/// The head of the only transaction with an intent on a partition.
fn only_head(cluster: &Cluster, partition: usize) -> TxnHead {
    let heads = cluster.heads_of_intents(partition);
    assert_eq!(heads.len(), 1, "{heads:?}");
    heads.into_iter().next().expect("one")
}

async fn ask(cluster: &Cluster, head: &TxnHead, push: Push) -> TxnStatus {
    let head = head.clone();
    let home = cluster.partition_of(&head.primary);
    match cluster.send(home, Request::CheckTxn { head, push }).await {
        Ok(Reply::Status(status)) => status,
        other => panic!("{other:?}"),
    }
}

fn raise_record_floor(cluster: &Cluster, partition: usize, floor: Timestamp) {
    let answer = cluster.group(partition).apply(Command::RecordFloor {
        floor,
        max_records: 1_000,
    });
    let reached = Answer::RecordFloor {
        floor,
        blocked_by: None,
    };
    assert_eq!(answer, reached);
    // Write-only transactions start at the newest timestamp, which must be above the floor.
    cluster.oracle.issue();
}

#[tokio::test]
async fn hole_09_a_commit_that_comes_after_the_tombstone_is_refused() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let prepared = cluster.router.on_next(Fate::HoldAnswer, at(1, is_prepare));
    let coordinator = cluster.coordinator();
    let mut commit = pin!(coordinator.begin().commit(only([put(&a, "1"), put(&b, "1")])));
    run_until(&prepared, commit.as_mut()).await;

    // Someone finds the intent at b and no record at a, and ends the transaction.
    let head = only_head(&cluster, 1);
    assert_eq!(cluster.partition_of(&head.primary), 0);
    assert_eq!(ask(&cluster, &head, Push::Abort).await, TxnStatus::Aborted);
    cluster.recover().await;
    prepared.open();
    let commit = within("no end", commit).await;
    assert!(is_conflict(&commit), "{commit:?}");
    assert_eq!((cluster.read_now(&a).await, cluster.read_now(&b).await), (None, None));
}

#[tokio::test]
async fn hole_09_a_reader_before_the_commit_leaves_its_mark() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let late = cluster.router.on_next(Fate::HoldRequest, at(0, is_commit));
    let coordinator = cluster.coordinator();
    let mut commit = pin!(coordinator.begin().commit(only([put(&a, "1"), put(&b, "1")])));
    run_until(&late, commit.as_mut()).await;
    let snapshot = cluster.oracle.issue();
    assert_eq!(cluster.read(&b, snapshot).await, None);
    late.open();
    assert!(within("no end", commit).await.unwrap() > snapshot);
    assert_eq!(cluster.read(&b, snapshot).await, None);
    assert_eq!(cluster.read_now(&b).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn hole_10_a_prepare_and_a_commit_after_the_collected_tombstone_change_nothing() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let late_commit = cluster.router.on_next(Fate::SendLater, at(0, is_commit));
    let prepared = cluster.router.on_next(Fate::HoldAnswer, at(1, is_prepare));
    let coordinator = cluster.coordinator();
    let mut commit = pin!(coordinator.begin().commit(only([put(&a, "1"), put(&b, "1")])));
    run_until(&prepared, commit.as_mut()).await;
    let duplicate = last_prepare(&cluster, 1);
    prepared.open();
    // The commit was sent and is under way; its coordinator aborts, and the client is told so.
    let told = within("no end", commit).await;
    assert!(is_conflict(&told), "{told:?}");
    cluster.recover().await;
    raise_record_floor(&cluster, 0, cluster.oracle.newest());

    // What a late prepare leaves has no record any more, and so was rolled back.
    let answer = cluster.group(1).apply(Command::Prepare(duplicate.clone()));
    assert_eq!(answer, Answer::Prepare(PrepareAnswer::Prepared));
    late_commit.let_through().await;
    assert_eq!((cluster.read_now(&a).await, cluster.read_now(&b).await), (None, None));
    assert_eq!(ask(&cluster, &duplicate.head, Push::None).await, TxnStatus::Gone);
}

/// The last Prepare in a partition's log, as a network that doubles messages would bring it again.
fn last_prepare(cluster: &Cluster, partition: usize) -> kotoba_state::partition::Prepare {
    let log = cluster.group(partition).log();
    let mut prepares = log.into_iter().rev().filter_map(|command| match command {
        Command::Prepare(prepare) => Some(prepare),
        _ => None,
    });
    prepares.next().expect("a prepare in the log")
}

#[tokio::test]
async fn hole_11_no_record_is_not_aborted() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let prepared = cluster.router.on_next(Fate::HoldAnswer, at(1, is_prepare));
    let coordinator = cluster.coordinator();
    let mut commit = pin!(coordinator.begin().commit(only([put(&a, "1"), put(&b, "1")])));
    run_until(&prepared, commit.as_mut()).await;
    let head = only_head(&cluster, 1);
    let follower_is_at = cluster.group(1).entries();
    prepared.open();
    let commit_ts = within("no end", commit).await.unwrap();
    forget(&cluster, &head).await;

    // A replica that lags still shows the intent, and asks.
    let follower = cluster.group(1).store_at(follower_is_at);
    let seen = read_at(&follower, &b, cluster.oracle.newest(), &Known::new()).unwrap();
    assert!(matches!(seen, ReadAt::Blocked(_)), "{seen:?}");
    for push in [Push::None, Push::MinCommit(cluster.oracle.newest()), Push::Abort] {
        assert_eq!(ask(&cluster, &head, push).await, TxnStatus::Gone, "{push:?}");
    }
    assert_eq!(cluster.read(&b, commit_ts).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn hole_11_a_leader_reads_again_after_the_answer_gone() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let prepared = cluster.router.on_next(Fate::HoldAnswer, at(1, is_prepare));
    let coordinator = cluster.coordinator();
    let mut commit = pin!(coordinator.begin().commit(only([put(&a, "1"), put(&b, "1")])));
    run_until(&prepared, commit.as_mut()).await;
    let head = only_head(&cluster, 1);
    let committing = cluster
        .group(0)
        .hold_next(|command| matches!(command, Command::CommitOnePhase(_)));
    prepared.open();
    run_until(&committing, commit.as_mut()).await;

    // The reader's view has the intent; before its question is answered, all traces of the transaction are gone.
    let asking = cluster.router.on_next(Fate::HoldRequest, at(0, is_check));
    let snapshot = cluster.oracle.issue();
    let reader = cluster.reader(&b, snapshot);
    asking.reached().await;
    committing.open();
    let commit_ts = within("no end", commit).await.unwrap();
    assert!(commit_ts < snapshot);
    forget(&cluster, &head).await;
    asking.open();
    assert_eq!(
        joined(reader).await.as_deref(),
        Some("1"),
        "a committed write was missed"
    );
}

/// Resolves a committed transaction everywhere, and drops its record.
async fn forget(cluster: &Cluster, head: &TxnHead) {
    cluster.recover().await;
    let home = cluster.partition_of(&head.primary);
    let slots = [0, 1].map(|partition| slot_of(&cluster.key(partition, "")));
    let forget = Request::Forget(vec![Resolved {
        txn: head.txn,
        slots: slots.into(),
    }]);
    assert_eq!(cluster.send(home, forget).await, Ok(Reply::Forgotten));
    raise_record_floor(cluster, home, cluster.oracle.newest());
    // The version on the primary tells its outcome until it is hidden and collected.
    cluster.wrote([delete(&head.primary)]).await;
    raise_record_floor(cluster, home, cluster.oracle.newest());
    cluster.group(home).apply(Command::VersionFloor {
        floor: cluster.oracle.newest(),
        max_versions: 1_000,
    });
}

#[tokio::test]
async fn a_doubled_prepare_and_a_doubled_commit_change_nothing() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    cluster.router.on_next(Fate::Twice, at(1, is_prepare));
    cluster.router.on_next(Fate::Twice, at(0, is_commit));
    let commit_ts = cluster.wrote([put(&a, "1"), put(&b, "1")]).await;
    cluster.recover().await;
    for key in [&a, &b] {
        assert_eq!(cluster.read(key, commit_ts).await.as_deref(), Some("1"));
        assert_eq!(cluster.read(key, Timestamp(commit_ts.0 - 1)).await, None);
    }
}

#[tokio::test]
async fn a_commit_that_comes_again_is_told_as_committed_though_its_own_version_is_in_its_way() {
    let cluster = Cluster::new(2);
    let (a, b, other) = (cluster.key(0, "a"), cluster.key(1, "b"), cluster.key(1, "other"));
    let sent: Arc<Mutex<Option<Request>>> = Arc::default();
    let keep = sent.clone();
    let commits = move |_, request: &Request| {
        *keep.lock().unwrap() = Some(request.clone());
        true
    };
    cluster.router.on_next(Fate::Twice, commits);
    cluster.wrote([put(&b, "1")]).await;
    let commit = sent.lock().unwrap().take().expect("it was sent");
    let told = cluster.send(1, commit.clone()).await;
    // With somebody's intent here commits are judged before they are proposed.
    let open = cluster.router.on_next(Fate::HoldRequest, at(0, is_commit));
    let beside = cluster.committing(only([put(&a, "2"), put(&other, "2")]));
    within("it was not sent", open.reached()).await;
    only_head(&cluster, 1);
    assert_eq!(cluster.send(1, commit).await, told);
    open.open();
    joined(beside).await.expect("nothing is in its way");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_told_as_committed() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    cluster.router.on_next(Fate::LoseAnswer, at(0, is_commit));
    let commit_ts = cluster.wrote([put(&a, "1"), put(&b, "1")]).await;
    for key in [&a, &b] {
        assert_eq!(cluster.read(key, commit_ts).await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_commit_that_comes_after_its_client_was_told_aborted_is_refused() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let late = cluster.router.on_next(Fate::SendLater, at(0, is_commit));
    let told = joined(cluster.committing(only([put(&a, "1"), put(&b, "1")]))).await;
    assert!(is_conflict(&told), "{told:?}");
    late.let_through().await;
    cluster.recover().await;
    assert_eq!((cluster.read_now(&a).await, cluster.read_now(&b).await), (None, None));
}

#[tokio::test]
async fn an_acknowledged_creation_is_no_missing_node_to_the_next_transaction() {
    // Its intent on the other partition may not be resolved yet when its client goes on.
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "node"));
    cluster.router.on_next(Fate::HoldRequest, |_, request| {
        matches!(request, Request::Resolve { .. })
    });
    cluster.wrote([put(&a, "1"), put(&b, "node")]).await;
    let mut writes = only([put(&cluster.key(1, "edge"), "edge")]);
    writes.conditions = vec![condition(&b, kotoba_state::partition::ConditionKind::Exists, true)];
    let created = joined(cluster.committing(writes)).await;
    assert!(created.is_ok(), "{created:?}");
}
