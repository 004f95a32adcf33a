//! Where a state file is known to hold nothing. What is created looks first whether it is there already, and ids ascend: whoever
//! looks next looks into the same gap, and need not descend the B-tree for it.
//!
//! A gap is what it was at the checkpoint at which it was found, until a checkpoint writes a key in it. Readers of earlier
//! checkpoints, who hold a view, rely on it only if it has been the same since theirs.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Mutex;

use super::ranges::Generation;
use crate::raft::lock::lock;

/// Gaps that are kept: a few for each slot and kind of key that was written to lately. With more it begins anew.
const MAX_GAPS: usize = 1_024;

/// The gaps of one state file that are known.
#[derive(Default)]
pub struct Gaps(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    now: Generation,
    /// By where they begin; they do not overlap.
    gaps: BTreeMap<Box<[u8]>, Gap>,
}

struct Gap {
    /// The first key behind it; none where there is none.
    to: Option<Box<[u8]>>,
    /// The checkpoint at which it was found.
    since: Generation,
}

impl Gap {
    fn has(&self, key: &[u8]) -> bool {
        self.to.as_deref().is_none_or(|end| key < end)
    }

    fn reaches(&self, to: &[u8]) -> bool {
        self.to.as_deref().is_none_or(|end| to <= end)
    }
}

impl Gaps {
    /// Whether nothing lies in `from <= key < to` as of a checkpoint, as far as is known.
    pub fn have(&self, from: &[u8], to: &[u8], at: Generation) -> bool {
        let kept = lock(&self.0);
        let before = kept
            .gaps
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(from)))
            .next_back();
        before.is_some_and(|(_, gap)| gap.since <= at && gap.has(from) && gap.reaches(to))
    }

    /// Notes that as of a checkpoint nothing lies from here up to this key; as of an earlier one than the last it is not kept.
    pub fn note(&self, from: &[u8], to: Option<&[u8]>, at: Generation) {
        let mut kept = lock(&self.0);
        if kept.now != at {
            return;
        }
        if kept.gaps.len() >= MAX_GAPS {
            kept.gaps.clear();
        }
        let to = to.map(Box::from);
        let gap = Gap { to, since: at };
        let later = kept
            .gaps
            .range::<[u8], _>((Bound::Included(from), Bound::Unbounded))
            .map(|(start, _)| start);
        let inside: Vec<_> = later.take_while(|start| gap.has(start)).cloned().collect();
        for start in inside {
            kept.gaps.remove(&start);
        }
        kept.gaps.insert(from.into(), gap);
    }

    /// Begins with another checkpoint, which has changed these keys; they ascend.
    pub fn advance(&self, changed: &[&[u8]]) {
        let mut kept = lock(&self.0);
        kept.now += 1;
        kept.gaps.retain(|from, gap| {
            let first = changed.partition_point(|key| *key < &**from);
            changed.get(first).is_none_or(|key| !gap.has(key))
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn have(gaps: &Gaps, from: u8, to: u8, at: Generation) -> bool {
        gaps.have(&[from], &[to], at)
    }

    #[test]
    fn a_gap_is_known_up_to_the_next_key_until_one_in_it_changes() {
        let gaps = Gaps::default();
        gaps.note(&[3], Some(&[9]), 0);
        assert!(have(&gaps, 3, 5, 0) && have(&gaps, 6, 9, 0));
        assert!(!have(&gaps, 6, 10, 0), "the key behind is in it");
        assert!(!have(&gaps, 2, 5, 0), "before it something may be");
        assert!(!have(&gaps, 9, 9, 0));
        // One that goes on for ever.
        gaps.note(&[200], None, 0);
        assert!(have(&gaps, 250, 251, 0));
        gaps.advance(&[&[2], &[9]]);
        assert!(have(&gaps, 4, 6, 1));
        gaps.advance(&[&[5], &[201]]);
        assert!(!have(&gaps, 7, 8, 2) && !have(&gaps, 250, 251, 2));
    }

    #[test]
    fn a_gap_of_a_checkpoint_is_neither_known_before_it_nor_noted_behind_it() {
        let gaps = Gaps::default();
        gaps.advance(&[&[1]]);
        gaps.note(&[3], Some(&[9]), 0);
        assert!(!have(&gaps, 3, 5, 1), "it was found at the checkpoint before");
        gaps.note(&[3], Some(&[9]), 1);
        assert!(!have(&gaps, 3, 5, 0), "something may have been there");
        // A wider one takes the place of what lies in it.
        gaps.note(&[2], Some(&[9]), 1);
        assert_eq!(lock(&gaps.0).gaps.len(), 1);
        for number in 0..2 * MAX_GAPS as u32 {
            let key = number.to_be_bytes();
            gaps.note(&key, Some(&[&key[..], &[1]].concat()), 1);
            assert!(lock(&gaps.0).gaps.len() <= MAX_GAPS);
        }
    }

    #[derive(Clone, Debug)]
    enum Event {
        Look { from: u8, width: u8, back: u64 },
        Checkpoint(Vec<(u8, bool)>),
    }

    fn event() -> impl Strategy<Value = Event> {
        let look = (0..200_u8, 1..20_u8, 0..3_u64).prop_map(|(from, width, back)| Event::Look { from, width, back });
        let checkpoint = prop::collection::vec((0..210_u8, any::<bool>()), 0..5).prop_map(Event::Checkpoint);
        prop_oneof![5 => look, 1 => checkpoint]
    }

    proptest! {
        /// Against the file as of each checkpoint.
        #[test]
        fn nothing_is_ever_said_to_be_empty_that_is_not(events in prop::collection::vec(event(), 1..80)) {
            let gaps = Gaps::default();
            let mut files = vec![BTreeSet::<u8>::new()];
            for event in events {
                match event {
                    Event::Look { from, width, back } => {
                        let at = (files.len() as u64 - 1).saturating_sub(back);
                        let file = &files[at as usize];
                        let is_empty = file.range(from..from + width).next().is_none();
                        if have(&gaps, from, from + width, at) {
                            prop_assert!(is_empty);
                        } else if is_empty {
                            let behind = file.range(from..).next().map(|key| vec![*key]);
                            gaps.note(&[from], behind.as_deref(), at);
                        }
                    }
                    Event::Checkpoint(mut changes) => {
                        changes.sort();
                        changes.dedup_by_key(|(key, _)| *key);
                        let mut file = files.last().unwrap().clone();
                        for (key, is_there) in &changes {
                            if *is_there { file.insert(*key); } else { file.remove(key); }
                        }
                        files.push(file);
                        let keys: Vec<[u8; 1]> = changes.iter().map(|(key, _)| [*key]).collect();
                        let changed: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
                        gaps.advance(&changed);
                    }
                }
            }
        }
    }
}
