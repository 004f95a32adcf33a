//! Commit, CheckTxn, ResolveIntents, Forget: every outcome leaves a trace, and no trace is lost too early.

use super::*;

fn prepared(partition: &mut Partition, counter: u64, start: u64) -> TxnHead {
    let head = head(counter, start, "a");
    let mut command = prepare(head.clone(), [put("a"), put("ab")]);
    command.participants = slots(&["a", "other1", "wide2"]);
    assert_eq!(partition.prepare(command), PrepareAnswer::Prepared);
    head
}

#[test]
fn a_commit_turns_the_intents_of_the_primary_into_versions() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    assert_eq!(partition.commit(&head, 7), CommitAnswer::Committed(ts(7)));
    assert!(!partition.has_intent("a") && !partition.has_intent("ab"));
    assert_eq!(partition.read("a", 6), None);
    assert_eq!(partition.read("ab", 7), Some("value of ab".to_owned()));
}

#[test]
fn a_repeated_commit_answers_the_first_timestamp() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    partition.commit(&head, 7);
    let before = partition.store.clone();
    assert_eq!(partition.commit(&head, 9), CommitAnswer::Committed(ts(7)));
    assert_eq!(partition.store, before);
}

#[test]
fn a_commit_never_creates_a_record() {
    let mut partition = Partition::default();
    let head = head(1, 4, "a");
    assert_eq!(partition.commit(&head, 7), CommitAnswer::Aborted);
    assert_eq!(partition.store, MemoryStore::default());
    partition.check(&head, 0, Push::MinCommit(ts(5)));
    assert_eq!(
        partition.commit(&head, 7),
        CommitAnswer::Aborted,
        "a reader's mark is no prepare"
    );
}

#[test]
fn a_commit_after_the_tombstone_is_aborted() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    assert_eq!(partition.abort(&head), TxnStatus::Aborted);
    assert!(!partition.has_intent("a"));
    assert_eq!(partition.commit(&head, 7), CommitAnswer::Aborted);
    assert_eq!(partition.read("a", 9), None);
}

#[test]
fn an_abort_that_comes_after_the_commit_hears_that_it_is_committed() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    partition.commit(&head, 7);
    assert_eq!(partition.abort(&head), TxnStatus::Committed(ts(7)));
}

#[test]
fn an_abort_of_an_absent_transaction_leaves_a_tombstone() {
    let mut partition = Partition::default();
    let command = prepare(head(1, 4, "a"), [put("a")]);
    assert_eq!(partition.abort(&command.head), TxnStatus::Aborted);
    assert_eq!(partition.prepare(command), PrepareAnswer::Aborted);
}

#[test]
fn an_asker_rolls_back_only_what_is_past_its_deadline() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    let pending = partition.check(&head, DEADLINE_MS, Push::AbortExpired);
    assert_eq!(pending, TxnStatus::Pending);
    assert!(partition.has_intent("a"));
    let expired = partition.check(&head, DEADLINE_MS + 1, Push::AbortExpired);
    assert_eq!(expired, TxnStatus::Aborted);
    assert!(!partition.has_intent("a"));
}

#[test]
fn asking_alone_changes_nothing() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    let before = partition.store.clone();
    assert_eq!(partition.check(&head, u64::MAX, Push::None), TxnStatus::Pending);
    assert_eq!(partition.store, before);
}

#[test]
fn a_pushed_transaction_commits_above_the_reader() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    let pushed = partition.check(&head, 0, Push::MinCommit(ts(10)));
    assert_eq!(pushed, TxnStatus::PendingAbove(ts(10)));
    assert_eq!(partition.commit(&head, 10), CommitAnswer::Pushed(ts(11)));
    assert!(partition.has_intent("a"));
    assert_eq!(partition.commit(&head, 11), CommitAnswer::Committed(ts(11)));
}

#[test]
fn a_push_before_the_prepare_is_not_forgotten_by_it() {
    let mut partition = Partition::default();
    partition.check(&head(1, 4, "a"), 0, Push::MinCommit(ts(10)));
    let head = prepared(&mut partition, 1, 4);
    assert_eq!(partition.commit(&head, 10), CommitAnswer::Pushed(ts(11)));
}

#[test]
fn readers_cannot_push_a_transaction_for_ever() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    let mut pushes = 0;
    while partition.check(&head, 0, Push::MinCommit(ts(10 + pushes))) != TxnStatus::Pending {
        pushes += 1;
        assert!(pushes < 1_000, "no bound");
    }
    assert!(pushes > 1);
    // A reader below the last push still need not wait.
    let below = partition.check(&head, 0, Push::MinCommit(ts(5)));
    assert_eq!(below, TxnStatus::PendingAbove(ts(5)));
    assert_eq!(
        partition.commit(&head, 10 + pushes),
        CommitAnswer::Committed(ts(10 + pushes))
    );
}

#[test]
fn a_commit_at_or_below_the_start_is_pushed_up() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    assert_eq!(partition.commit(&head, 4), CommitAnswer::Pushed(ts(5)));
}

#[test]
fn resolving_touches_only_the_intents_of_that_transaction() {
    let mut partition = Partition::default();
    partition.prepare(prepare(head(1, 4, ELSEWHERE), [put("a"), delete("b")]));
    partition.prepare(prepare(head(2, 4, ELSEWHERE), [put("c")]));
    partition.resolve(1, Decided::Committed(ts(7)));
    assert_eq!(partition.read("a", 7), Some("value of a".to_owned()));
    assert!(partition.has_intent("c"));
    partition.resolve(2, Decided::Aborted);
    assert!(!partition.has_intent("c"));
    assert_eq!(partition.read("c", 100), None);
}

#[test]
fn a_repeated_resolution_is_a_no_op_even_after_others_have_written() {
    let mut partition = Partition::default();
    partition.prepare(prepare(head(1, 4, ELSEWHERE), [put("a")]));
    partition.resolve(1, Decided::Committed(ts(7)));
    partition.wrote(2, 9, [put_value("a", "newer")]);
    let before = partition.store.clone();
    partition.resolve(1, Decided::Committed(ts(7)));
    partition.resolve(1, Decided::Aborted);
    assert_eq!(partition.store, before);
}

#[test]
fn a_committed_record_outlives_its_last_intent() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    partition.commit(&head, 7);
    let (floor, blocked_by) = partition.record_floor(20);
    assert_eq!((floor, blocked_by), (ts(3), Some(head.clone())));
    partition.forget(1, slots(&["other1"]));
    assert_eq!(
        partition.record_floor(20).0,
        ts(3),
        "one participant is still unresolved"
    );
    let left = unfinished(&partition.store, 10).unwrap();
    let expected = Unfinished::Unresolved {
        head: head.clone(),
        commit_ts: ts(7),
        slots: slots(&["wide2"]),
    };
    assert_eq!(left, vec![expected]);
    partition.forget(1, slots(&["wide2"]));
    assert_eq!(partition.record_floor(20), (ts(20), None));
    assert_eq!(unfinished(&partition.store, 10).unwrap(), vec![]);
}

#[test]
fn the_record_floor_waits_for_a_pending_transaction() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    assert_eq!(partition.record_floor(4), (ts(3), Some(head.clone())));
    let left = unfinished(&partition.store, 10).unwrap();
    assert_eq!(left, vec![Unfinished::Pending(head.clone())]);
    partition.abort(&head);
    assert_eq!(partition.record_floor(4), (ts(4), None));
}

#[test]
fn a_dropped_tombstone_means_gone_and_never_absent() {
    let mut partition = Partition::default();
    let head = prepared(&mut partition, 1, 4);
    partition.abort(&head);
    partition.record_floor(4);
    for push in [Push::None, Push::Abort, Push::MinCommit(ts(50))] {
        assert_eq!(partition.check(&head, u64::MAX, push), TxnStatus::Gone);
    }
    assert_eq!(partition.commit(&head, 9), CommitAnswer::Gone);
}

#[test]
fn the_record_floor_looks_at_a_bounded_number_of_records() {
    let mut partition = Partition::default();
    for counter in 1..=10 {
        partition.abort(&head(counter, counter, "a"));
    }
    let mut step = || {
        partition.apply(Command::RecordFloor {
            floor: ts(100),
            max_records: 4,
        })
    };
    let reached = |floor| Answer::RecordFloor {
        floor: ts(floor),
        blocked_by: None,
    };
    assert_eq!([step(), step(), step()], [reached(4), reached(8), reached(100)]);
}

#[test]
fn expired_intents_are_found_a_bounded_number_at_a_time() {
    let mut partition = Partition::default();
    for (counter, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let mut head = head(counter, 4, ELSEWHERE);
        head.deadline_ms = counter * 10;
        partition.prepare(prepare(head, [put(name)]));
    }
    let (expired, next) = expired_intents(&partition.store, &[], 25, 2).unwrap();
    let keys: Vec<Key> = expired.into_iter().map(|met| met.key).collect();
    assert_eq!((keys, next.clone()), (vec![key("a"), key("b")], Some(key("c"))));
    let (expired, next) = expired_intents(&partition.store, &next.unwrap(), 25, 2).unwrap();
    assert_eq!((expired, next), (vec![], None));
}
