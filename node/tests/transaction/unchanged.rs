//! Reads at a timestamp that was not taken for them, which stand as long as nothing has changed since.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kotoba_graph::read::{Answer, Read};
use kotoba_node::transaction::{Coordinator, Here, ReadError, ReadFrom, Request};
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{Command, ConditionKind, Key};

use crate::harness::gate::Gate;
use crate::harness::router::{Fate, Has};
use crate::harness::*;

/// A moment after something had changed.
const A_MOMENT: Duration = Duration::from_millis(150);

async fn read(coordinator: &Coordinator, known: Timestamp, reads: Vec<Read>) -> Result<Vec<Answer>, ReadError> {
    let read = coordinator.read_at(known, ReadFrom::IfUnchanged, reads, usize::MAX);
    within("no answer", read).await
}

/// The same by a member that has followers of all partitions, by one that has their leaders, and by one that has none.
async fn read_one(cluster: &Cluster, known: Timestamp, one: Read) -> Result<Answer, ReadError> {
    let answer = read_from_leader(cluster, known, one.clone()).await;
    for here in [cluster.following_coordinator(), cluster.leading_coordinator()] {
        assert_eq!(read_near(&here, known, one.clone()).await, answer);
    }
    answer
}

async fn read_from_leader(cluster: &Cluster, known: Timestamp, one: Read) -> Result<Answer, ReadError> {
    read_near(&cluster.coordinator(), known, one).await
}

async fn read_near(coordinator: &Coordinator, known: Timestamp, one: Read) -> Result<Answer, ReadError> {
    let read = read(coordinator, known, vec![one]).await;
    read.map(|mut answers| answers.remove(0))
}

fn holds(value: &str) -> Result<Answer, ReadError> {
    Ok(Answer::Value(Some(value.as_bytes().to_vec().into())))
}

#[tokio::test]
async fn a_walk_does_not_see_half_of_a_transaction_that_commits_under_it() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let known = cluster.wrote([put(&a, "before"), put(&b, "before")]).await;
    cluster.recover().await;
    assert_eq!(read_one(&cluster, known, get(&a)).await, holds("before"));
    cluster.wrote([put(&a, "after"), put(&b, "after")]).await;
    cluster.recover().await;
    assert_eq!(read_one(&cluster, known, get(&b)).await, Err(ReadError::Changed));
    let now = cluster.oracle.newest();
    assert_eq!(read_one(&cluster, now, get(&b)).await, holds("after"));
}

#[tokio::test]
async fn a_commit_that_was_acknowledged_before_is_seen_though_its_timestamp_is_not_known() {
    let cluster = Cluster::new(2);
    let (written, other) = (cluster.key(0, "k"), cluster.key(1, "k"));
    let known = cluster.wrote([put(&written, "before")]).await;
    cluster.wrote([put(&written, "after")]).await;
    assert_eq!(read_one(&cluster, known, get(&written)).await, Err(ReadError::Changed));
    assert_eq!(read_one(&cluster, known, get(&other)).await, Ok(Answer::Value(None)));
}

#[tokio::test]
async fn what_is_put_into_a_range_or_deleted_from_it_changes_it() {
    let cluster = Cluster::new(1);
    let key = |name: &str| cluster.key(0, name);
    let range = |from: &str, to: &str| scan(&key(from), &key(to));
    let known = cluster.wrote([put(&key("b"), "1"), put(&key("d"), "1")]).await;
    assert!(read_one(&cluster, known, range("a", "z")).await.is_ok());
    cluster.wrote([delete(&key("b"))]).await;
    let changed = Err(ReadError::Changed);
    assert_eq!(read_one(&cluster, known, range("a", "c")).await, changed);
    assert_eq!(read_one(&cluster, known, get(&key("b"))).await, changed);
    assert!(read_one(&cluster, known, range("c", "z")).await.is_ok());
    cluster.wrote([put(&key("e"), "1")]).await;
    assert_eq!(read_one(&cluster, known, range("c", "z")).await, changed);
    assert!(read_one(&cluster, known, range("c", "e")).await.is_ok());
}

#[tokio::test]
async fn a_page_is_unchanged_where_only_what_lies_behind_it_has_changed() {
    let cluster = Cluster::new(1);
    let key = |name: &str| cluster.key(0, name);
    let known = cluster.wrote(["b", "c", "d"].map(|name| put(&key(name), "1"))).await;
    cluster.wrote([delete(&key("d"))]).await;
    let page = Read::Scan {
        from: key("a"),
        to: key("z"),
        limit: Some(2),
        keys_only: true,
    };
    let Ok(Answer::Pairs { pairs, mut more }) = read_one(&cluster, known, page).await else {
        panic!("nothing of the page has changed");
    };
    assert_eq!(pairs.len(), 2);
    assert_eq!(read_one(&cluster, known, more.remove(0)).await, Err(ReadError::Changed));
}

/// A key of partition 1 whose write is committed, and whose intent is there until the gate opens.
async fn committed_behind_an_intent(cluster: &Cluster) -> (Key, Timestamp, Arc<Gate>) {
    let (primary, other) = (cluster.key(0, "p"), cluster.key(1, "o"));
    let resolving = cluster.router.on_next(Fate::HoldRequest, |partition, request| {
        partition == PartitionId(1) && matches!(request, Request::Resolve { .. })
    });
    let committed = cluster.wrote([put(&primary, "1"), put(&other, "1")]).await;
    resolving.reached().await;
    (other, committed, resolving)
}

/// It may be committed and acknowledged.
#[tokio::test]
async fn behind_an_intent_nothing_is_known() {
    let cluster = Cluster::new(2);
    let (other, committed, resolving) = committed_behind_an_intent(&cluster).await;
    let range = scan(&cluster.key(1, "a"), &cluster.key(1, "z"));
    for read in [get(&other), range] {
        assert_eq!(read_one(&cluster, committed, read).await, Err(ReadError::Changed));
    }
    resolving.open();
    cluster.recover().await;
    assert_eq!(read_one(&cluster, committed, get(&other)).await, holds("1"));
}

/// It has its timestamp, which may be known here, and is not to be seen yet.
#[tokio::test]
async fn a_latch_is_waited_for() {
    let cluster = Cluster::new(2);
    let (key, elsewhere) = (cluster.key(0, "k"), cluster.key(1, "e"));
    let before = cluster.wrote([put(&key, "before")]).await;
    cluster.wrote([put(&elsewhere, "here")]).await;
    let mut writes = only([put(&key, "after")]);
    writes.conditions = vec![condition(&elsewhere, ConditionKind::Exists, false)];
    let refreshing = cluster
        .router
        .on_next(Fate::HoldRequest, |_, request| matches!(request, Request::Refresh(_)));
    let commit = cluster.committing(writes);
    refreshing.reached().await;
    let reading = |known| {
        let (cluster, read) = (cluster.clone(), get(&key));
        tokio::spawn(async move { read_from_leader(&cluster, known, read).await })
    };
    let (mut above, mut below) = (reading(cluster.oracle.newest()), reading(before));
    still_waits(&mut above, "the key is latched").await;
    still_waits(&mut below, "the key is latched").await;
    for known in [cluster.oracle.newest(), before] {
        let near = read_near(&cluster.following_coordinator(), known, get(&key)).await;
        assert_eq!(near, Err(ReadError::Changed), "the key is latched");
    }
    refreshing.open();
    joined(commit).await.expect("nothing is in the way");
    assert_eq!(joined(above).await, holds("after"));
    assert_eq!(joined(below).await, Err(ReadError::Changed));
}

#[tokio::test]
async fn a_new_leader_knows_what_its_predecessor_acknowledged() {
    let cluster = Cluster::new(1);
    let key = cluster.key(0, "k");
    let known = cluster.wrote([put(&key, "before")]).await;
    cluster.wrote([put(&key, "after")]).await;
    cluster.move_leadership(0);
    assert_eq!(read_one(&cluster, known, get(&key)).await, Err(ReadError::Changed));
}

/// It takes itself for the leader, and has not heard of what another one has acknowledged.
#[tokio::test]
async fn a_leader_that_was_deposed_gives_nothing_in_place() {
    let cluster = Cluster::new(1);
    let key = cluster.key(0, "k");
    cluster.wrote([put(&key, "before")]).await;
    let deposed = cluster.coordinator_with(Has::Replicas(0));
    let now = cluster.oracle.newest();
    assert_eq!(read_near(&deposed, now, get(&key)).await, holds("before"));
    cluster.group(0).elect_unheard(1);
    cluster.group(0).hold_follower();
    cluster.wrote([put(&key, "after")]).await;
    let now = cluster.oracle.newest();
    for from in [ReadFrom::IfUnchanged, ReadFrom::Leaders] {
        let read = deposed.read_at(now, from, vec![get(&key)], usize::MAX);
        assert_eq!(
            within("no answer", read).await.map(|mut answers| answers.remove(0)),
            holds("after")
        );
    }
}

/// It has been acknowledged, and the follower has not heard of it.
#[tokio::test(start_paused = true)]
async fn a_follower_that_is_behind_tells_nothing() {
    let cluster = Cluster::new(2);
    let (key, other) = (cluster.key(0, "k"), cluster.key(1, "k"));
    cluster.wrote([put(&key, "before"), put(&other, "before")]).await;
    cluster.recover().await;
    cluster.group(0).hold_follower();
    cluster.wrote([put(&key, "after")]).await;
    let reader = cluster.following_coordinator();
    let now = cluster.oracle.newest();
    let behind = Err(ReadError::Changed);
    assert_eq!(read_near(&reader, now, get(&key)).await, behind);
    // For a moment the leader of that partition is read, and of no other.
    assert_eq!(read_near(&reader, now, get(&key)).await, holds("after"));
    cluster.group(1).hold_follower();
    assert_eq!(read_near(&reader, now, get(&other)).await, holds("before"));
    cluster.wrote([put(&other, "after")]).await;
    assert_eq!(read_near(&reader, cluster.oracle.newest(), get(&other)).await, behind);
    tokio::time::advance(A_MOMENT).await;
    assert_eq!(read_near(&reader, now, get(&key)).await, behind);
    cluster.group(0).release_follower();
    let fresh = cluster.following_coordinator();
    assert_eq!(read_near(&fresh, now, get(&key)).await, holds("after"));
}

/// What its leader has decided it may not have heard of.
#[tokio::test]
async fn what_a_follower_cannot_decide_its_leader_is_asked() {
    let cluster = Cluster::new(2);
    let (other, committed, resolving) = committed_behind_an_intent(&cluster).await;
    cluster.group(1).hold_follower();
    resolving.open();
    cluster.recover().await;
    let near = read_near(&cluster.following_coordinator(), committed, get(&other)).await;
    assert_eq!(near, holds("1"));
}

/// Nothing but the index of its log is asked of it, once.
#[tokio::test]
async fn what_a_follower_has_is_not_read_from_its_leader() {
    let cluster = Cluster::new(1);
    let key = |name: &str| cluster.key(0, name);
    let known = cluster.wrote(["a", "b"].map(|name| put(&key(name), "1"))).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let _requests = cluster.router.on_next(Fate::HoldRequest, move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        true
    });
    let (reader, mut here) = (cluster.following_coordinator(), Here::default());
    for name in ["a", "b"] {
        let read = vec![get(&key(name))];
        let step = reader.read_step(known, ReadFrom::IfUnchanged, read, usize::MAX, &mut here);
        assert_eq!(within("no answer", step).await, Ok(vec![holds("1").unwrap()]));
    }
    assert_eq!(within("no answer", reader.settle(here)).await, Ok(()));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(cluster.router.indexes_asked.load(Ordering::SeqCst), 1);
}

/// The step before it may have been of before a commit that the later ones see, also where that was so long ago that the replica
/// is opened anew.
#[tokio::test(start_paused = true)]
async fn each_step_of_a_query_stands_or_none() {
    for pause in [Duration::ZERO, Duration::from_secs(2)] {
        steps_with(pause).await;
    }
}

async fn steps_with(pause: Duration) {
    let cluster = Cluster::new(1);
    let (first, second) = (cluster.key(0, "a"), cluster.key(0, "b"));
    cluster.wrote([put(&first, "before"), put(&second, "before")]).await;
    cluster.group(0).hold_follower();
    cluster.wrote([put(&first, "after")]).await;
    let known = cluster.oracle.newest();
    let (reader, mut here) = (cluster.following_coordinator(), Here::default());
    for (at, key) in [&first, &second].into_iter().enumerate() {
        let read = vec![get(key)];
        let step = reader.read_step(known, ReadFrom::IfUnchanged, read, usize::MAX, &mut here);
        assert_eq!(
            within("no answer", step).await,
            Ok(vec![holds("before").expect("a value")]),
            "{at}"
        );
        cluster.group(0).release_follower();
        tokio::time::advance(pause).await;
    }
    assert_eq!(within("no answer", reader.settle(here)).await, Err(ReadError::Changed));
}

#[tokio::test]
async fn a_deletion_that_is_not_kept_any_more_is_not_missed() {
    let cluster = Cluster::new(1);
    let key = cluster.key(0, "k");
    let known = cluster.wrote([put(&key, "1")]).await;
    cluster.wrote([delete(&key)]).await;
    let floor = cluster.oracle.issue();
    cluster.group(0).apply(Command::RecordFloor {
        floor,
        max_records: 100,
    });
    cluster.group(0).apply(Command::VersionFloor {
        floor,
        max_versions: 100,
    });
    assert_eq!(read_one(&cluster, known, get(&key)).await, Err(ReadError::Changed));
    assert_eq!(read_one(&cluster, floor, get(&key)).await, Ok(Answer::Value(None)));
}

#[tokio::test(start_paused = true)]
async fn after_a_change_timestamps_are_taken_for_a_moment() {
    let cluster = Cluster::new(1);
    let key = cluster.key(0, "k");
    let coordinator = cluster.coordinator();
    let known = coordinator
        .snapshot_if_unchanged(Timestamp(0))
        .await
        .expect("one was issued");
    assert_eq!(known, cluster.oracle.newest());
    cluster.wrote([put(&key, "1")]).await;
    assert_eq!(
        read(&coordinator, known, vec![get(&key)]).await,
        Err(ReadError::Changed)
    );
    assert_eq!(coordinator.snapshot_if_unchanged(Timestamp(0)).await, None);
    tokio::time::advance(A_MOMENT).await;
    let newest = cluster.oracle.newest();
    assert_eq!(coordinator.snapshot_if_unchanged(newest).await, Some(newest));
    assert_eq!(coordinator.snapshot_if_unchanged(Timestamp(newest.0 + 1)).await, None);
}
