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
/// Sequences looked through at a time for one in a given partition; about what a cluster of 64 partitions needs.
const DRAW: u64 = 64;
/// With 1,024 partitions a search that has failed this often was one in a million.
const MAX_DRAWS: usize = 256;
/// Sequences kept for each other partition; more are dropped, which the 51 bits bear.
const KEPT_PER_PARTITION: usize = 64;

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
    kept: Mutex<BTreeMap<PartitionId, Vec<u64>>>,
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

    /// Takes a sequence whose node will live in a partition, or any one where a long search finds none there.
    pub async fn take_in(
        &self,
        partition: PartitionId,
        partition_of: impl Fn(Slot) -> PartitionId,
    ) -> Result<u64, SequenceError> {
        for _ in 0..MAX_DRAWS {
            if let Some(sequence) = self.kept().get_mut(&partition).and_then(Vec::pop) {
                return Ok(sequence);
            }
            let drawn = self.take(DRAW).await?;
            let mut kept = self.kept();
            for sequence in drawn {
                let there = kept
                    .entry(partition_of(EntityId::for_node(sequence).slot()))
                    .or_default();
                if there.len() < KEPT_PER_PARTITION {
                    there.push(sequence);
                }
            }
        }
        Ok(self.take(1).await?.start)
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Vec<u64>>> {
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
    fn what_is_taken_is_never_given_again() {
        let mut left = 10..20;
        assert_eq!(take_from(&mut left, 4), Some(10..14));
        assert_eq!(take_from(&mut left, 6), Some(14..20));
        assert_eq!(take_from(&mut left, 1), None);
    }
}
