//! Prepare: rules (a), (b), (c), idempotence, and late messages.

use super::*;

#[test]
fn rule_a_a_written_key_with_a_newer_version_is_refused() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("k")]);
    let late = prepare(head(2, 4, "k"), [put("k")]);
    let refusal = Refusal::WriteConflict { key: key("k") };
    assert_eq!(partition.prepare(late), PrepareAnswer::Refused(refusal));
    let fresh = prepare(head(3, 5, "k"), [put("k")]);
    assert_eq!(partition.prepare(fresh), PrepareAnswer::Prepared);
}

#[test]
fn rule_a_a_deletion_counts_as_a_newer_version() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [delete("k")]);
    let refusal = Refusal::WriteConflict { key: key("k") };
    let late = prepare(head(2, 4, "k"), [put("k")]);
    assert_eq!(partition.prepare(late), PrepareAnswer::Refused(refusal));
}

#[test]
fn rule_b_a_read_key_that_changed_since_is_refused() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("r")]);
    let mut reader = prepare(head(2, 4, "k"), [put("k")]);
    reader.reads = vec![Span::Key(key("r"))];
    let refusal = Refusal::ReadConflict { key: key("r") };
    assert_eq!(partition.prepare(reader.clone()), PrepareAnswer::Refused(refusal));
    reader.head.start_ts = ts(5);
    assert_eq!(partition.prepare(reader), PrepareAnswer::Prepared);
}

#[test]
fn rule_b_a_key_that_appeared_in_the_gap_of_a_read_range_is_refused() {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put("ra"), put("rz")]);
    partition.wrote(2, 5, [put("rm")]);
    let mut reader = prepare(head(3, 4, "k"), [put("k")]);
    reader.reads = vec![range("ra", "rz")];
    let refusal = Refusal::ReadConflict { key: key("rm") };
    assert_eq!(partition.prepare(reader.clone()), PrepareAnswer::Refused(refusal));
    reader.reads = vec![range("ra", "rm"), range("rn", "rz")];
    assert_eq!(partition.prepare(reader), PrepareAnswer::Prepared);
}

#[test]
fn rule_b_a_foreign_intent_inside_a_read_range_is_refused() {
    let mut partition = Partition::default();
    let other = head(1, 3, ELSEWHERE);
    partition.prepare(prepare(other.clone(), [put("rm")]));
    let mut reader = prepare(head(2, 4, "k"), [put("k")]);
    reader.reads = vec![range("ra", "rz")];
    let refusal = Refusal::Intent {
        key: key("rm"),
        holder: other,
    };
    assert_eq!(partition.prepare(reader), PrepareAnswer::Refused(refusal));
    assert!(!partition.has_intent("k"));
}

#[test]
fn rule_b_covers_the_same_range_of_many_slots() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [(slot_key(7, b"label"), Op::Put(vec![1]))]);
    let mut reader = prepare(head(2, 4, "k"), [put("k")]);
    let slots = |first, last| Span::Slots {
        first,
        last,
        suffix_from: b"la".to_vec(),
        suffix_to: b"lb".to_vec(),
    };
    reader.reads = vec![slots(0, 6), slots(8, 4_095)];
    assert_eq!(partition.prepare(reader.clone()), PrepareAnswer::Prepared);
    reader.head.txn = txn(3);
    partition.abort(&head(2, 4, "k"));
    reader.reads = vec![slots(3, 7)];
    let key = slot_key(7, b"label");
    let refusal = Refusal::ReadConflict { key };
    assert_eq!(partition.prepare(reader), PrepareAnswer::Refused(refusal));
}

#[test]
fn rule_c_a_key_with_a_foreign_intent_is_refused_whatever_its_start() {
    let mut partition = Partition::default();
    let other = head(1, 9, ELSEWHERE);
    partition.prepare(prepare(other.clone(), [put("k")]));
    let refusal = Refusal::Intent {
        key: key("k"),
        holder: other,
    };
    for start in [2, 20] {
        let second = prepare(head(start, start, "k"), [put("k")]);
        assert_eq!(partition.prepare(second), PrepareAnswer::Refused(refusal.clone()));
    }
}

#[test]
fn a_refused_prepare_leaves_nothing_behind() {
    let mut partition = Partition::default();
    partition.wrote(1, 5, [put("b")]);
    let before = partition.store.clone();
    partition.prepare(prepare(head(2, 4, "a"), [put("a"), put("b")]));
    assert_eq!(partition.store, before);
}

#[test]
fn a_repeated_prepare_answers_as_the_first_and_changes_nothing() {
    let mut partition = Partition::default();
    let command = prepare(head(1, 4, "a"), [put("a"), delete("b")]);
    partition.prepare(command.clone());
    let before = partition.store.clone();
    assert_eq!(partition.prepare(command), PrepareAnswer::Prepared);
    assert_eq!(partition.store, before);
}

#[test]
fn a_prepare_below_the_version_floor_is_too_old() {
    let mut partition = Partition::default();
    partition.version_floor(9, 100);
    let late = prepare(head(1, 8, ELSEWHERE), [put("a")]);
    assert_eq!(partition.prepare(late), PrepareAnswer::Refused(Refusal::TooOld));
    let at_the_floor = prepare(head(2, 9, ELSEWHERE), [put("a")]);
    assert_eq!(partition.prepare(at_the_floor), PrepareAnswer::Prepared);
}

#[test]
fn the_hint_of_the_leader_is_in_the_intents() {
    let mut partition = Partition::default();
    let mut command = prepare(head(1, 4, "a"), [put("a")]);
    command.min_commit_hint = ts(8);
    partition.prepare(command);
    assert_eq!(partition.read("a", 7), None, "a reader below the hint need not ask");
    assert!(partition.read_knowing("a", 8, &Known::new()).is_err());
}
