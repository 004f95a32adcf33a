//! Reads at a snapshot: versions, intents of all outcomes, pages.

use super::*;

const ALL: ScanLimits = ScanLimits {
    pairs: 1_000,
    bytes: 1 << 20,
};

fn intent_at(start: u64) -> Partition {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put_value("k", "old")]);
    partition.prepare(prepare(head(2, start, ELSEWHERE), [put_value("k", "new")]));
    partition
}

fn read_with(partition: &Partition, snapshot: u64, settled: Settled) -> Result<Option<String>, TxnId> {
    partition.read_knowing("k", snapshot, &Known::from([(txn(2), settled)]))
}

#[test]
fn an_intent_that_started_before_the_snapshot_blocks_until_its_outcome_is_known() {
    let partition = intent_at(4);
    assert_eq!(partition.read_knowing("k", 5, &Known::new()), Err(txn(2)));
    assert_eq!(partition.read("k", 4), Some("old".to_owned()));
}

#[test]
fn a_committed_intent_is_read_where_it_is_not_above_the_snapshot() {
    let partition = intent_at(4);
    let committed = Settled::Committed(ts(7));
    assert_eq!(read_with(&partition, 6, committed), Ok(Some("old".to_owned())));
    assert_eq!(read_with(&partition, 7, committed), Ok(Some("new".to_owned())));
}

#[test]
fn a_rolled_back_or_pushed_intent_is_ignored() {
    let partition = intent_at(4);
    let old = Ok(Some("old".to_owned()));
    assert_eq!(read_with(&partition, 7, Settled::RolledBack), old);
    assert_eq!(read_with(&partition, 7, Settled::Above(ts(7))), old);
    assert_eq!(
        read_with(&partition, 8, Settled::Above(ts(7))),
        Err(txn(2)),
        "pushed too low"
    );
}

#[test]
fn a_scan_merges_versions_and_intents_in_key_order() {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put("a"), put("c"), put("e"), put("g")]);
    partition.prepare(prepare(head(2, 3, ELSEWHERE), [put("b"), delete("c")]));
    partition.prepare(prepare(head(3, 3, ELSEWHERE), [put("f")]));
    let known = Known::from([(txn(2), Settled::Committed(ts(4)))]);
    let page = scan_at(&partition.store, b"a", b"g", ts(9), ALL, false, &known).unwrap();
    let keys: Vec<&[u8]> = page.pairs.iter().map(|(key, _)| key.as_ref()).collect();
    assert_eq!(keys, [b"a".as_slice(), b"b", b"e"]);
    assert_eq!(
        page.blocked.iter().map(|met| met.key.clone()).collect::<Vec<_>>(),
        [key("f")]
    );
    assert_eq!(page.resume, None);
}

#[test]
fn pages_of_a_scan_join_up_without_loss_or_repetition() {
    let mut partition = Partition::default();
    let names: Vec<String> = (0..40).map(|number| format!("k{number:02}")).collect();
    for (commit, name) in (10..).zip(&names) {
        partition.wrote(commit, commit, [put(name)]);
    }
    partition.wrote(99, 99, [delete("k07"), delete("k08")]);
    let limits = ScanLimits { pairs: 7, ..ALL };
    let mut from = key("k");
    let mut met = Vec::new();
    loop {
        let page = scan_at(&partition.store, &from, b"l", ts(100), limits, false, &Known::new()).unwrap();
        assert!(page.pairs.len() <= 7);
        met.extend(
            page.pairs
                .into_iter()
                .map(|(key, _)| String::from_utf8(key.into()).unwrap()),
        );
        match page.resume {
            Some(resume) => from = resume,
            None => break,
        }
    }
    let expected: Vec<&String> = names.iter().filter(|name| *name != "k07" && *name != "k08").collect();
    assert_eq!(met.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_page_ends_at_its_bytes_but_holds_at_least_one_pair() {
    let mut partition = Partition::default();
    partition.wrote(1, 2, [put_value("a", &"x".repeat(500)), put("b")]);
    let limits = ScanLimits { pairs: 10, bytes: 100 };
    let page = scan_at(&partition.store, b"a", b"z", ts(5), limits, false, &Known::new()).unwrap();
    assert_eq!((page.pairs.len(), page.resume), (1, Some(key("a\0"))));
}

#[test]
fn a_key_with_many_versions_is_read_at_each_of_its_snapshots() {
    let mut partition = Partition::default();
    for commit in 2..=50u64 {
        partition.wrote(commit, commit, [put_value("hot", &commit.to_string())]);
    }
    partition.wrote(51, 51, [put("later")]);
    for snapshot in 0..=51u64 {
        let page = scan_at(&partition.store, b"a", b"z", ts(snapshot), ALL, false, &Known::new()).unwrap();
        let hot = page.pairs.iter().find(|(name, _)| *name == key("hot"));
        let expected = (snapshot > 1).then(|| snapshot.min(50).to_string().into());
        assert_eq!(hot.map(|(_, value)| value.clone()), expected);
        assert_eq!(page.pairs.iter().any(|(name, _)| *name == key("later")), snapshot == 51);
    }
}

#[test]
fn keys_with_zero_bytes_keep_their_order_and_their_versions() {
    let mut partition = Partition::default();
    let names: [&[u8]; 6] = [b"a", b"a\0", b"a\0\0", b"a\0\x01", b"a\x01", b"b"];
    partition.wrote(1, 2, names.map(|name| (name.to_vec(), Op::Put(name.to_vec()))));
    let page = scan_at(&partition.store, b"a", b"b", ts(2), ALL, false, &Known::new()).unwrap();
    let met: Vec<&[u8]> = page.pairs.iter().map(|(key, _)| key.as_ref()).collect();
    assert_eq!(met, names[..5]);
}
