//! Holes 1 to 4, 8 and 14: transactions that write one partition. Number 14 is not in the reference: what a one-phase transaction
//! reads or requires beside its writes, and a writer of that with a smaller timestamp and a later entry (decision 91).
//!
//! "Remove the rule" was tried for each: what is then seen is said in the comment at the assertion that fails.

use std::pin::pin;

use kotoba_node::transaction::message::{OnePhase, OnePhaseReply};
use kotoba_node::transaction::{Coordinator, Failure, ReadFrom, Reply, Request, Transaction};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{
    Answer, Command, ConditionKind, Decided, Key, Op, Prepare, PrepareAnswer, Push, TxnHead, TxnId, TxnStatus,
};

use crate::harness::router::Fate;
use crate::harness::*;

fn is_one_phase(command: &Command) -> bool {
    matches!(command, Command::CommitOnePhase(_))
}

/// A one-phase request as a coordinator sends it.
fn one_phase(cluster: &Cluster, counter: u64, writes: impl IntoIterator<Item = (Key, Op)>) -> OnePhase {
    let writes: std::collections::BTreeMap<Key, Op> = writes.into_iter().collect();
    let head = TxnHead {
        txn: TxnId {
            member: 1_000.into(),
            incarnation: 1,
            counter,
        },
        start_ts: cluster.oracle.newest(),
        primary: writes.keys().next().expect("it writes").clone(),
        deadline_ms: u64::MAX,
    };
    OnePhase {
        head,
        writes,
        reads: Vec::new(),
        conditions: Vec::new(),
        elsewhere: Vec::new(),
        prepared: Default::default(),
    }
}

/// The intent of a transaction on another partition, put there as its Prepare does.
fn foreign_intent(cluster: &Cluster, partition: usize, key: &Key, primary: &Key) -> TxnHead {
    let head = TxnHead {
        txn: TxnId {
            member: 2_000.into(),
            incarnation: 1,
            counter: 1,
        },
        start_ts: cluster.oracle.issue(),
        primary: primary.clone(),
        deadline_ms: u64::MAX,
    };
    let prepare = Prepare {
        head: head.clone(),
        writes: [put(key, "prepared")].into(),
        reads: Vec::new(),
        conditions: Vec::new(),
        min_commit_hint: Timestamp(0),
    };
    let answer = cluster.group(partition).apply(Command::Prepare(prepare));
    assert_eq!(answer, Answer::Prepare(PrepareAnswer::Prepared));
    head
}

#[tokio::test]
async fn hole_01_a_reader_never_misses_a_one_phase_commit_in_flight() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;

    let in_flight = cluster.group(0).hold_next(is_one_phase);
    let writer = cluster.committing(only([put(&k, "new")]));
    in_flight.reached().await;
    let snapshot = cluster.oracle.issue();
    let mut reader = cluster.reader(&k, snapshot);
    still_waits(&mut reader, "the key is latched").await;

    in_flight.open();
    let commit_ts = joined(writer).await.unwrap();
    assert!(commit_ts < snapshot);
    assert_eq!(joined(reader).await.as_deref(), Some("new"));
}

#[tokio::test]
async fn hole_01_a_range_with_a_latched_key_inside_waits_too() {
    let cluster = Cluster::new(1);
    let in_flight = cluster.group(0).hold_next(is_one_phase);
    let writer = cluster.committing(only([put(&cluster.key(0, "m"), "new")]));
    in_flight.reached().await;
    let snapshot = cluster.oracle.issue();
    let (coordinator, range) = (cluster.coordinator(), scan(&cluster.key(0, "a"), &cluster.key(0, "z")));
    let mut reader = tokio::spawn(async move {
        coordinator
            .read_at(snapshot, ReadFrom::Leaders, vec![range], usize::MAX)
            .await
    });
    still_waits(&mut reader, "a key inside is latched").await;
    in_flight.open();
    joined(writer).await.unwrap();
    assert_eq!(pairs(joined(reader).await.unwrap().remove(0)).len(), 1);
}

#[tokio::test]
async fn hole_02_a_refresh_never_misses_a_one_phase_commit_in_flight() {
    let cluster = Cluster::new(3);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;

    let coordinator = cluster.coordinator();
    let mut t1 = coordinator.begin();
    assert_eq!(
        value(t1.read(vec![get(&k)]).await.unwrap().remove(0)).as_deref(),
        Some("old")
    );
    let in_flight = cluster.group(0).hold_next(is_one_phase);
    let t0 = cluster.committing(only([put(&k, "new")]));
    in_flight.reached().await;

    // T1 prepares elsewhere, takes its timestamp after T0's, and looks at k while T0 is on its way.
    let writes = only([put(&cluster.key(1, "a"), "1"), put(&cluster.key(2, "b"), "1")]);
    let t1 = within("a commit did not end", t1.commit(writes)).await;
    in_flight.open();
    assert!(joined(t0).await.unwrap() < cluster.oracle.newest());
    assert!(is_conflict(&t1), "committed on a stale read: {t1:?}");
}

#[tokio::test]
async fn hole_02_the_refresh_of_a_one_phase_transaction_sees_latches_elsewhere() {
    let cluster = Cluster::new(2);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;
    let coordinator = cluster.coordinator();
    let mut t1 = coordinator.begin();
    t1.read(vec![get(&k)]).await.unwrap();
    let in_flight = cluster.group(0).hold_next(is_one_phase);
    let t0 = cluster.committing(only([put(&k, "new")]));
    in_flight.reached().await;
    let t1 = within(
        "a commit did not end",
        t1.commit(only([put(&cluster.key(1, "a"), "1")])),
    )
    .await;
    in_flight.open();
    joined(t0).await.unwrap();
    assert!(is_conflict(&t1), "committed on a stale read: {t1:?}");
}

/// A transaction that has read a key, and will write another one beside it.
async fn has_read<'c>(cluster: &Cluster, coordinator: &'c Coordinator, key: &Key) -> Transaction<'c> {
    cluster.wrote([put(key, "old")]).await;
    let mut transaction = coordinator.begin();
    transaction.read(vec![get(key)]).await.expect("nothing is in the way");
    transaction
}

#[tokio::test]
async fn hole_14_a_one_phase_commit_waits_for_a_writer_of_what_it_has_read() {
    let cluster = Cluster::new(1);
    let (r, w) = (cluster.key(0, "r"), cluster.key(0, "w"));
    let coordinator = cluster.coordinator();
    let reader = has_read(&cluster, &coordinator, &r).await;
    // The writer has the smaller timestamp, and its entry comes later.
    let in_flight = cluster.group(0).hold_next(is_one_phase);
    let writer = cluster.committing(only([put(&r, "new")]));
    in_flight.reached().await;
    let mut commit = pin!(reader.commit(only([put(&w, "follows from old")])));
    still_waits(&mut commit, "what it read is being written").await;
    in_flight.open();
    joined(writer).await.unwrap();
    let commit = within("no end", commit).await;
    assert!(is_conflict(&commit), "committed above what it did not read: {commit:?}");
}

#[tokio::test]
async fn hole_14_a_writer_waits_for_a_one_phase_commit_that_has_read_what_it_writes() {
    let cluster = Cluster::new(1);
    let (r, w) = (cluster.key(0, "r"), cluster.key(0, "w"));
    let coordinator = cluster.coordinator();
    let reader = has_read(&cluster, &coordinator, &r).await;
    let in_flight = cluster.group(0).hold_next(is_one_phase);
    let mut commit = pin!(reader.commit(only([put(&w, "follows from old")])));
    run_until(&in_flight, commit.as_mut()).await;
    let mut writer = cluster.committing(only([put(&r, "new")]));
    still_waits(&mut writer, "somebody who has read it commits").await;
    in_flight.open();
    let read_at = within("no end", commit).await.unwrap();
    assert!(joined(writer).await.unwrap() > read_at);
}

#[tokio::test]
async fn hole_14_holds_for_what_is_required_and_not_guarded() {
    let cluster = Cluster::new(1);
    let (absent, w) = (cluster.key(0, "absent"), cluster.key(0, "w"));
    let in_flight = cluster.group(0).hold_next(is_one_phase);
    let writer = cluster.committing(only([put(&absent, "now it is there")]));
    in_flight.reached().await;
    let mut writes = only([put(&w, "1")]);
    writes.conditions = vec![condition(&absent, ConditionKind::Absent, false)];
    let mut commit = cluster.committing(writes);
    still_waits(&mut commit, "what it requires is being made false").await;
    in_flight.open();
    joined(writer).await.unwrap();
    assert!(joined(commit).await.is_err());
    assert_eq!(cluster.read_now(&w).await, None);
}

#[tokio::test]
async fn hole_03_a_proposal_that_outlives_its_leadership_is_not_applied_below_readers() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;

    let queued = cluster.group(0).hold_next(is_one_phase);
    let writer = cluster.committing(only([put(&k, "new")]));
    queued.reached().await;
    cluster.lose_and_regain_leadership(0);
    let snapshot = cluster.oracle.issue();
    assert_eq!(cluster.read(&k, snapshot).await.as_deref(), Some("old"));

    queued.open();
    let commit_ts = joined(writer).await.unwrap();
    assert!(
        commit_ts > snapshot,
        "applied below a reader: {commit_ts} <= {snapshot}"
    );
    assert_eq!(cluster.read(&k, snapshot).await.as_deref(), Some("old"));
    assert_eq!(cluster.read_now(&k).await.as_deref(), Some("new"));
}

#[tokio::test]
async fn hole_03_readers_that_wait_at_a_latch_fail_at_step_down() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;
    let queued = cluster.group(0).hold_next(is_one_phase);
    let writer = cluster.committing(only([put(&k, "new")]));
    queued.reached().await;

    let leader = cluster.router.served()[0].leaders[0].clone();
    let read = Request::Read {
        snapshot: cluster.oracle.issue(),
        reads: vec![get(&k)],
        max_bytes: usize::MAX,
    };
    let mut reader = tokio::spawn(async move { leader.handle(read).await });
    still_waits(&mut reader, "the key is latched").await;
    cluster.lose_and_regain_leadership(0);
    let answer = joined(reader).await;
    assert!(
        matches!(answer, Err(Failure::NotLeader { .. })),
        "released by the step-down: {answer:?}"
    );
    queued.open();
    joined(writer).await.unwrap();
}

#[tokio::test]
async fn hole_03_another_leader_refuses_what_the_old_one_latched() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;
    let queued = cluster.group(0).hold_next(is_one_phase);
    let writer = cluster.committing(only([put(&k, "new")]));
    queued.reached().await;
    cluster.move_leadership(0);
    let snapshot = cluster.oracle.issue();
    assert_eq!(cluster.read(&k, snapshot).await.as_deref(), Some("old"));
    queued.open();
    // The old leader answers that it does not lead, and the request goes to the new one.
    assert!(joined(writer).await.unwrap() > snapshot);
    assert_eq!(cluster.read(&k, snapshot).await.as_deref(), Some("old"));
}

#[tokio::test]
async fn hole_04a_a_second_attempt_does_not_take_the_first_for_a_conflict() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    let request = one_phase(&cluster, 1, [put(&k, "new")]);
    let first = cluster.send(0, Request::OnePhase(request.clone())).await;
    let Ok(Reply::OnePhase(OnePhaseReply::Committed(_))) = &first else {
        panic!("{first:?}");
    };
    let second = cluster.send(0, Request::OnePhase(request)).await;
    assert_eq!(second, first);
}

#[tokio::test]
async fn hole_04a_a_commit_whose_answer_was_lost_is_told_as_committed() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    cluster
        .router
        .on_next(Fate::LoseAnswer, |_, request| matches!(request, Request::OnePhase(_)));
    let commit_ts = cluster.wrote([put(&k, "new")]).await;
    assert_eq!(cluster.read(&k, commit_ts).await.as_deref(), Some("new"));
    assert_eq!(cluster.read(&k, Timestamp(commit_ts.0 - 1)).await, None);
}

#[tokio::test]
async fn hole_04b_a_request_under_way_does_not_apply_after_its_client_was_told_aborted() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    let late = cluster
        .router
        .on_next(Fate::SendLater, |_, request| matches!(request, Request::OnePhase(_)));
    let told = joined(cluster.committing(only([put(&k, "new")]))).await;
    assert!(is_conflict(&told), "{told:?}");
    late.let_through().await;
    assert_eq!(cluster.read_now(&k).await, None, "told aborted, is committed");
}

#[tokio::test]
async fn hole_04b_a_proposal_under_way_does_not_apply_after_its_client_was_told_aborted() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    let late = cluster.group(0).lose_next(is_one_phase);
    let told = joined(cluster.committing(only([put(&k, "new")]))).await;
    assert!(is_conflict(&told), "{told:?}");
    late.let_through().await;
    assert_eq!(cluster.read_now(&k).await, None, "told aborted, is committed");
}

#[tokio::test]
async fn hole_04c_a_refused_attempt_leaves_a_tombstone_against_the_one_before() {
    let cluster = Cluster::new(2);
    let k = cluster.key(0, "k");
    let request = one_phase(&cluster, 1, [put(&k, "new")]);
    // The first attempt sits in the leader's queue and nobody waits for it any more.
    let first = cluster.group(0).lose_next(is_one_phase);
    assert_eq!(
        cluster.send(0, Request::OnePhase(request.clone())).await,
        Err(Failure::Unknown)
    );
    let other = foreign_intent(&cluster, 0, &k, &cluster.key(1, "primary"));
    let second = cluster.send(0, Request::OnePhase(request.clone())).await;
    assert!(
        matches!(second, Ok(Reply::OnePhase(OnePhaseReply::Refused(_)))),
        "{second:?}"
    );
    cluster.group(0).apply(Command::ResolveIntents {
        txn: other.txn,
        decided: Decided::Aborted,
    });
    first.let_through().await;
    assert_eq!(cluster.read_now(&k).await, None, "told aborted, is committed");
    let asked = Request::CheckTxn {
        head: request.head,
        push: Push::None,
    };
    assert_eq!(cluster.send(0, asked).await, Ok(Reply::Status(TxnStatus::Aborted)));
}

#[tokio::test]
async fn hole_04_a_second_attempt_keeps_its_latch_when_the_first_gives_up() {
    let cluster = Cluster::new(1);
    let k = cluster.key(0, "k");
    cluster.wrote([put(&k, "old")]).await;
    let request = one_phase(&cluster, 1, [put(&k, "new")]);
    let first_queued = cluster.group(0).hold_next(is_one_phase);
    let second_queued = cluster.group(0).hold_next(is_one_phase);
    let send = || {
        let (cluster, request) = (cluster.clone(), request.clone());
        tokio::spawn(async move { cluster.send(0, Request::OnePhase(request)).await })
    };
    let first = send();
    first_queued.reached().await;
    // Above the first attempt's commit timestamp: it will have to take another one.
    let closed = cluster.oracle.issue();
    let mut second = send();
    let joined_the_first = tokio::time::timeout(std::time::Duration::from_millis(40), second_queued.reached()).await;
    let snapshot = cluster.oracle.issue();
    cluster.group(0).apply(Command::CloseTs { closed });
    let mut reader = cluster.reader(&k, snapshot);
    still_waits(&mut reader, "an attempt is in flight").await;
    first_queued.open();
    if joined_the_first.is_ok() {
        still_waits(&mut second, "it is held").await;
        still_waits(&mut reader, "the second attempt is in flight below the snapshot").await;
    }
    second_queued.open();
    let answers = (joined(first).await, joined(second).await);
    assert_eq!(answers.0, answers.1);
    let Ok(Reply::OnePhase(OnePhaseReply::Committed(commit_ts))) = answers.0 else {
        panic!("{answers:?}");
    };
    let seen = joined(reader).await;
    let expected = if commit_ts <= snapshot { "new" } else { "old" };
    assert_eq!(
        seen.as_deref(),
        Some(expected),
        "committed at {commit_ts}, read at {snapshot}"
    );
    assert_eq!(cluster.read(&k, snapshot).await, seen);
}

#[tokio::test]
async fn hole_08_a_one_phase_condition_is_not_met_from_the_future() {
    let cluster = Cluster::new(1);
    let (node, edge) = (cluster.key(0, "node"), cluster.key(0, "edge"));
    let queued = cluster.group(0).hold_next(is_one_phase);
    let mut writes = only([put(&edge, "edge")]);
    writes.conditions = vec![condition(&node, ConditionKind::Exists, true)];
    let edge_writer = cluster.committing(writes);
    queued.reached().await;
    let created = cluster.wrote([put(&node, "node")]).await;
    queued.open();
    match joined(edge_writer).await {
        Ok(commit_ts) => assert!(commit_ts > created, "the edge is older than its node"),
        Err(error) => assert!(is_conflict(&Err::<(), _>(error.clone())), "{error:?}"),
    }
    let before = Timestamp(created.0 - 1);
    assert_eq!(cluster.read(&edge, before).await, None);
}
