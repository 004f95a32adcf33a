//! The digest as of one entry, and the scan that proves it.

use super::*;

fn filled() -> Partition {
    let mut partition = Partition::default();
    for number in 1..=20 {
        partition.wrote(number, 2 * number, [put(&format!("k{}", number % 7))]);
    }
    partition.wrote(21, 50, [delete("k3")]);
    partition
}

#[test]
fn a_digest_is_noted_with_the_index_of_its_entry() {
    let mut partition = filled();
    assert_eq!(noted_digest(&partition.store).unwrap(), None);
    assert_eq!(partition.apply(Command::NoteDigest), Answer::DigestNoted);
    let noted = noted_digest(&partition.store).unwrap().unwrap();
    assert_eq!((noted.index, noted.digest), (22, digest(&partition.store).unwrap()));
    partition.wrote(30, 60, [put("other")]);
    assert_eq!(
        noted_digest(&partition.store).unwrap(),
        Some(noted),
        "it stays as of then"
    );
    assert_ne!(noted.digest, digest(&partition.store).unwrap());
}

#[test]
fn a_scan_in_steps_comes_to_the_same_as_one() {
    let partition = filled();
    for max_bytes in [1, 50, 1_000, usize::MAX] {
        let mut scan = DigestScan::default();
        while !scan.step(&partition.store, max_bytes).unwrap() {}
        assert!(
            scan.agrees_with(&partition.store).unwrap(),
            "steps of {max_bytes} bytes"
        );
    }
}

#[test]
fn a_scan_finds_a_value_that_was_changed_behind_the_digest() {
    let mut partition = filled();
    let newest = partition.store.0.iter_mut().find(|(place, _)| place[0] == 2).unwrap();
    *newest.1.last_mut().unwrap() ^= 1;
    let mut scan = DigestScan::default();
    while !scan.step(&partition.store, 64).unwrap() {}
    assert!(!scan.agrees_with(&partition.store).unwrap());
}
