//! The index against the simplest thing that could be right: a list.

use std::sync::Arc;

use proptest::prelude::*;

use super::index::{CacheBudget, LogIndex};
use crate::raft::types::{Entry, LeaderId, LogId, Payload};
use kotoba_state::ids::ReplicaId;

fn entry(term: u64, index: u64) -> Entry {
    let node_id = ReplicaId(1);
    Entry {
        log_id: LogId::new(LeaderId { term, node_id }, index),
        payload: Payload::Blank,
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push { bytes: usize },
    NextTerm,
    Truncate(u64),
    Purge(u64),
    Durable,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..100usize).prop_map(|bytes| Step::Push { bytes }),
        1 => Just(Step::NextTerm),
        1 => (0..60u64).prop_map(Step::Truncate),
        1 => (0..60u64).prop_map(Step::Purge),
        2 => Just(Step::Durable),
    ]
}

/// Entry, its sequence, its bytes.
type Model = Vec<(Entry, u64, usize)>;

fn check(index: &LogIndex, model: &Model, purged: Option<LogId>) {
    let last = model.last().map(|(entry, ..)| entry.log_id).or(purged);
    assert_eq!((index.last(), index.purged()), (last, purged));
    let everything = index.select(0..u64::MAX, usize::MAX);
    let cold = everything
        .cold
        .iter()
        .map(|(log_id, sequence)| (*log_id, Some(*sequence)));
    let warm = everything.warm.iter().map(|entry| (entry.log_id, None));
    let found: Vec<_> = cold.chain(warm).collect();
    assert_eq!(found.len(), model.len());
    for ((log_id, sequence), (entry, stored, _)) in found.iter().zip(model) {
        assert_eq!(*log_id, entry.log_id);
        assert!(sequence.is_none_or(|sequence| sequence == *stored));
    }
    if let (Some((first, ..)), Some((last, ..))) = (model.first(), model.last()) {
        let mut ends: Vec<LogId> = Vec::new();
        for (entry, ..) in model {
            match ends.last_mut() {
                Some(end) if end.committed_leader_id() == entry.log_id.committed_leader_id() => *end = entry.log_id,
                Some(_) | None => ends.push(entry.log_id),
            }
        }
        assert_eq!(index.key_log_ids(&(first.log_id..=last.log_id)), ends);
    }
}

proptest! {
    #[test]
    fn the_index_says_what_a_list_says(steps in prop::collection::vec(step(), 1..120)) {
        let mut index = LogIndex::new(None, Arc::new(CacheBudget::new(400, 100)));
        let (mut model, mut purged, mut term, mut sequence) = (Model::new(), None::<LogId>, 1, 0);
        for step in steps {
            match step {
                Step::Push { bytes } => {
                    let next = model.last().map(|(entry, ..)| entry.log_id).or(purged).map_or(0, |last| last.index() + 1);
                    index.push(entry(term, next), sequence, bytes).unwrap();
                    model.push((entry(term, next), sequence, bytes));
                    sequence += 1;
                }
                Step::NextTerm => term += 1,
                Step::Truncate(keep) => {
                    let cut = model.iter().position(|(entry, ..)| entry.log_id.index() > keep).unwrap_or(model.len());
                    let last = model.get(cut.wrapping_sub(1)).map(|(entry, ..)| entry.log_id).or(purged);
                    let mut dropped = index.truncate_after(last);
                    dropped.reverse();
                    let expected: Vec<_> = model.drain(cut..).map(|(_, sequence, _)| sequence).collect();
                    prop_assert_eq!(dropped, expected);
                }
                Step::Purge(upto) => {
                    let cut = model.iter().position(|(entry, ..)| entry.log_id.index() > upto).unwrap_or(model.len());
                    let Some(last) = cut.checked_sub(1).map(|at| model[at].0.log_id) else { continue };
                    let dropped = index.purge(last);
                    purged = Some(last);
                    let expected: Vec<_> = model.drain(..cut).map(|(_, sequence, _)| sequence).collect();
                    prop_assert_eq!(dropped, expected);
                }
                Step::Durable => {
                    index.durable_before(sequence);
                    prop_assert!(index.cached_bytes() <= 400);
                }
            }
            check(&index, &model, purged);
        }
    }

    #[test]
    fn a_selection_is_cut_at_its_limit_but_never_empty(limit in 0..500usize, from in 0..20u64) {
        let mut index = LogIndex::new(None, Arc::new(CacheBudget::new(0, 0)));
        for number in 0..20 {
            index.push(entry(1, number), number, 100).unwrap();
        }
        let selected = index.select(from..20, limit);
        let count = selected.warm.len() as u64;
        prop_assert_eq!(count, (limit as u64 / 100).clamp(1, 20 - from));
        prop_assert_eq!(selected.warm[0].log_id.index(), from);
    }
}

#[test]
fn an_entry_that_would_leave_a_hole_is_refused() {
    let mut index = LogIndex::new(None, Arc::new(CacheBudget::new(0, 0)));
    index.push(entry(1, 4), 0, 1).unwrap();
    assert!(index.push(entry(1, 6), 1, 1).is_err());
    assert!(index.push(entry(1, 4), 1, 1).is_err());
}

#[test]
fn entries_that_are_not_durable_stay_in_memory_whatever_the_budget() {
    let mut index = LogIndex::new(None, Arc::new(CacheBudget::new(0, 0)));
    for number in 0..10 {
        index.push(entry(1, number), number, 100).unwrap();
    }
    index.durable_before(4);
    let selected = index.select(0..10, usize::MAX);
    assert_eq!((selected.cold.len(), selected.warm.len()), (4, 6));
}

#[test]
fn only_another_entry_in_the_same_place_contradicts() {
    let mut index = LogIndex::new(None, Arc::new(CacheBudget::new(1_000, 0)));
    for number in 5..10 {
        index.push(entry(2, number), number, 1).unwrap();
    }
    assert!(!index.contradicts(entry(2, 7).log_id), "it is the same");
    assert!(index.contradicts(entry(3, 7).log_id));
    assert!(!index.contradicts(entry(3, 10).log_id), "nothing is there yet");
    assert!(!index.contradicts(entry(3, 4).log_id), "nothing is there any more");
}

#[test]
fn what_is_beyond_the_bytes_that_stay_is_told_once_it_is_half_as_much_again() {
    let mut index = LogIndex::new(None, Arc::new(CacheBudget::new(0, 0)));
    for number in 0..6 {
        index.push(entry(1, number), number, 100).unwrap();
    }
    assert_eq!(index.beyond(400), None);
    assert_eq!(index.beyond(399), Some(2));
    assert_eq!(index.beyond(0), Some(5));
    index.purge(entry(1, 3).log_id);
    assert_eq!((index.beyond(134), index.beyond(99)), (None, Some(5)));
    index.truncate_after(Some(entry(1, 4).log_id));
    assert_eq!((index.beyond(67), index.beyond(66)), (None, Some(4)));
}

#[test]
fn bytes_up_to_an_entry_are_those_that_are_still_here() {
    let mut index = LogIndex::new(None, Arc::new(CacheBudget::new(0, 0)));
    for number in 0..6 {
        index.push(entry(1, number), number, 10).unwrap();
    }
    index.purge(entry(1, 1).log_id);
    let bytes = [0, 1, 2, 5, 9].map(|upto| index.bytes_up_to(upto));
    assert_eq!((bytes, index.bytes()), ([0, 0, 10, 40, 40], 40));
}
