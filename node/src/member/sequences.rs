//! Sequences for new entities: leased from the meta group in large blocks, given out here without a round trip.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kotoba_state::meta::{Answer, Command};

use crate::catalogue::client::{MetaClient, MetaError};

/// Sequences leased at a time. What is left at a crash is never used, which the 51 bits bear.
const LEASE: u64 = 1 << 20;
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);

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
}

impl Sequences {
    pub fn new(meta: MetaClient) -> Self {
        Sequences {
            meta,
            left: Mutex::new(0..0),
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
