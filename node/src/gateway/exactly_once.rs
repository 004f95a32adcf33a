//! Exactly once: the transaction that applies a numbered request also writes its receipt, under the condition that there is
//! none. So of all attempts at a request at most one commits, and every other finds what that one did.
//!
//! A repeated request that is refused writes a receipt of the refusal before it is told: an attempt that is still under
//! way somewhere cannot be applied after its client has heard that it was refused.

use kotoba_graph::operation::{Error as GraphError, Operation};
use kotoba_graph::read::Read;
use kotoba_graph::receipt::{Outcome as Told, Receipt};
use kotoba_state::partition::{Condition, ConditionKind, Key, Op};

use super::Gateway;
use super::operations::{Numbered, OperationError, Outcome};
use super::refusal::kind_of_refusal;
use super::service::with_causes;
use crate::transaction::{CommitError, MAX_TRANSACTION_BYTES, ReadError, ReadFrom, Writes};

/// Where a request's receipt lies, and what it is of.
pub struct Place<'a> {
    pub key: Key,
    pub number: Numbered,
    pub operations: &'a [Operation],
}

impl Place<'_> {
    /// Adds the receipt to a transaction's writes. Whoever breaks the condition writes the same key, so that it is guarded.
    pub fn put(&self, writes: &mut Writes, told: Told) {
        let receipt = Receipt {
            content: self.number.content,
            outcome: told,
        };
        writes
            .writes
            .insert(self.key.clone(), Op::PutTemporary(receipt.encode()));
        writes.conditions.push(Condition {
            key: self.key.clone(),
            kind: ConditionKind::Absent,
            guarded: true,
        });
    }
}

impl Gateway {
    /// What an earlier attempt did; none where no attempt was applied or refused for good.
    pub(super) async fn earlier_outcome(
        &self,
        place: &Place<'_>,
    ) -> Result<Option<Result<Outcome, OperationError>>, OperationError> {
        let snapshot = self.coordinator.take_snapshot().await?;
        let get = Read::Get { key: place.key.clone() };
        let answers = self
            .coordinator
            .read_at(snapshot, ReadFrom::Leaders, vec![get], MAX_TRANSACTION_BYTES)
            .await?;
        let broken = |error: &dyn std::fmt::Display| OperationError::Broken(error.to_string());
        let Some(answer) = answers.into_iter().next() else {
            return Err(broken(&"a read was not answered"));
        };
        let Some(bytes) = answer.into_value().map_err(|error| broken(&error))? else {
            return Ok(None);
        };
        let receipt = Receipt::decode(&bytes).map_err(|error| broken(&error))?;
        if receipt.content != place.number.content {
            return Err(OperationError::OtherContent(place.number.id.sequence));
        }
        let results = match receipt.outcome {
            Told::Applied(results) => results,
            Told::Created(created) => created
                .results(place.operations)
                .map_err(|error| OperationError::Broken(with_causes(&error)))?,
            Told::Refused { kind, message } => return Ok(Some(Err(OperationError::RefusedBefore { kind, message }))),
        };
        Ok(Some(Ok(Outcome {
            results,
            bookmark: snapshot,
        })))
    }

    /// That there is no receipt says that no attempt was applied only while receipts as old as the first attempt are kept:
    /// while its partition can still be read as of then. Asked after the receipt was looked for, not before.
    pub(super) async fn no_receipt_was_dropped(&self, place: &Place<'_>) -> Result<(), OperationError> {
        let Some(sent_after) = place.number.sent_after else {
            return Ok(());
        };
        if self.coordinator.known_issued() < sent_after && self.coordinator.take_snapshot().await? < sent_after {
            return Err(OperationError::NeverIssued(sent_after));
        }
        let get = Read::Get { key: place.key.clone() };
        let read = self
            .coordinator
            .read_at(sent_after, ReadFrom::Leaders, vec![get], MAX_TRANSACTION_BYTES);
        match read.await {
            Ok(_) => Ok(()),
            Err(ReadError::TooOld) => Err(OperationError::Expired(sent_after)),
            Err(error) => Err(error.into()),
        }
    }

    /// The receipt that a commit has met.
    pub(super) async fn told_again(&self, place: &Place<'_>) -> Result<Outcome, OperationError> {
        match self.earlier_outcome(place).await? {
            Some(outcome) => outcome,
            None => Err(OperationError::UnknownOutcome("its receipt has expired".to_owned())),
        }
    }

    /// Tells a refusal, unless an earlier attempt was applied and caused it.
    pub(super) async fn refuse(&self, place: &Place<'_>, refusal: GraphError) -> Result<Outcome, OperationError> {
        if let Some(outcome) = self.earlier_outcome(place).await? {
            return outcome;
        }
        if !place.number.repeated {
            return Err(OperationError::Refused(refusal));
        }
        let told = Told::Refused {
            kind: kind_of_refusal(&refusal) as u8,
            message: refusal.to_string(),
        };
        let mut writes = Writes::default();
        place.put(&mut writes, told);
        match self.coordinator.begin().commit(writes).await {
            Ok(_) => Err(OperationError::Refused(refusal)),
            Err(CommitError::ConditionFailed(_)) => self.told_again(place).await,
            Err(CommitError::DiskFull(cause)) => Err(OperationError::DiskFull(cause)),
            Err(CommitError::Broken(cause)) => Err(OperationError::Broken(cause)),
            Err(error) => Err(OperationError::Transient(error.to_string())),
        }
    }
}
