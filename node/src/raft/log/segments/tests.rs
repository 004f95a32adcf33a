//! Segments that are damaged are refused; what a crash leaves is not damage. And old segments go.

use std::collections::BTreeMap;
use std::sync::Arc;

use kotoba_state::ids::{GroupId, PartitionId, ReplicaId};
use proptest::prelude::*;

use super::super::disk::{Batch, LogDisk, LogError, Record, Row};
use super::frame::SECTOR;
use super::{CrashingFolder, SegmentLog};
use crate::raft::codec;
use crate::raft::types::{Entry, LeaderId, LogId, Payload, ReplicaKey, Vote};

const SEGMENT_BYTES: u64 = 4 << 10;

fn key() -> ReplicaKey {
    ReplicaKey {
        group: GroupId::Partition(PartitionId(3)),
        replica: ReplicaId(9),
    }
}

fn record(sequence: u64) -> Record {
    let node_id = ReplicaId(9);
    let entry = Entry {
        log_id: LogId::new(LeaderId { term: 1, node_id }, sequence),
        payload: Payload::Blank,
    };
    Record {
        sequence,
        key: key(),
        entry: codec::to_bytes(&entry),
    }
}

fn inserting(sequences: impl IntoIterator<Item = u64>) -> Batch {
    Batch {
        inserts: sequences.into_iter().map(record).collect(),
        ..Batch::default()
    }
}

fn open(folder: &CrashingFolder) -> Result<SegmentLog, LogError> {
    SegmentLog::crashing(folder, SEGMENT_BYTES)
}

fn sequences(log: &SegmentLog) -> Vec<u64> {
    let mut found = Vec::new();
    let visited = log.entries(&mut |entry| {
        found.push(entry.sequence);
        Ok(())
    });
    visited.unwrap();
    found
}

/// Segments with one entry a frame.
fn filled(entries: u64) -> BTreeMap<u64, Vec<u8>> {
    let folder = CrashingFolder::default();
    let log = open(&folder).unwrap();
    (0..entries).for_each(|sequence| log.commit(&inserting([sequence])).unwrap());
    folder.now()
}

fn refusal(segments: BTreeMap<u64, Vec<u8>>) -> String {
    let folder = CrashingFolder::holding(segments.clone());
    let refused = open(&folder).err().map(|error| error.to_string());
    assert!(folder.now() == segments, "what is refused is left as it is");
    refused.unwrap_or_default()
}

#[test]
fn what_is_written_is_found_again_and_read_where_it_is() {
    let folder = CrashingFolder::holding(filled(30));
    let log = open(&folder).unwrap();
    assert_eq!(sequences(&log), (0..30).collect::<Vec<_>>());
    let mut pinned = log.pin(&[3, 29, 99]).unwrap();
    assert_eq!(pinned.read(29).unwrap(), Some(record(29).entry));
    assert_eq!(pinned.read(3).unwrap(), Some(record(3).entry));
    assert_eq!(pinned.read(99).unwrap(), None);
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own() {
    let folder = CrashingFolder::default();
    let log = open(&folder).unwrap();
    let large = Record {
        entry: vec![codec::FORMAT; 3 * SEGMENT_BYTES as usize],
        ..record(1)
    };
    let batch = Batch {
        inserts: vec![large.clone()],
        ..Batch::default()
    };
    log.commit(&inserting([0])).unwrap();
    log.commit(&batch).unwrap();
    log.commit(&inserting([2])).unwrap();
    let log = open(&folder).unwrap();
    assert_eq!(sequences(&log), [0, 1, 2]);
    assert_eq!(log.pin(&[1]).unwrap().read(1).unwrap(), Some(large.entry));
}

#[test]
fn rows_outlive_the_segment_they_were_written_to() {
    let folder = CrashingFolder::default();
    let log = open(&folder).unwrap();
    let row = Row {
        vote: Some(Vote::new(4, ReplicaId(9))),
        ..Row::default()
    };
    let gone = ReplicaKey {
        replica: ReplicaId(8),
        ..key()
    };
    let rows = Batch {
        rows: [(key(), row.clone())].into(),
        retired: [gone].into(),
        ..Batch::default()
    };
    log.commit(&rows).unwrap();
    for sequence in 0..100 {
        let batch = Batch {
            drops: vec![sequence],
            ..inserting([sequence + 1])
        };
        log.commit(&batch).unwrap();
    }
    assert!(folder.now().first_key_value().unwrap().0 > &5);
    let found = open(&folder).unwrap().rows().unwrap();
    assert_eq!(found.rows, [(key(), row)].into());
    assert_eq!(found.retired, [gone].into());
}

/// One entry that stays must not keep all that came after it on the disk.
#[test]
fn an_entry_that_stays_moves_out_of_the_way() {
    let folder = CrashingFolder::default();
    let log = open(&folder).unwrap();
    log.commit(&inserting([0])).unwrap();
    for sequence in 1..500 {
        let batch = Batch {
            drops: vec![sequence - 1].into_iter().filter(|dropped| *dropped > 0).collect(),
            ..inserting([sequence])
        };
        log.commit(&batch).unwrap();
    }
    let held = folder.now();
    assert!(held.len() <= 5, "{} segments are held", held.len());
    assert_eq!(log.file_bytes(), held.len() as u64 * SEGMENT_BYTES);
    assert_eq!(log.pin(&[0]).unwrap().read(0).unwrap(), Some(record(0).entry));
    let found = sequences(&open(&folder).unwrap());
    assert!(found.contains(&0) && found.contains(&499), "{found:?}");
}

#[test]
fn what_was_pinned_stays_readable_when_its_segment_goes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = SegmentLog::open(&path, true, "a test", Arc::new(())).unwrap();
    log.commit(&inserting(0..10)).unwrap();
    let mut pinned = log.pin(&[5]).unwrap();
    let mut next = 10;
    while path.join("000000000001.segment").exists() {
        let drops = (0..next).collect();
        let entry = vec![codec::FORMAT; 1 << 20];
        let large = Record { entry, ..record(next) };
        let batch = Batch {
            inserts: vec![large],
            drops,
            ..Batch::default()
        };
        log.commit(&batch).unwrap();
        next += 1;
    }
    assert_eq!(pinned.read(5).unwrap(), Some(record(5).entry));
}

#[test]
fn a_log_of_another_member_or_of_an_earlier_version_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let open = |owner: &str| SegmentLog::open(&path, true, owner, Arc::new(()));
    drop(open("member 1 of cluster a").unwrap());
    let refused = open("member 1 of cluster b").err().unwrap();
    assert!(matches!(refused, LogError::Owner { .. }), "{refused}");
    std::fs::write(directory.path().join("log.redb"), "").unwrap();
    let refused = open("member 1 of cluster a").err().unwrap();
    assert!(matches!(refused, LogError::Format { found: 1, .. }), "{refused}");
}

#[test]
fn a_missing_segment_is_noticed() {
    let folder = CrashingFolder::default();
    let log = open(&folder).unwrap();
    // Full frames, so that nothing moves out of the oldest segment.
    (0..18).for_each(|frame| log.commit(&inserting(frame * 6..frame * 6 + 6)).unwrap());
    let whole = folder.now();
    assert_eq!(whole.len(), 3);
    let mut holed = whole.clone();
    holed.remove(&2);
    assert!(refusal(holed).contains("segment 2 before it is missing"));
    let mut exchanged = whole.clone();
    exchanged.insert(2, whole[&3].clone());
    assert!(refusal(exchanged).contains("was it renamed?"));
    let mut cut = whole;
    cut.get_mut(&2).unwrap().truncate(1_000);
    assert!(refusal(cut).contains("it has 1000 bytes and was made with 4096"));
}

/// The frame that was being written when the power failed: sectors of it are missing.
#[test]
fn a_torn_last_frame_is_wiped_and_written_over() {
    let whole = filled(2);
    let mut torn = whole.clone();
    let content = torn.get_mut(&1).unwrap();
    let end = content.iter().rposition(|byte| *byte != 0).unwrap() / SECTOR * SECTOR + SECTOR;
    content[end + SECTOR..end + 2 * SECTOR].fill(7);
    let folder = CrashingFolder::holding(torn);
    let log = open(&folder).unwrap();
    assert_eq!(sequences(&log), [0, 1]);
    assert!(folder.now() == whole, "nothing is left of the torn frame");
    log.commit(&inserting([2])).unwrap();
    assert_eq!(sequences(&open(&folder).unwrap()), [0, 1, 2]);
}

proptest! {
    /// Sectors are written whole or not at all, so a flipped bit is never what a crash leaves.
    #[test]
    fn a_flipped_bit_is_found_wherever_it_is(entries in 1..30u64, place: prop::sample::Index, bit in 0..8u8) {
        let whole = filled(entries);
        let used: Vec<(u64, usize)> = whole
            .iter()
            .flat_map(|(number, content)| {
                let end = content.iter().rposition(|byte| *byte != 0).unwrap();
                (0..=end).map(|at| (*number, at))
            })
            .collect();
        let (segment, at) = used[place.index(used.len())];
        let mut damaged = whole;
        damaged.get_mut(&segment).unwrap()[at] ^= 1 << bit;
        let refused = refusal(damaged);
        prop_assert!(!refused.is_empty(), "bit {} of byte {} of segment {}", bit, at, segment);
    }

    #[test]
    fn noise_is_refused_and_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..3_000), keep in 0..3_000usize) {
        let mut content = filled(5).remove(&1).unwrap();
        content.truncate(keep);
        content.extend(noise);
        let refused = refusal([(1, content)].into());
        prop_assert!(!refused.is_empty());
    }
}

#[test]
fn commits_without_a_change_give_room_back_until_all_is_tidy() {
    let folder = CrashingFolder::default();
    let log = open(&folder).unwrap();
    (0..60).for_each(|frame| log.commit(&inserting(frame * 6..frame * 6 + 6)).unwrap());
    let stays = |sequence: &u64| sequence.is_multiple_of(40);
    let drops = (0..360).filter(|sequence| !stays(sequence)).collect();
    log.commit(&Batch {
        drops,
        ..Batch::default()
    })
    .unwrap();
    let commits = (0..100).take_while(|_| {
        let is_untidy = log.is_untidy();
        if is_untidy {
            log.commit(&Batch::default()).unwrap();
        }
        is_untidy
    });
    assert!((1..30).contains(&commits.count()), "it comes to an end");
    assert!(log.file_bytes() <= 4 * SEGMENT_BYTES, "{}", log.file_bytes());
    drop(log);
    let found = sequences(&open(&folder).unwrap());
    assert!((0..360).filter(stays).all(|sequence| found.contains(&sequence)));
}
