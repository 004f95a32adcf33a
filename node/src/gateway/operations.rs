//! Operations: one request is one transaction, tried again while it conflicts and the time allows; one that lost stands in line.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use kotoba_graph::id::Slot;
use kotoba_graph::operation::{
    Batch, Condition, ConditionKind, Error as GraphError, Mutation, Operation, OperationResult, Step,
};
use kotoba_graph::read::Read;
use kotoba_graph::receipt::{Outcome as Told, RequestId};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{Condition as KeyCondition, ConditionKind as KeyConditionKind, Key, Op};
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::Gateway;
use super::exactly_once::Place;
use super::line::{Front, at_front};
use crate::transaction::{Acknowledgement, CommitError, ReadError, Writes};

/// Pause before the second attempt at a transaction that conflicted; it doubles, with jitter, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Creations of more bytes are spread over the partitions: each takes a bounded proposal only.
const MAX_BYTES_TOGETHER: usize = 1 << 20;

/// Operations as a client sent them.
#[derive(Clone, Debug)]
pub struct OperationRequest {
    pub operations: Vec<Operation>,
    /// None where the client does not ask for exactly once.
    pub number: Option<Numbered>,
    /// When the client is told.
    pub acknowledgement: Acknowledgement,
}

/// By what a request is known when it comes again.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    pub id: RequestId,
    /// The slot that the client has chosen for what may lie anywhere.
    pub home: Option<Slot>,
    /// Hash of the operations.
    pub content: [u8; 32],
    /// Of the operations as they were sent.
    pub bytes: usize,
    /// An earlier attempt may be under way.
    pub repeated: bool,
    /// A timestamp from before the first attempt, where the client may be asking after a long time.
    pub sent_after: Option<Timestamp>,
}

/// Why a request changed nothing, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error(transparent)]
    Refused(#[from] GraphError),
    /// As an earlier attempt was.
    #[error("{message}")]
    RefusedBefore { kind: u8, message: String },
    /// Its receipt is there.
    #[error("the request was applied by an earlier attempt")]
    Repeated,
    /// Nothing was applied by this attempt.
    #[error("it was first sent after timestamp {0}, and receipts of that time are no longer kept")]
    Expired(Timestamp),
    #[error("timestamp {0} was never given by this cluster: it belongs to another one")]
    NeverIssued(Timestamp),
    #[error("sequence {0} of this client was used for another request: give each request a sequence of its own")]
    OtherContent(u64),
    /// Another transaction was in the way; nothing was applied.
    #[error("{0}")]
    Conflict(String),
    /// Nothing was applied.
    #[error("{0}")]
    Transient(String),
    /// Nothing was applied.
    #[error("{0}")]
    TooLarge(String),
    /// Nothing was applied.
    #[error("{0}")]
    DiskFull(String),
    #[error("{0}")]
    UnknownOutcome(String),
    #[error("{0}")]
    Broken(String),
}

/// What a request did, and when.
#[derive(Debug)]
pub struct Outcome {
    pub results: Vec<OperationResult>,
    /// The commit timestamp, or where the answer is an earlier attempt's, one that is not below it.
    pub bookmark: Timestamp,
}

/// Ids of what a request creates.
struct NewIds {
    /// Where the receipt may lie anywhere, the nodes live beside it: creating one, or a thousand of them, is then a transaction on
    /// one partition, and keys that are new together lie together.
    slot: Option<Slot>,
    sequences: Range<u64>,
}

/// How a request stands to others on the same keys.
struct Standing {
    /// Its last attempt lost to another transaction.
    has_lost: bool,
    front: Option<Front>,
    /// Of the request.
    deadline: Instant,
}

impl Gateway {
    /// Applies all operations in one transaction, or none; a request that comes again is answered as it was.
    pub async fn execute(&self, request: OperationRequest) -> Result<Outcome, OperationError> {
        let Some(number) = request.number else {
            let ids = self.ids_for(&request.operations, None).await?;
            return self.execute_anew(&request, &ids, None).await;
        };
        let home = number.id.home(&request.operations, number.home);
        let place = Place {
            key: number.id.key(home),
            number,
            operations: &request.operations,
        };
        if number.repeated {
            if let Some(outcome) = self.earlier_outcome(&place).await? {
                return outcome;
            }
            self.no_receipt_was_dropped(&place).await?;
        }
        let together = RequestId::is_home_free(&request.operations) && number.bytes <= MAX_BYTES_TOGETHER;
        let ids = self.ids_for(&request.operations, together.then_some(home)).await?;
        match self.execute_anew(&request, &ids, Some(&place)).await {
            Err(OperationError::Repeated) => self.told_again(&place).await,
            Err(OperationError::Refused(refusal)) => self.refuse(&place, refusal).await,
            settled => settled,
        }
    }

    async fn execute_anew(
        &self,
        request: &OperationRequest,
        ids: &NewIds,
        place: Option<&Place<'_>>,
    ) -> Result<Outcome, OperationError> {
        let mut pause = FIRST_PAUSE;
        let mut standing = Standing {
            has_lost: false,
            front: None,
            deadline: Instant::now() + self.request_timeout,
        };
        loop {
            // The ids of an attempt that was not applied were never seen, so the next may have them.
            let error = match self.attempt(request, ids, place, &mut standing).await {
                Err(error @ OperationError::Conflict(_)) => {
                    standing.has_lost = true;
                    error
                }
                Err(error @ OperationError::Transient(_)) => {
                    // It waits for no other request, so none should wait behind it.
                    (standing.has_lost, standing.front) = (false, None);
                    error
                }
                settled => return settled,
            };
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.5));
            if Instant::now() + jittered >= standing.deadline {
                return Err(error);
            }
            sleep(jittered).await;
            self.outcomes().retried.inc();
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// One sequence per creation.
    async fn ids_for(&self, operations: &[Operation], slot: Option<Slot>) -> Result<NewIds, OperationError> {
        let wanted = operations.iter().filter(|operation| operation.creates()).count() as u64;
        let taken = self.sequences.take(wanted).await;
        let sequences = taken.map_err(|error| OperationError::Transient(error.to_string()))?;
        Ok(NewIds { slot, sequences })
    }

    async fn attempt(
        &self,
        request: &OperationRequest,
        ids: &NewIds,
        place: Option<&Place<'_>>,
        standing: &mut Standing,
    ) -> Result<Outcome, OperationError> {
        let mut sequences = ids.sequences.clone();
        let mut next = || sequences.next().expect("a sequence was taken for every creation");
        let mut batch = Batch::new(request.operations.clone(), ids.slot, &mut next)?;
        match batch.advance(Vec::new())? {
            Step::Read(reads) => {
                self.stand_in_line(&reads, standing).await?;
                let work = self.read_and_commit(batch, reads, request.acknowledgement, ids.slot, place);
                at_front(&mut standing.front, work).await
            }
            Step::Done(mutation) => {
                let (writes, conditions, results) = to_write(mutation, ids.slot, place);
                let committed = self.coordinator.commit_shared(writes, request.acknowledgement).await;
                let bookmark = committed.map_err(|error| explain(error, &conditions, place))?;
                Ok(Outcome { results, bookmark })
            }
        }
    }

    /// Behind others on what is read first, where this request has lost to somebody or others stand there already.
    async fn stand_in_line(&self, reads: &[Read], standing: &mut Standing) -> Result<(), OperationError> {
        if standing.front.is_some() {
            return Ok(());
        }
        let keys = keys_of(reads);
        if !standing.has_lost && !self.line.is_at(&keys) {
            return Ok(());
        }
        standing.front = self.line.stand(keys, standing.deadline).await;
        match standing.front {
            Some(_) => Ok(()),
            None => Err(OperationError::Conflict(
                "others that change the same have not come to an end".to_owned(),
            )),
        }
    }

    async fn read_and_commit(
        &self,
        mut batch: Batch,
        mut reads: Vec<Read>,
        acknowledgement: Acknowledgement,
        slot: Option<Slot>,
        place: Option<&Place<'_>>,
    ) -> Result<Outcome, OperationError> {
        let mut transaction = self.coordinator.begin_to_be_told(acknowledgement);
        let mutation = loop {
            match batch.advance(transaction.read(reads).await?)? {
                Step::Read(next) => reads = next,
                Step::Done(mutation) => break mutation,
            }
        };
        let (writes, conditions, results) = to_write(mutation, slot, place);
        let committed = transaction.commit(writes).await;
        let bookmark = committed.map_err(|error| explain(error, &conditions, place))?;
        Ok(Outcome { results, bookmark })
    }
}

/// What a transaction writes, under which conditions, those in the words of the graph too, and what it answers.
fn to_write(
    mutation: Mutation,
    slot: Option<Slot>,
    place: Option<&Place<'_>>,
) -> (Writes, Vec<Condition>, Vec<OperationResult>) {
    let Mutation {
        writes,
        conditions,
        results,
    } = mutation;
    let mut writes = Writes {
        writes: writes
            .into_iter()
            .map(|(key, value)| (key, value.map_or(Op::Delete, Op::Put)))
            .collect(),
        conditions: conditions.iter().map(on_keys).collect(),
    };
    if let Some(place) = place {
        place.put(&mut writes, Told::of(place.operations, slot, &results));
    }
    (writes, conditions, results)
}

/// Single keys only: what else is read tells nothing of what is written.
fn keys_of(reads: &[Read]) -> BTreeSet<Key> {
    let key_of = |read: &Read| match read {
        Read::Get { key } => Some(key.clone()),
        Read::Scan { .. } | Read::ScanSlots(_) => None,
    };
    reads.iter().filter_map(key_of).collect()
}

fn on_keys(condition: &Condition) -> KeyCondition {
    KeyCondition {
        key: condition.key.clone(),
        kind: match condition.kind {
            ConditionKind::Exists => KeyConditionKind::Exists,
            ConditionKind::Absent => KeyConditionKind::Absent,
        },
        guarded: condition.guarded,
    }
}

/// A condition that failed is told in the words of the graph: which operation misses which node.
fn explain(error: CommitError, conditions: &[Condition], place: Option<&Place<'_>>) -> OperationError {
    match error {
        CommitError::ConditionFailed(key) if place.is_some_and(|place| place.key == key) => OperationError::Repeated,
        CommitError::ConditionFailed(key) => match conditions.iter().find(|condition| condition.key == key) {
            Some(condition) => OperationError::Refused(condition.broken()),
            None => OperationError::Broken("a condition failed that was not asked for".to_owned()),
        },
        CommitError::Conflict(_) => OperationError::Conflict(error.to_string()),
        CommitError::Unavailable(_) => OperationError::Transient(error.to_string()),
        CommitError::TooLarge(cause) => OperationError::TooLarge(cause),
        CommitError::DiskFull(cause) => OperationError::DiskFull(cause),
        CommitError::UnknownOutcome(_) => OperationError::UnknownOutcome(error.to_string()),
        CommitError::Broken(cause) => OperationError::Broken(cause),
    }
}

impl From<ReadError> for OperationError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(_) | ReadError::TooOld | ReadError::Changed => {
                OperationError::Transient(error.to_string())
            }
            ReadError::TooMuch { .. } => OperationError::TooLarge(error.to_string()),
            ReadError::Broken(cause) => OperationError::Broken(cause),
        }
    }
}
