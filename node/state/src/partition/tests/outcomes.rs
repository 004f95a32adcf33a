//! The commit of a transaction that has prepared other partitions, CheckTxn, ResolveIntents, Forget: every outcome leaves a
//! trace, and no trace is lost too early.

use super::*;

/// The part of a transaction at its primary, after the partitions of `other1` and `wide2` were prepared.
fn last(counter: u64, start: u64, commit: u64) -> CommitOnePhase {
    let mut command = one_phase(head(counter, start, "a"), commit, [put("a"), put("ab")]);
    command.prepared = slots(&["other1", "wide2"]);
    command
}

#[test]
fn a_primary_commits_its_part_in_one_phase_and_knows_who_waits_for_the_outcome() {
    let mut partition = Partition::default();
    assert_eq!(partition.one_phase(last(1, 4, 7)), OnePhaseAnswer::Committed(ts(7)));
    assert_eq!(partition.read("a", 6), None);
    assert_eq!(partition.read("ab", 7), Some("value of ab".to_owned()));
    let waits = Unfinished::Unresolved {
        head: head(1, 4, "a"),
        commit_ts: ts(7),
        slots: slots(&["other1", "wide2"]),
    };
    assert_eq!(unfinished(&partition.store, 10).unwrap(), vec![waits]);
}

#[test]
fn a_repeated_commit_answers_the_first_timestamp() {
    let mut partition = Partition::default();
    partition.one_phase(last(1, 4, 7));
    let before = partition.store.clone();
    assert_eq!(partition.one_phase(last(1, 4, 9)), OnePhaseAnswer::Committed(ts(7)));
    assert_eq!(partition.store, before);
}

#[test]
fn a_commit_after_the_tombstone_is_aborted() {
    let mut partition = Partition::default();
    let command = last(1, 4, 7);
    assert_eq!(partition.abort(&command.head), TxnStatus::Aborted);
    assert_eq!(partition.one_phase(command), OnePhaseAnswer::Aborted);
    assert_eq!(partition.read("a", 9), None);
}

#[test]
fn an_abort_that_comes_after_the_commit_hears_that_it_is_committed() {
    let mut partition = Partition::default();
    partition.one_phase(last(1, 4, 7));
    assert_eq!(partition.abort(&head(1, 4, "a")), TxnStatus::Committed(ts(7)));
}

#[test]
fn an_abort_drops_the_intents_that_are_here() {
    let mut partition = Partition::default();
    let command = prepare(head(1, 4, ELSEWHERE), [put("a")]);
    partition.prepare(command.clone());
    assert_eq!(partition.abort(&command.head), TxnStatus::Aborted);
    assert!(!partition.has_intent("a"));
}

#[test]
fn an_asker_rolls_back_only_what_is_past_its_deadline() {
    let mut partition = Partition::default();
    let command = last(1, 4, 7);
    let pending = partition.check(&command.head, DEADLINE_MS, Push::AbortExpired);
    assert_eq!(pending, TxnStatus::Pending);
    let expired = partition.check(&command.head, DEADLINE_MS + 1, Push::AbortExpired);
    assert_eq!(expired, TxnStatus::Aborted);
    assert_eq!(partition.one_phase(command), OnePhaseAnswer::Aborted);
}

#[test]
fn asking_alone_changes_nothing() {
    let mut partition = Partition::default();
    let asked = partition.check(&head(1, 4, "a"), u64::MAX, Push::None);
    assert_eq!(asked, TxnStatus::Pending);
    assert_eq!(partition.store, MemoryStore::default());
}

#[test]
fn a_pushed_transaction_commits_above_the_reader() {
    let mut partition = Partition::default();
    let pushed = partition.check(&head(1, 4, "a"), 0, Push::MinCommit(ts(10)));
    assert_eq!(pushed, TxnStatus::PendingAbove(ts(10)));
    assert_eq!(partition.one_phase(last(1, 4, 10)), OnePhaseAnswer::Retry);
    assert_eq!(partition.read("a", 10), None);
    assert_eq!(partition.one_phase(last(1, 4, 11)), OnePhaseAnswer::Committed(ts(11)));
    assert_eq!(partition.abort(&head(1, 4, "a")), TxnStatus::Committed(ts(11)));
}

#[test]
fn readers_cannot_push_a_transaction_for_ever() {
    let mut partition = Partition::default();
    let pushed = head(1, 4, "a");
    let mut pushes = 0;
    while partition.check(&pushed, 0, Push::MinCommit(ts(10 + pushes))) != TxnStatus::Pending {
        pushes += 1;
        assert!(pushes < 1_000, "no bound");
    }
    assert!(pushes > 1);
    // A reader below the last push still need not wait.
    let below = partition.check(&pushed, 0, Push::MinCommit(ts(5)));
    assert_eq!(below, TxnStatus::PendingAbove(ts(5)));
    let commit = last(1, 4, 10 + pushes);
    assert_eq!(partition.one_phase(commit), OnePhaseAnswer::Committed(ts(10 + pushes)));
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
    let head = head(1, 4, "a");
    partition.one_phase(last(1, 4, 7));
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
    let head = head(1, 4, "a");
    partition.check(&head, 0, Push::MinCommit(ts(5)));
    assert_eq!(partition.record_floor(4), (ts(3), Some(head.clone())));
    let left = unfinished(&partition.store, 10).unwrap();
    assert_eq!(left, vec![Unfinished::Pending(head.clone())]);
    partition.abort(&head);
    assert_eq!(partition.record_floor(4), (ts(4), None));
}

#[test]
fn a_dropped_tombstone_means_gone_and_never_absent() {
    let mut partition = Partition::default();
    let head = head(1, 4, "a");
    partition.abort(&head);
    partition.record_floor(4);
    for push in [Push::None, Push::Abort, Push::MinCommit(ts(50))] {
        assert_eq!(partition.check(&head, u64::MAX, push), TxnStatus::Gone);
    }
    assert_eq!(partition.one_phase(last(1, 4, 9)), OnePhaseAnswer::TooOld);
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
