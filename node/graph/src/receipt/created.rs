//! What is kept of a request that only creates: the sequences it was given, a byte or two each, and where its nodes live.
//!
//! Its ids and content ids follow from them and from its operations, which whoever repeats the request sends along. They are
//! made again by the very machine that made them first, so there is no second way that could come to differ.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::id::{MAX_SEQUENCE, Slot};
use crate::operation::{Batch, Operation, OperationResult, Step};

/// The sequences that a request of creations was given.
///
/// Stored as differences: those of one request mostly follow one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct Created {
    /// Of its nodes, where they live together.
    slot: Option<Slot>,
    /// One per operation, in order.
    ///
    /// Invariant: none is above [`MAX_SEQUENCE`].
    sequences: Vec<u64>,
}

/// The slot, and the differences of the sequences.
type Stored = (Option<Slot>, Vec<i64>);

impl Created {
    /// Of what a request did, its nodes in this slot; none where it did anything but create.
    pub fn of(operations: &[Operation], slot: Option<Slot>, results: &[OperationResult]) -> Option<Self> {
        operations.iter().all(Operation::creates).then(|| Created {
            slot,
            sequences: results.iter().map(|result| result.id.sequence()).collect(),
        })
    }

    /// What the request did, from the operations it did it with.
    pub fn results(&self, operations: &[Operation]) -> Result<Vec<OperationResult>, Error> {
        if operations.len() != self.sequences.len() || !operations.iter().all(Operation::creates) {
            return Err(Error::OtherOperations);
        }
        let mut sequences = self.sequences.iter().copied();
        let mut next = || sequences.next().expect("there are as many as operations");
        let mut batch = Batch::new(operations.to_vec(), self.slot, &mut next).map_err(Error::MakeAgain)?;
        match batch.advance(Vec::new()).map_err(Error::MakeAgain)? {
            Step::Done(mutation) => Ok(mutation.results),
            Step::Read(_) => unreachable!("creating reads nothing"),
        }
    }
}

impl From<Created> for Stored {
    fn from(created: Created) -> Self {
        let mut before = 0;
        let sequences = created.sequences.into_iter().map(u64::cast_signed);
        let differences = sequences.map(|sequence| sequence - std::mem::replace(&mut before, sequence));
        (created.slot, differences.collect())
    }
}

impl TryFrom<Stored> for Created {
    type Error = &'static str;

    fn try_from((slot, differences): Stored) -> Result<Self, Self::Error> {
        let mut before = 0u64;
        let sequences = differences.into_iter().map(|difference| {
            let sequence = before.checked_add_signed(difference);
            before = sequence.filter(|sequence| *sequence <= MAX_SEQUENCE)?;
            Some(before)
        });
        let sequences = sequences.collect::<Option<_>>();
        Ok(Created {
            slot,
            sequences: sequences.ok_or("a sequence does not fit an id")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::SLOTS;

    fn encoded(created: &Created) -> Vec<u8> {
        postcard::to_allocvec(created).unwrap()
    }

    #[test]
    fn sequences_that_follow_one_another_take_a_byte_each() {
        let sequences = (0..1_000).map(|n| (1 << 50) + 32 * n).collect();
        let slot = Slot::new(100);
        assert_eq!(encoded(&Created { slot, sequences }).len(), 1_011);
    }

    #[test]
    fn differences_that_lead_to_no_sequence_are_refused() {
        let at_most = MAX_SEQUENCE.cast_signed();
        for differences in [vec![-1], vec![5, -6], vec![at_most, 1], vec![1, i64::MAX]] {
            let bytes = postcard::to_allocvec(&(None::<Slot>, &differences)).unwrap();
            assert!(postcard::from_bytes::<Created>(&bytes).is_err(), "{differences:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back_whatever_the_order(
            slot in prop::option::of(0..SLOTS),
            sequences in prop::collection::vec(0..=MAX_SEQUENCE, 0..20),
        ) {
            let created = Created { slot: slot.and_then(Slot::new), sequences };
            prop_assert_eq!(postcard::from_bytes(&encoded(&created)), Ok(created));
        }
    }
}
