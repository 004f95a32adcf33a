//! Sequences for new entities: leased from the meta group in large blocks, given out here without a round trip.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_graph::id::{EntityId, Slot};
use kotoba_state::ids::PartitionId;
use kotoba_state::meta::{Answer, Command};

use crate::catalogue::client::{MetaClient, MetaError};

/// Sequences leased at a time. What is left at a crash is never used, which the 51 bits bear.
const LEASE: u64 = 1 << 20;
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// Sequences looked through at a time for those in a given partition.
const DRAW: u64 = 1_024;
/// Enough for a thousand in one of a thousand partitions; each takes some 100 microseconds.
const MAX_DRAWS: usize = 1_024;
/// Sequences kept for a partition, 32 KiB; more are dropped, which the 51 bits bear. Not for all together: a member is asked
/// mostly for the partitions that it leads, and what is kept for the others would leave no room for those.
const MAX_KEPT: usize = 4_096;

/// No sequences could be leased.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error("the meta group gave no sequences: {0}")]
    Refused(String),
}

/// This member's block of sequences.
pub struct Sequences {
    meta: MetaClient,
    left: Mutex<Range<u64>>,
    kept: Mutex<Kept>,
}

/// Sequences that were looked at and are left for others, by the partition that their nodes will live in.
#[derive(Default)]
struct Kept {
    by_partition: BTreeMap<PartitionId, Vec<u64>>,
}

impl Kept {
    fn put(&mut self, partition: PartitionId, sequence: u64) {
        let there = self.by_partition.entry(partition).or_default();
        if there.len() < MAX_KEPT {
            there.push(sequence);
        }
    }

    /// At most `count` of a partition.
    fn take(&mut self, partition: PartitionId, count: u64) -> Vec<u64> {
        let there = self.by_partition.entry(partition).or_default();
        let rest = there.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
        there.split_off(rest)
    }
}

impl Sequences {
    pub fn new(meta: MetaClient) -> Self {
        Sequences {
            meta,
            left: Mutex::new(0..0),
            kept: Mutex::default(),
        }
    }

    /// Takes `count` sequences that nobody has had.
    pub async fn take(&self, count: u64) -> Result<Range<u64>, SequenceError> {
        if let Some(taken) = take_from(&mut self.left(), count) {
            return Ok(taken);
        }
        let block = LEASE.max(count);
        match self
            .meta
            .propose(&Command::LeaseSequences { count: block }, LEASE_TIMEOUT)
            .await?
        {
            Answer::Sequences { from, to } => {
                let mut block = from..to;
                let taken = take_from(&mut block, count);
                let mut left = self.left();
                // Another caller may have leased meanwhile: the larger rest is kept.
                if block.end - block.start > left.end - left.start {
                    *left = block;
                }
                taken.ok_or_else(|| SequenceError::Refused("fewer than asked for".to_owned()))
            }
            other => Err(SequenceError::Refused(format!("{other:?}"))),
        }
    }

    /// Takes sequences whose nodes will live in a partition, and any ones where a long search finds too few there.
    pub async fn take_in(
        &self,
        partition: PartitionId,
        count: u64,
        partition_of: impl Fn(Slot) -> PartitionId,
    ) -> Result<Vec<u64>, SequenceError> {
        let mut taken = self.kept().take(partition, count);
        for _ in 0..MAX_DRAWS {
            if taken.len() as u64 == count {
                return Ok(taken);
            }
            let drawn = self.take(DRAW).await?;
            let mut kept = self.kept();
            for sequence in drawn {
                match partition_of(EntityId::for_node(sequence).slot()) {
                    there if there == partition && (taken.len() as u64) < count => taken.push(sequence),
                    other => kept.put(other, sequence),
                }
            }
        }
        taken.extend(self.take(count - taken.len() as u64).await?);
        Ok(taken)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, Range<u64>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take_from(left: &mut Range<u64>, count: u64) -> Option<Range<u64>> {
    (left.end - left.start >= count).then(|| {
        let taken = left.start..left.start + count;
        left.start = taken.end;
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_a_partition_is_given_once_and_no_more_is_kept_than_the_bound() {
        let mut kept = Kept::default();
        (0..10).for_each(|sequence| kept.put(PartitionId(1), sequence));
        (10..12).for_each(|sequence| kept.put(PartitionId(2), sequence));
        assert_eq!(kept.take(PartitionId(1), 4), [6, 7, 8, 9]);
        assert_eq!(kept.take(PartitionId(1), 100), [0, 1, 2, 3, 4, 5]);
        assert!(kept.take(PartitionId(1), 1).is_empty());
        (0..2 * MAX_KEPT as u64).for_each(|sequence| kept.put(PartitionId(3), sequence));
        assert_eq!(kept.take(PartitionId(3), u64::MAX).len(), MAX_KEPT);
    }

    #[test]
    fn what_is_kept_for_partitions_that_nobody_asks_for_leaves_room_for_the_others() {
        let mut kept = Kept::default();
        for unasked in 2..18 {
            (0..2 * MAX_KEPT as u64).for_each(|sequence| kept.put(PartitionId(unasked), sequence));
        }
        kept.put(PartitionId(1), 7);
        assert_eq!(kept.take(PartitionId(1), 1), [7]);
    }

    #[test]
    fn what_is_taken_is_never_given_again() {
        let mut left = 10..20;
        assert_eq!(take_from(&mut left, 4), Some(10..14));
        assert_eq!(take_from(&mut left, 6), Some(14..20));
        assert_eq!(take_from(&mut left, 1), None);
    }
}
