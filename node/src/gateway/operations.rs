//! Operations: one request is one transaction, tried again while it conflicts and the time allows.

use std::time::Duration;

use kotoba_graph::operation::{
    Batch, Condition, ConditionKind, Error as GraphError, Mutation, Operation, OperationResult, Step,
};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{Condition as KeyCondition, ConditionKind as KeyConditionKind, Op};
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::Gateway;
use crate::transaction::{CommitError, ReadError, Writes};

/// Pause before the second attempt at a transaction that conflicted; it doubles, with jitter, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Why a request changed nothing, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error(transparent)]
    Refused(#[from] GraphError),
    /// Nothing was applied.
    #[error("{0}")]
    Transient(String),
    /// Nothing was applied.
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    UnknownOutcome(String),
    #[error("{0}")]
    Broken(String),
}

/// What a request did, and when.
#[derive(Debug)]
pub struct Outcome {
    pub results: Vec<OperationResult>,
    pub bookmark: Timestamp,
}

impl Gateway {
    /// Applies all operations in one transaction, or none.
    pub async fn execute(&self, operations: Vec<Operation>) -> Result<Outcome, OperationError> {
        let deadline = Instant::now() + self.request_timeout;
        let creations = operations.iter().filter(|operation| creates(operation)).count() as u64;
        let sequences = self.sequences.take(creations).await;
        let sequences = sequences.map_err(|error| OperationError::Transient(error.to_string()))?;
        let mut pause = FIRST_PAUSE;
        loop {
            // The ids of an attempt that was not applied were never seen, so the next may have them.
            let error = match self.attempt(operations.clone(), sequences.clone()).await {
                Err(error @ OperationError::Transient(_)) => error,
                settled => return settled,
            };
            let jittered = pause.mul_f64(rand::rng().random_range(0.5..1.5));
            if Instant::now() + jittered >= deadline {
                return Err(error);
            }
            sleep(jittered).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn attempt(
        &self,
        operations: Vec<Operation>,
        mut sequences: std::ops::Range<u64>,
    ) -> Result<Outcome, OperationError> {
        let mut next = || sequences.next().expect("a sequence was taken for every creation");
        let mut batch = Batch::new(operations, &mut next)?;
        let mut transaction = self.coordinator.begin();
        let mut answers = Vec::new();
        let mutation = loop {
            match batch.advance(answers)? {
                Step::Read(reads) => answers = transaction.read(reads).await?,
                Step::Done(mutation) => break mutation,
            }
        };
        let Mutation {
            writes,
            conditions,
            results,
        } = mutation;
        let writes = Writes {
            writes: writes
                .into_iter()
                .map(|(key, value)| (key, value.map_or(Op::Delete, Op::Put)))
                .collect(),
            conditions: conditions.iter().map(on_keys).collect(),
        };
        let bookmark = transaction
            .commit(writes)
            .await
            .map_err(|error| explain(error, &conditions))?;
        Ok(Outcome { results, bookmark })
    }
}

fn creates(operation: &Operation) -> bool {
    match operation {
        Operation::CreateNode { .. } | Operation::CreateEdge { .. } => true,
        Operation::UpdateNode { .. }
        | Operation::DeleteNode { .. }
        | Operation::UpdateEdge { .. }
        | Operation::DeleteEdge { .. } => false,
    }
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
fn explain(error: CommitError, conditions: &[Condition]) -> OperationError {
    match error {
        CommitError::ConditionFailed(key) => match conditions.iter().find(|condition| condition.key == key) {
            Some(condition) => OperationError::Refused(condition.broken()),
            None => OperationError::Broken("a condition failed that was not asked for".to_owned()),
        },
        CommitError::Conflict(_) | CommitError::Unavailable(_) => OperationError::Transient(error.to_string()),
        CommitError::TooLarge(cause) => OperationError::TooLarge(cause),
        CommitError::UnknownOutcome(_) => OperationError::UnknownOutcome(error.to_string()),
        CommitError::Broken(cause) => OperationError::Broken(cause),
    }
}

impl From<ReadError> for OperationError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(_) | ReadError::TooOld => OperationError::Transient(error.to_string()),
            ReadError::Broken(cause) => OperationError::Broken(cause),
        }
    }
}
