//! What is kept of a request that only creates: the sequences it was given, a byte or two each.
//!
//! Its ids and content ids follow from them and from its operations, which whoever repeats the request sends along. They are
//! made again by the very machine that made them first, so there is no second way that could come to differ.

use serde::{Deserialize, Serialize};

use super::Error;
use crate::id::MAX_SEQUENCE;
use crate::operation::{Batch, Operation, OperationResult, Step};

/// The sequences that a request of creations was given.
///
/// Stored as differences: those of one request mostly follow one another, at the distance of as many as there are partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Vec<i64>", try_from = "Vec<i64>")]
pub struct Created {
    /// One per operation, in order.
    ///
    /// Invariant: none is above [`MAX_SEQUENCE`].
    sequences: Vec<u64>,
}

impl Created {
    /// Of what a request did; none where it did anything but create.
    pub fn of(operations: &[Operation], results: &[OperationResult]) -> Option<Self> {
        operations.iter().all(Operation::creates).then(|| Created {
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
        let mut batch = Batch::new(operations.to_vec(), &mut next).map_err(Error::MakeAgain)?;
        match batch.advance(Vec::new()).map_err(Error::MakeAgain)? {
            Step::Done(mutation) => Ok(mutation.results),
            Step::Read(_) => unreachable!("creating reads nothing"),
        }
    }
}

impl From<Created> for Vec<i64> {
    fn from(created: Created) -> Self {
        let mut before = 0;
        let sequences = created.sequences.into_iter().map(u64::cast_signed);
        sequences
            .map(|sequence| sequence - std::mem::replace(&mut before, sequence))
            .collect()
    }
}

impl TryFrom<Vec<i64>> for Created {
    type Error = &'static str;

    fn try_from(differences: Vec<i64>) -> Result<Self, Self::Error> {
        let mut before = 0u64;
        let sequences = differences.into_iter().map(|difference| {
            let sequence = before.checked_add_signed(difference);
            before = sequence.filter(|sequence| *sequence <= MAX_SEQUENCE)?;
            Some(before)
        });
        let sequences = sequences.collect::<Option<_>>();
        Ok(Created {
            sequences: sequences.ok_or("a sequence does not fit an id")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(created: &Created) -> Vec<u8> {
        postcard::to_allocvec(created).unwrap()
    }

    #[test]
    fn sequences_of_one_partition_take_a_byte_each() {
        let sequences = (0..1_000).map(|n| (1 << 50) + 32 * n).collect();
        assert_eq!(encoded(&Created { sequences }).len(), 1_009);
    }

    #[test]
    fn differences_that_lead_to_no_sequence_are_refused() {
        let at_most = MAX_SEQUENCE.cast_signed();
        for differences in [vec![-1], vec![5, -6], vec![at_most, 1], vec![1, i64::MAX]] {
            let bytes = postcard::to_allocvec(&differences).unwrap();
            assert!(postcard::from_bytes::<Created>(&bytes).is_err(), "{differences:?}");
        }
    }

    proptest! {
        #[test]
        fn sequences_come_back_whatever_their_order(sequences in prop::collection::vec(0..=MAX_SEQUENCE, 0..20)) {
            let created = Created { sequences };
            prop_assert_eq!(postcard::from_bytes(&encoded(&created)), Ok(created));
        }
    }
}
