//! CommitOnePhase: idempotence, epoch, closed timestamps, tombstones.

use super::*;

#[test]
fn a_one_phase_commit_writes_all_at_its_timestamp() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("a"), put("b")]);
    partition.wrote(2, 8, [delete("a"), put_value("b", "second")]);
    assert_eq!(partition.read("a", 7), Some("value of a".to_owned()));
    assert_eq!(partition.read("a", 8), None);
    assert_eq!(partition.read("b", 8), Some("second".to_owned()));
    assert_eq!(partition.read("b", 4), None);
}

#[test]
fn a_second_attempt_hears_the_timestamp_of_the_first() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("a")]);
    partition.wrote(2, 8, [put_value("a", "overwritten")]);
    let again = one_phase(head(1, 4, ""), 9, [put("a")]);
    assert_eq!(partition.one_phase(again), OnePhaseAnswer::Committed(ts(5)));
    assert_eq!(partition.read("a", 20), Some("overwritten".to_owned()));
}

#[test]
fn an_entry_latched_under_another_leadership_is_not_applied() {
    let mut partition = Partition::default();
    let command = one_phase(head(1, 4, ""), 5, [put("a")]);
    let before = partition.store.clone();
    assert_eq!(partition.one_phase_in_term(TERM + 2, command), OnePhaseAnswer::Retry);
    assert_eq!(partition.store, before);
}

#[test]
fn a_commit_at_or_below_the_closed_timestamp_is_not_applied() {
    let mut partition = Partition::default();
    partition.apply(Command::CloseTs { closed: ts(5) });
    let below = one_phase(head(1, 4, ""), 5, [put("a")]);
    assert_eq!(partition.one_phase(below), OnePhaseAnswer::Retry);
    let above = one_phase(head(1, 4, ""), 6, [put("a")]);
    assert_eq!(partition.one_phase(above), OnePhaseAnswer::Committed(ts(6)));
}

#[test]
fn a_refusal_leaves_a_tombstone_against_an_earlier_attempt() {
    let mut partition = Partition::default();
    let blocker = head(2, 3, ELSEWHERE);
    partition.prepare(prepare(blocker.clone(), [put("a")]));
    let attempt = one_phase(head(1, 4, ""), 6, [put("a")]);
    let refusal = Refusal::Intent {
        key: key("a"),
        holder: blocker,
    };
    assert_eq!(partition.one_phase(attempt.clone()), OnePhaseAnswer::Refused(refusal));
    partition.resolve(2, Decided::Aborted);
    assert_eq!(partition.one_phase(attempt), OnePhaseAnswer::Aborted);
    assert_eq!(partition.read("a", 20), None);
}

#[test]
fn an_abort_in_the_log_keeps_the_request_that_is_still_under_way_out() {
    let mut partition = Partition::default();
    let attempt = one_phase(head(1, 4, ""), 6, [put("a")]);
    assert_eq!(partition.abort(&attempt.head), TxnStatus::Aborted);
    assert_eq!(partition.one_phase(attempt), OnePhaseAnswer::Aborted);
}

#[test]
fn an_abort_after_the_commit_hears_that_it_is_committed() {
    let mut partition = Partition::default();
    let attempt = one_phase(head(1, 4, ""), 6, [put("b"), put("a")]);
    partition.one_phase(attempt.clone());
    partition.wrote(2, 9, [put_value("a", "overwritten")]);
    assert_eq!(partition.abort(&attempt.head), TxnStatus::Committed(ts(6)));
}

#[test]
fn the_versions_that_stand_for_a_record_outlive_the_record_floor() {
    let mut partition = Partition::default();
    let attempt = one_phase(head(1, 4, ""), 6, [put("a")]);
    partition.one_phase(attempt.clone());
    partition.wrote(2, 9, [put_value("a", "overwritten")]);
    // The version floor alone collects nothing: the outcome of transaction 1 would be lost.
    partition.version_floor(20, 100);
    assert_eq!(partition.abort(&attempt.head), TxnStatus::Committed(ts(6)));
    partition.record_floor(20);
    partition.version_floor(20, 100);
    assert_eq!(partition.abort(&attempt.head), TxnStatus::Gone);
    assert_eq!(partition.one_phase(attempt), OnePhaseAnswer::TooOld);
}

#[test]
fn a_late_attempt_below_the_record_floor_is_too_old() {
    let mut partition = Partition::default();
    partition.record_floor(9);
    let late = one_phase(head(1, 9, ""), 12, [put("a")]);
    assert_eq!(partition.one_phase(late), OnePhaseAnswer::TooOld);
}

#[test]
fn a_start_below_the_version_floor_is_refused_for_good() {
    let mut partition = Partition::default();
    partition.version_floor(9, 100);
    let late = one_phase(head(1, 8, ""), 12, [put("a")]);
    assert_eq!(
        partition.one_phase(late.clone()),
        OnePhaseAnswer::Refused(Refusal::TooOld)
    );
    assert_eq!(partition.one_phase(late), OnePhaseAnswer::Aborted);
}

#[test]
fn a_changed_read_refuses_a_one_phase_commit() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("r")]);
    let mut reader = one_phase(head(2, 4, ""), 8, [put("a")]);
    reader.reads = vec![range("q", "s")];
    let refusal = Refusal::ReadConflict { key: key("r") };
    assert_eq!(partition.one_phase(reader), OnePhaseAnswer::Refused(refusal));
}
