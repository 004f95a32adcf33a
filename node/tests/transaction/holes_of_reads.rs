//! Holes 5 to 7, 12 and 13: what a transaction has read or required, and when.

use std::pin::pin;

use kotoba_graph::read::Read;
use kotoba_node::transaction::message::Refresh;
use kotoba_node::transaction::{CommitError, Failure, ReadError, Request, Writes};
use kotoba_state::ids::PartitionId;
use kotoba_state::partition::{Command, ConditionKind, Key, Span, TxnHead, TxnId};

use crate::harness::router::Fate;
use crate::harness::*;

/// Two nodes on two partitions, and the keys of an edge between them.
struct Edge {
    source: Key,
    target: Key,
    out_half: Key,
    in_half: Key,
    /// All incoming edges of the target.
    in_range: Read,
}

impl Edge {
    async fn between_two_nodes(cluster: &Cluster) -> Self {
        let edge = Edge {
            source: cluster.key(0, "node"),
            target: cluster.key(1, "node"),
            out_half: cluster.key(0, "out:edge"),
            in_half: cluster.key(1, "in:edge"),
            in_range: scan(&cluster.key(1, "in:"), &cluster.key(1, "in;")),
        };
        cluster
            .wrote([put(&edge.source, "source"), put(&edge.target, "target")])
            .await;
        cluster.recover().await;
        edge
    }

    /// What creates the edge: no reads, no locks, only guarded conditions.
    fn creation(&self) -> Writes {
        let mut writes = only([put(&self.out_half, "edge"), put(&self.in_half, "edge")]);
        writes.conditions = vec![
            condition(&self.source, ConditionKind::Exists, true),
            condition(&self.target, ConditionKind::Exists, true),
        ];
        writes
    }

    /// What deletes the target, on two partitions; its own is prepared, the other is the primary.
    fn deletion(&self, cluster: &Cluster) -> Writes {
        only([delete(&self.target), put(&cluster.key(0, "log"), "deleted")])
    }

    async fn assert_not_dangling(&self, cluster: &Cluster) {
        for half in [&self.out_half, &self.in_half] {
            if cluster.read_now(half).await.is_some() {
                assert!(cluster.read_now(&self.target).await.is_some(), "dangling edge");
            }
        }
    }
}

fn is_refresh(_: PartitionId, request: &Request) -> bool {
    matches!(request, Request::Refresh(_))
}

fn is_commit(command: &Command) -> bool {
    matches!(command, Command::CommitOnePhase(_))
}

fn is_prepare(_: PartitionId, request: &Request) -> bool {
    matches!(request, Request::Prepare(_))
}

#[tokio::test]
async fn hole_05_node_exists_refuses_a_deletion_that_is_prepared() {
    let cluster = Cluster::new(2);
    let edge = Edge::between_two_nodes(&cluster).await;
    let coordinator = cluster.coordinator();
    let mut deletion = coordinator.begin();
    assert_eq!(
        pairs(deletion.read(vec![edge.in_range.clone()]).await.unwrap().remove(0)),
        []
    );

    // The deletion is prepared and has its timestamp; the edge comes; then the deletion looks at its range again.
    let refreshing = cluster.router.on_next(Fate::HoldRequest, is_refresh);
    let mut deletion = pin!(deletion.commit(edge.deletion(&cluster)));
    run_until(&refreshing, deletion.as_mut()).await;
    let created = within("no end", cluster.coordinator().begin().commit(edge.creation())).await;
    refreshing.open();
    let deleted = within("no end", deletion).await;

    cluster.recover().await;
    edge.assert_not_dangling(&cluster).await;
    assert!(is_conflict(&created), "{created:?}");
    assert!(deleted.is_ok(), "{deleted:?}");
}

#[tokio::test]
async fn hole_06_a_deletion_looks_at_its_ranges_when_it_prepares() {
    let cluster = Cluster::new(2);
    let edge = Edge::between_two_nodes(&cluster).await;
    let coordinator = cluster.coordinator();
    let mut deletion = coordinator.begin();
    assert_eq!(
        pairs(deletion.read(vec![edge.in_range.clone()]).await.unwrap().remove(0)),
        []
    );

    // The edge is prepared everywhere and will take its timestamp after the deletion has taken its own.
    let prepared = cluster.router.on_next(Fate::HoldAnswer, is_prepare);
    let edge_coordinator = cluster.coordinator();
    let mut creation = pin!(edge_coordinator.begin().commit(edge.creation()));
    run_until(&prepared, creation.as_mut()).await;
    let refreshing = cluster.router.on_next(Fate::HoldRequest, is_refresh);
    let mut deletion = pin!(deletion.commit(edge.deletion(&cluster)));
    let deleted = tokio::select! {
        deleted = deletion.as_mut() => Some(deleted),
        () = refreshing.reached() => None,
    };
    prepared.open();
    let created = within("no end", creation).await;
    refreshing.open();
    let deleted = match deleted {
        Some(deleted) => deleted,
        None => within("no end", deletion).await,
    };

    cluster.recover().await;
    edge.assert_not_dangling(&cluster).await;
    assert!(created.is_ok(), "{created:?}");
    assert!(is_conflict(&deleted), "{deleted:?}");
}

#[tokio::test]
async fn hole_07_an_unguarded_condition_holds_at_the_commit_timestamp() {
    let cluster = Cluster::new(3);
    let k = cluster.key(2, "k");
    let mut writes = only([put(&cluster.key(0, "a"), "1"), put(&cluster.key(1, "b"), "1")]);
    writes.conditions = vec![condition(&k, ConditionKind::Absent, false)];
    hole_07(&cluster, &k, writes).await;
}

#[tokio::test]
async fn hole_07_also_where_the_partition_of_the_condition_is_written() {
    let cluster = Cluster::new(2);
    let k = cluster.key(0, "k");
    let mut writes = only([put(&cluster.key(0, "a"), "1"), put(&cluster.key(1, "b"), "1")]);
    writes.conditions = vec![condition(&k, ConditionKind::Absent, false)];
    hole_07(&cluster, &k, writes).await;
}

async fn hole_07(cluster: &Cluster, k: &Key, writes: Writes) {
    let prepared = cluster.router.on_next(Fate::HoldAnswer, is_prepare);
    let coordinator = cluster.coordinator();
    let mut t0 = pin!(coordinator.begin().commit(writes));
    run_until(&prepared, t0.as_mut()).await;
    cluster.wrote([put(k, "now it is there")]).await;
    prepared.open();
    let t0 = within("no end", t0).await;
    assert_eq!(t0, Err(CommitError::ConditionFailed(k.clone())));
    cluster.recover().await;
    assert_eq!(cluster.read_now(&cluster.key(0, "a")).await, None);
}

#[tokio::test]
async fn hole_12_a_commit_timestamp_is_taken_after_the_last_prepare() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    // Both prepares are done, and the answer of one is still on its way.
    let prepared = cluster.router.on_next(Fate::HoldAnswer, |partition, request| {
        partition == PartitionId(1) && is_prepare(partition, request)
    });
    let coordinator = cluster.coordinator();
    let mut transaction = coordinator.begin();
    // Whoever kept a batch from here would have timestamps below the reader's.
    transaction.snapshot().await.unwrap();
    let snapshot = cluster.oracle.issue();
    assert_eq!(cluster.read(&a, snapshot).await, None);
    let mut commit = pin!(transaction.commit(only([put(&a, "1"), put(&b, "1")])));
    run_until(&prepared, commit.as_mut()).await;
    let later = cluster.oracle.issue();
    prepared.open();
    let commit_ts = within("no end", commit).await.unwrap();
    assert!(
        commit_ts > later,
        "{commit_ts} was taken before the last prepare, at or below {later}"
    );
    assert_eq!(cluster.read(&a, snapshot).await, None);
    assert_eq!(cluster.read(&a, commit_ts).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn hole_12_a_snapshot_is_above_every_commit_that_was_acknowledged_before() {
    let cluster = Cluster::new(2);
    let reader = cluster.coordinator();
    // This member has taken timestamps before; it must not use what it then knew.
    reader.begin().snapshot().await.unwrap();
    for round in 0..10 {
        let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
        let value_now = round.to_string();
        let commit_ts = cluster.wrote([put(&a, &value_now), put(&b, &value_now)]).await;
        let mut transaction = reader.begin();
        assert!(transaction.snapshot().await.unwrap() > commit_ts);
        let seen: Vec<_> = transaction
            .read(vec![get(&a), get(&b)])
            .await
            .unwrap()
            .into_iter()
            .map(value)
            .collect();
        assert_eq!(seen, [Some(value_now.clone()), Some(value_now)]);
    }
}

#[tokio::test]
async fn hole_13_a_snapshot_below_the_collected_versions_is_refused() {
    let cluster = Cluster::new(2);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;
    let coordinator = cluster.coordinator();
    let (mut reader, mut writer, mut refresher) = (coordinator.begin(), coordinator.begin(), coordinator.begin());
    for transaction in [&mut reader, &mut writer, &mut refresher] {
        transaction.snapshot().await.unwrap();
    }
    refresher.read(vec![get(&k)]).await.unwrap();

    cluster.wrote([delete(&k)]).await;
    let floor = cluster.oracle.issue();
    cluster.group(0).apply(Command::RecordFloor {
        floor,
        max_records: 100,
    });
    cluster.group(0).apply(Command::VersionFloor {
        floor,
        max_versions: 100,
    });
    assert_eq!(
        reader.read(vec![get(&k)]).await,
        Err(ReadError::TooOld),
        "reads that it was never there"
    );
    let written = writer.commit(only([put(&k, "over a deletion it did not see")])).await;
    assert!(written.is_err(), "{written:?}");
    let refreshed = refresher.commit(only([put(&cluster.key(1, "a"), "1")])).await;
    assert!(is_conflict(&refreshed), "{refreshed:?}");
    let later = cluster.oracle.issue();
    assert_eq!(cluster.read(&k, later).await, None);
}

#[tokio::test]
async fn a_transaction_that_took_too_long_is_told_that_nothing_was_applied() {
    let cluster = Cluster::new(2);
    let coordinator = cluster.coordinator();
    let (mut one_phase, mut two_phase) = (coordinator.begin(), coordinator.begin());
    one_phase.snapshot().await.unwrap();
    two_phase.snapshot().await.unwrap();
    cluster.group(0).apply(Command::RecordFloor {
        floor: cluster.oracle.issue(),
        max_records: 100,
    });
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let two_phase = two_phase.commit(only([put(&a, "1"), put(&b, "1")])).await;
    assert!(is_conflict(&two_phase), "{two_phase:?}");
    let one_phase = one_phase.commit(only([put(&a, "1")])).await;
    assert!(is_conflict(&one_phase), "{one_phase:?}");
}

#[tokio::test]
async fn a_pushed_writer_commits_above_the_reader_that_did_not_wait() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    cluster.wrote([put(&a, "old"), put(&b, "old")]).await;
    let committing = cluster.group(0).hold_next(is_commit);
    let coordinator = cluster.coordinator();
    let mut commit = pin!(coordinator.begin().commit(only([put(&a, "new"), put(&b, "new")])));
    run_until(&committing, commit.as_mut()).await;
    // The writer has its timestamp already, below the snapshot.
    let snapshot = cluster.oracle.issue();
    assert_eq!(cluster.read(&b, snapshot).await.as_deref(), Some("old"));
    committing.open();
    assert!(within("no end", commit).await.unwrap() > snapshot);
    for key in [&a, &b] {
        assert_eq!(cluster.read(key, snapshot).await.as_deref(), Some("old"));
        assert_eq!(cluster.read_now(key).await.as_deref(), Some("new"));
    }
}

#[tokio::test]
async fn a_pushed_writer_refreshes_its_reads_again() {
    let cluster = Cluster::new(3);
    let (a, b, r) = (cluster.key(0, "a"), cluster.key(1, "b"), cluster.key(2, "r"));
    cluster.wrote([put(&r, "read")]).await;
    let coordinator = cluster.coordinator();
    let mut transaction = coordinator.begin();
    transaction.read(vec![get(&r)]).await.unwrap();
    let committing = cluster.group(0).hold_next(is_commit);
    let mut commit = pin!(transaction.commit(only([put(&a, "new"), put(&b, "new")])));
    run_until(&committing, commit.as_mut()).await;
    // What it read changes above its first commit timestamp, and a reader pushes it above that change.
    cluster.wrote([put(&r, "changed")]).await;
    assert_eq!(cluster.read_now(&b).await, None);
    committing.open();
    let commit = within("no end", commit).await;
    assert!(is_conflict(&commit), "committed on a stale read: {commit:?}");
}

#[tokio::test]
async fn a_key_that_appears_in_the_gap_of_a_read_range_is_a_conflict() {
    let cluster = Cluster::new(2);
    let range = scan(&cluster.key(0, "a"), &cluster.key(0, "z"));
    for written in [
        vec![cluster.key(1, "w")],
        vec![cluster.key(0, "zz")],
        vec![cluster.key(0, "zzz"), cluster.key(1, "ww")],
    ] {
        let coordinator = cluster.coordinator();
        let mut transaction = coordinator.begin();
        transaction.read(vec![range.clone()]).await.unwrap();
        cluster
            .wrote([put(&cluster.key(0, &format!("m{}", cluster.oracle.newest())), "new")])
            .await;
        let commit = transaction.commit(only(written.iter().map(|key| put(key, "1")))).await;
        assert!(is_conflict(&commit), "writes {written:?}: {commit:?}");
    }
}

#[tokio::test]
async fn a_leader_that_has_not_heard_of_its_end_answers_neither_reads_nor_refreshes() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;
    let deposed = cluster.router.served()[0].leaders[0].clone();
    cluster.group(0).elect_unheard(1);
    let start_ts = cluster.oracle.issue();
    cluster.wrote([put(&k, "new")]).await;

    let read = Request::Read {
        snapshot: cluster.oracle.issue(),
        reads: vec![get(&k)],
        max_bytes: usize::MAX,
    };
    let refresh = Request::Refresh(Refresh {
        head: TxnHead {
            txn: TxnId::default(),
            start_ts,
            primary: cluster.key(0, "elsewhere"),
            deadline_ms: u64::MAX,
        },
        commit_ts: cluster.oracle.issue(),
        spans: vec![Span::Key(k)],
        conditions: Vec::new(),
    });
    for request in [read, refresh] {
        let answer = deposed.handle(request).await;
        assert!(matches!(answer, Err(Failure::NotLeader { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_refresh_refuses_a_writer_that_is_not_decided() {
    let cluster = Cluster::new(3);
    let (k, a) = (cluster.key(1, "k"), cluster.key(0, "a"));
    cluster.wrote([put(&k, "old"), put(&a, "old")]).await;
    cluster.recover().await;
    let coordinator = cluster.coordinator();
    let mut t1 = coordinator.begin();
    t1.read(vec![get(&k)]).await.unwrap();

    // T0 has prepared k and has its timestamp, below the one that T1 will take.
    let committing = cluster.group(0).hold_next(is_commit);
    let other = cluster.coordinator();
    let mut t0 = pin!(other.begin().commit(only([put(&k, "new"), put(&a, "new")])));
    run_until(&committing, t0.as_mut()).await;
    let writes = only([put(&cluster.key(0, "b"), "1"), put(&cluster.key(2, "c"), "1")]);
    let t1 = within("no end", t1.commit(writes)).await;
    committing.open();
    assert!(within("no end", t0).await.is_ok());
    assert!(is_conflict(&t1), "committed on a stale read: {t1:?}");
}

#[tokio::test]
async fn of_two_blind_writers_of_a_key_the_one_that_started_before_the_other_committed_is_refused() {
    let cluster = Cluster::new(2);
    let (a, b) = (cluster.key(0, "a"), cluster.key(1, "b"));
    let coordinator = cluster.coordinator();
    for second in [vec![&a], vec![&a, &b]] {
        let mut late = coordinator.begin();
        late.snapshot().await.unwrap();
        cluster.wrote([put(&a, "first"), put(&b, "first")]).await;
        cluster.recover().await;
        let late = late.commit(only(second.into_iter().map(|key| put(key, "late")))).await;
        assert!(is_conflict(&late), "{late:?}");
    }
}
