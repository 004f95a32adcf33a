//! Version collection: what may go, what must stay, and that a command does only so much.

use super::*;

/// A partition with both floors raised, so that versions may go.
fn collect(partition: &mut Partition, floor: u64, max_versions: u32) -> bool {
    partition.record_floor(floor);
    partition.version_floor(floor, max_versions)
}

fn versions(partition: &Partition) -> usize {
    partition.store.0.keys().filter(|place| place[0] == 2).count()
}

#[test]
fn hidden_versions_go_and_the_visible_ones_stay() {
    let mut partition = Partition::default();
    for commit in [2, 4, 6, 8] {
        partition.wrote(commit, commit, [put_value("k", &commit.to_string())]);
    }
    assert!(!collect(&mut partition, 6, 100));
    assert_eq!(versions(&partition), 2);
    assert_eq!(partition.read("k", 6), Some("6".to_owned()));
    assert_eq!(partition.read("k", 8), Some("8".to_owned()));
}

#[test]
fn a_deletion_goes_with_everything_below_it() {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put("k")]);
    partition.wrote(2, 4, [delete("k")]);
    assert!(!collect(&mut partition, 4, 100));
    assert_eq!(versions(&partition), 0);
    assert_eq!(partition.read("k", 4), None);
}

#[test]
fn a_deletion_above_the_floor_stays_with_what_it_hides() {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put("k")]);
    partition.wrote(2, 6, [delete("k")]);
    collect(&mut partition, 5, 100);
    assert_eq!(partition.read("k", 5), Some("value of k".to_owned()));
    assert_eq!(versions(&partition), 2);
}

#[test]
fn a_key_under_an_intent_is_left_until_it_is_resolved() {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put("k")]);
    partition.wrote(2, 4, [delete("k")]);
    partition.prepare(prepare(head(3, 5, ELSEWHERE), [put("k")]));
    assert!(!collect(&mut partition, 5, 100), "another command would not help");
    assert_eq!(versions(&partition), 2);
    partition.resolve(3, Decided::Aborted);
    assert!(!collect(&mut partition, 5, 100));
    assert_eq!(versions(&partition), 0);
}

#[test]
fn a_front_that_intents_hold_calls_for_no_further_command() {
    let mut partition = Partition::default();
    for (at, name) in [(2, "a"), (4, "b"), (6, "c")] {
        partition.wrote(at, at, [put(name)]);
        partition.wrote(at + 1, at + 1, [delete(name)]);
    }
    partition.prepare(prepare(head(8, 8, ELSEWHERE), [put("a"), put("b")]));
    assert!(!collect(&mut partition, 8, 2), "both that it may look at are held");
    assert!(!collect(&mut partition, 8, 3), "it came to the end of the queue");
    assert_eq!(versions(&partition), 4, "what nobody holds is gone");
    partition.resolve(8, Decided::Aborted);
    assert!(collect(&mut partition, 8, 1));
    assert!(!collect(&mut partition, 8, 2));
    assert_eq!(versions(&partition), 0);
}

#[test]
fn one_command_drops_a_bounded_number_and_the_next_goes_on() {
    let mut partition = Partition::default();
    for commit in 2..=30u64 {
        partition.wrote(commit, commit, [put_value("k", &commit.to_string())]);
    }
    partition.record_floor(30);
    let mut commands = 0;
    loop {
        let before = versions(&partition);
        let more = partition.version_floor(30, 5);
        assert!(before - versions(&partition) <= 5);
        assert_eq!(partition.read("k", 30), Some("30".to_owned()));
        commands += 1;
        assert!(commands < 100, "no progress");
        if !more {
            break;
        }
    }
    assert_eq!(versions(&partition), 1);
    assert!(
        partition.store.0.keys().all(|place| place[0] != 7),
        "the garbage queue is empty"
    );
}

#[test]
fn one_entry_that_hides_more_than_a_command_may_drop_is_done_in_parts() {
    let mut partition = Partition::default();
    // Only the last entry's turn comes with all older versions still there: the others wait under an intent.
    for commit in 2..=20u64 {
        partition.wrote(commit, commit, [put_value("k", &commit.to_string())]);
    }
    partition.wrote(21, 21, [delete("k")]);
    partition.record_floor(21);
    partition.store.0.retain(|place, _| place[0] != 7 || place[8] == 21);
    let mut commands = 0;
    while partition.version_floor(21, 4) {
        assert_eq!(partition.read("k", 21), None, "an older version came back");
        commands += 1;
        assert!(commands < 100, "no progress");
    }
    assert!(commands >= 4);
    assert_eq!(versions(&partition), 0);
}

fn put_temporary(name: &str) -> (Key, Op) {
    (key(name), Op::PutTemporary(b"for now".to_vec()))
}

#[test]
fn a_temporary_version_is_read_as_any_other_until_the_floor_passes_it() {
    let mut partition = Partition::default();
    partition.wrote(1, 4, [put_temporary("k"), put("other")]);
    collect(&mut partition, 3, 100);
    assert_eq!(partition.read("k", 4), Some("for now".to_owned()));
    assert!(!collect(&mut partition, 4, 100));
    assert_eq!(partition.read("k", 5), None);
    assert_eq!(versions(&partition), 1);
    assert_eq!(
        digest(&partition.store).unwrap(),
        digest_by_scan(&partition.store).unwrap()
    );
}

#[test]
fn a_temporary_version_that_was_overwritten_goes_without_what_hides_it() {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put_temporary("k")]);
    partition.wrote(2, 6, [put("k")]);
    collect(&mut partition, 4, 100);
    assert_eq!(partition.read("k", 6), Some("value of k".to_owned()));
    assert!(!collect(&mut partition, 6, 100));
    assert_eq!(versions(&partition), 1);
    assert_eq!(
        digest(&partition.store).unwrap(),
        digest_by_scan(&partition.store).unwrap()
    );
}
