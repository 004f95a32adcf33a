//! The commit: one phase where one partition is written; where several are, all but the primary are prepared before it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{
    Condition, Key, Op, Prepare, PrepareAnswer, Push, Refusal, Span, TxnHead, TxnStatus, slot_of,
};
use tokio::time::{Instant, sleep};

use super::{Acknowledgement, CommitError, Transaction, Writes};
use crate::transaction::boundary::CallError;
use crate::transaction::message::{Elsewhere, Failure, OnePhase, OnePhaseReply, Refresh, RefreshReply, Reply, Request};
use crate::transaction::outcomes::Phases;

/// How long the truth about a commit is asked for before it is called unknown.
const ASK_OUTCOME_FOR: Duration = Duration::from_secs(10);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a transaction does on one partition.
#[derive(Debug, Default)]
struct Part {
    writes: BTreeMap<Key, Op>,
    spans: Vec<Span>,
    conditions: Vec<Condition>,
}

/// Not all that had to be prepared is.
struct Unprepared {
    /// Of the first that did not.
    error: CommitError,
    /// These have put no intents.
    refused_by: BTreeSet<PartitionId>,
}

impl Transaction<'_> {
    /// Commits; the timestamp is the client's bookmark. Every other outcome says what is known.
    pub async fn commit(self, writes: Writes) -> Result<Timestamp, CommitError> {
        self.commit_for(writes, 1).await
    }

    /// As [`Transaction::commit`], for so many transactions that share it. One that failed was one attempt.
    pub(super) async fn commit_for(self, writes: Writes, sharing: u64) -> Result<Timestamp, CommitError> {
        let outcomes = self.coordinator.outcomes();
        let (phases, ended) = self.run_phases(writes).await;
        let failed_for_all = ended.as_ref().is_err_and(CommitError::applied_nothing);
        outcomes.note(phases, &ended, if failed_for_all { 1 } else { sharing });
        if sharing > 1 {
            outcomes.shared.inc_by(sharing);
        }
        ended
    }

    async fn run_phases(mut self, writes: Writes) -> (Phases, Result<Timestamp, CommitError>) {
        let start = match self.start_for_writing().await {
            Ok(start) => start,
            Err(error) => return (Phases::None, Err(error)),
        };
        let parts = self.split(writes);
        let written: Vec<PartitionId> = parts
            .iter()
            .filter(|(_, part)| !part.writes.is_empty())
            .map(|(id, _)| *id)
            .collect();
        let Some(primary) = written.first().and_then(|id| parts[id].writes.keys().next()).cloned() else {
            return (Phases::None, self.check_only(start, parts).await);
        };
        let head = self.head(start, primary);
        match written.as_slice() {
            [only] => (Phases::One, self.commit_at(*only, head, parts).await),
            _ => (Phases::Two, self.two_phase(head, parts).await),
        }
    }

    fn split(&mut self, writes: Writes) -> BTreeMap<PartitionId, Part> {
        let partitions = &self.coordinator.partitions;
        let mut parts: BTreeMap<PartitionId, Part> = BTreeMap::new();
        for (key, op) in writes.writes {
            parts
                .entry(partitions.partition_of(slot_of(&key)))
                .or_default()
                .writes
                .insert(key, op);
        }
        for condition in writes.conditions {
            let partition = partitions.partition_of(slot_of(&condition.key));
            parts.entry(partition).or_default().conditions.push(condition);
        }
        for span in std::mem::take(&mut self.spans) {
            for (partition, part) in self.spread(span) {
                parts.entry(partition).or_default().spans.push(part);
            }
        }
        parts
    }

    /// A span of many slots, cut at the borders of partitions.
    fn spread(&self, span: Span) -> Vec<(PartitionId, Span)> {
        let partitions = &self.coordinator.partitions;
        match span {
            Span::Key(ref key) => vec![(partitions.partition_of(slot_of(key)), span)],
            Span::Range { ref from, .. } => vec![(partitions.partition_of(slot_of(from)), span)],
            Span::Slots {
                first,
                last,
                suffix_from,
                suffix_to,
            } => {
                let cut = |partition: PartitionId| {
                    let (low, high) = partitions.slots_of(partition);
                    let (first, last) = (first.max(low), last.min(high));
                    (first <= last).then(|| {
                        let slots = Span::Slots {
                            first,
                            last,
                            suffix_from: suffix_from.clone(),
                            suffix_to: suffix_to.clone(),
                        };
                        (partition, slots)
                    })
                };
                partitions.all().into_iter().filter_map(cut).collect()
            }
        }
    }

    /// Nothing is written: the reads were of one snapshot, and the conditions must hold at one timestamp too.
    async fn check_only(&self, start: Timestamp, parts: BTreeMap<PartitionId, Part>) -> Result<Timestamp, CommitError> {
        if parts.values().all(|part| part.conditions.is_empty()) {
            return Ok(start);
        }
        let now = self.coordinator.timestamp().await.map_err(CommitError::Unavailable)?;
        let head = self.head(start, Key::new());
        let refreshes = parts.into_iter().map(|(partition, part)| {
            let refresh = Refresh {
                head: head.clone(),
                commit_ts: now,
                spans: part.spans,
                conditions: part.conditions,
            };
            (partition, Request::Refresh(refresh))
        });
        for answer in self.coordinator.partitions.call_all(refreshes.collect()).await {
            still_holds(answer)?;
        }
        Ok(now)
    }

    /// Prepares every written partition but the primary, which then checks and commits its own part in one phase: that entry is
    /// the commit point. Its leader takes the timestamp, after all prepares were answered.
    async fn two_phase(&self, head: TxnHead, parts: BTreeMap<PartitionId, Part>) -> Result<Timestamp, CommitError> {
        let _under_way = self.coordinator.under_way.begin(head.txn);
        let primary = self.coordinator.partitions.partition_of(slot_of(&head.primary));
        let mut prepared = prepared_slots(primary, &parts);
        let committed = match self.prepare_all_but(primary, &head, &parts).await {
            Ok(()) => self.commit_at(primary, head.clone(), parts).await,
            Err(unprepared) => {
                let partitions = &self.coordinator.partitions;
                prepared.retain(|slot| !unprepared.refused_by.contains(&partitions.partition_of(*slot)));
                Err(unprepared.error)
            }
        };
        match &committed {
            Ok(at) => self.coordinator.resolve_in_background(head, prepared, *at),
            // Whoever meets an intent of a lost message ends it by asking.
            Err(_) if prepared.is_empty() => {}
            // Told already or not, it ends only by what the primary's log says.
            Err(_) => self.coordinator.abort_in_background(head, prepared),
        }
        committed
    }

    async fn prepare_all_but(
        &self,
        primary: PartitionId,
        head: &TxnHead,
        parts: &BTreeMap<PartitionId, Part>,
    ) -> Result<(), Unprepared> {
        let others = parts
            .iter()
            .filter(|(partition, part)| **partition != primary && !part.writes.is_empty());
        let calls = others.map(|(partition, part)| {
            let prepare = Prepare {
                head: head.clone(),
                writes: part.writes.clone(),
                reads: part.spans.clone(),
                conditions: part.conditions.clone(),
                min_commit_hint: Timestamp(0),
            };
            (*partition, Request::Prepare(prepare))
        });
        let calls: Vec<_> = calls.collect();
        let asked: Vec<PartitionId> = calls.iter().map(|(partition, _)| *partition).collect();
        let mut refused_by = BTreeSet::new();
        let mut first = None;
        for (partition, answer) in asked.into_iter().zip(self.coordinator.partitions.call_all(calls).await) {
            let error = match answer {
                Ok(Reply::Prepare(PrepareAnswer::Prepared)) => continue,
                Ok(Reply::Prepare(PrepareAnswer::Refused(refusal))) => {
                    refused_by.insert(partition);
                    refused(refusal)
                }
                Ok(other) => CommitError::Broken(format!("{other:?} is no answer to a prepare")),
                // Prepared or not: without a commit it is aborted.
                Err(error) => refused_call(error),
            };
            first.get_or_insert(error);
        }
        match first {
            None => Ok(()),
            Some(error) => Err(Unprepared { error, refused_by }),
        }
    }

    /// Sends the commit to the primary. Once it is out, only the primary knows how it ended.
    async fn commit_at(
        &self,
        primary: PartitionId,
        head: TxnHead,
        mut parts: BTreeMap<PartitionId, Part>,
    ) -> Result<Timestamp, CommitError> {
        let prepared = prepared_slots(primary, &parts);
        let own = parts.remove(&primary).unwrap_or_default();
        let one_phase = OnePhase {
            head: head.clone(),
            writes: own.writes,
            reads: own.spans,
            conditions: own.conditions,
            elsewhere: parts
                .into_iter()
                .filter_map(|(id, part)| self.elsewhere(id, part))
                .collect(),
            prepared,
        };
        let request = match self.acknowledgement {
            Acknowledgement::ByMajority => Request::OnePhase(one_phase),
            Acknowledgement::ByLeader => Request::OnePhaseEventual(one_phase),
        };
        match self.coordinator.partitions.call(primary, request).await {
            Ok(Reply::OnePhase(reply)) => one_phase_outcome(reply),
            Ok(other) => Err(CommitError::Broken(format!("{other:?} is no answer to a commit"))),
            Err(error) if was_never_done(&error) => Err(refused_call(error)),
            Err(error) => self.learn_outcome(primary, &head, &error.to_string()).await,
        }
    }

    /// What is refreshed on another partition. Where the transaction has left intents, guarded conditions hold anyway.
    fn elsewhere(&self, partition: PartitionId, part: Part) -> Option<Elsewhere> {
        let is_prepared = !part.writes.is_empty();
        let conditions = part.conditions.into_iter();
        let elsewhere = Elsewhere {
            slot: self.coordinator.partitions.slots_of(partition).0,
            spans: part.spans,
            conditions: conditions
                .filter(|condition| !(is_prepared && condition.guarded))
                .collect(),
        };
        let needed = !elsewhere.spans.is_empty() || !elsewhere.conditions.is_empty();
        needed.then_some(elsewhere)
    }

    /// Asks the primary for the truth, aborting what has no outcome: its answer is in the log and final.
    async fn learn_outcome(
        &self,
        partition: PartitionId,
        head: &TxnHead,
        cause: &str,
    ) -> Result<Timestamp, CommitError> {
        let deadline = Instant::now() + ASK_OUTCOME_FOR;
        while Instant::now() < deadline {
            let request = Request::CheckTxn {
                head: head.clone(),
                push: Push::Abort,
            };
            match self.coordinator.partitions.call(partition, request).await {
                Ok(Reply::Status(TxnStatus::Committed(at))) => return Ok(at),
                Ok(Reply::Status(TxnStatus::Aborted)) => {
                    return Err(CommitError::Conflict(format!("given up: {cause}")));
                }
                Ok(Reply::Status(TxnStatus::Gone)) => break,
                Ok(_) | Err(_) => sleep(ASK_AGAIN_AFTER).await,
            }
        }
        Err(CommitError::UnknownOutcome(cause.to_owned()))
    }
}

/// Slots that are written on other partitions than the primary.
fn prepared_slots(primary: PartitionId, parts: &BTreeMap<PartitionId, Part>) -> BTreeSet<u16> {
    let others = parts.iter().filter(|(partition, _)| **partition != primary);
    others
        .flat_map(|(_, part)| part.writes.keys())
        .map(|key| slot_of(key))
        .collect()
}

fn still_holds(answer: Result<Reply, CallError>) -> Result<(), CommitError> {
    match answer {
        Ok(Reply::Refresh(RefreshReply::Valid)) => Ok(()),
        Ok(Reply::Refresh(RefreshReply::Changed)) => Err(CommitError::Conflict("what was read has changed".to_owned())),
        Ok(Reply::Refresh(RefreshReply::ConditionFailed(key))) => Err(CommitError::ConditionFailed(key)),
        Ok(other) => Err(CommitError::Broken(format!("{other:?} is no answer to a refresh"))),
        Err(error) => Err(refused_call(error)),
    }
}

fn one_phase_outcome(reply: OnePhaseReply) -> Result<Timestamp, CommitError> {
    match reply {
        OnePhaseReply::Committed(at) => Ok(at),
        OnePhaseReply::Refused(refusal) | OnePhaseReply::NotProposed(refusal) => Err(refused(refusal)),
        OnePhaseReply::Aborted => Err(CommitError::Conflict("rolled back by another transaction".to_owned())),
        // The request was sent once, so no earlier attempt can have committed.
        OnePhaseReply::TooOld => Err(CommitError::Conflict("it took too long".to_owned())),
    }
}

/// Nothing was sent to a log.
fn was_never_done(error: &CallError) -> bool {
    match error {
        CallError::Unavailable(_) => true,
        CallError::Unknown(_) => false,
        CallError::Failed(failure) => match failure {
            Failure::NotLeader { .. }
            | Failure::Busy(_)
            | Failure::TooOld
            | Failure::TooLarge(_)
            | Failure::DiskFull(_) => true,
            Failure::Unknown | Failure::Broken(_) => false,
        },
    }
}

fn refused_call(error: CallError) -> CommitError {
    match error {
        CallError::Failed(Failure::TooLarge(cause)) => CommitError::TooLarge(cause),
        CallError::Failed(Failure::DiskFull(cause)) => CommitError::DiskFull(cause),
        CallError::Failed(Failure::Broken(cause)) => CommitError::Broken(cause),
        CallError::Failed(Failure::Busy(cause)) => CommitError::Conflict(cause),
        CallError::Failed(Failure::TooOld) => CommitError::Conflict("it took too long".to_owned()),
        other => CommitError::Unavailable(other.to_string()),
    }
}

fn refused(refusal: Refusal) -> CommitError {
    match refusal {
        Refusal::ConditionFailed { key, .. } => CommitError::ConditionFailed(key),
        Refusal::WriteConflict { .. } => CommitError::Conflict("a written key was changed meanwhile".to_owned()),
        Refusal::ReadConflict { .. } => CommitError::Conflict("what was read has changed".to_owned()),
        Refusal::Intent { holder, .. } => CommitError::Conflict(format!("transaction {} is in the way", holder.txn)),
        Refusal::ConditionConflict { .. } => CommitError::Conflict("a condition changed meanwhile".to_owned()),
        Refusal::TooOld => CommitError::Conflict("it took too long".to_owned()),
    }
}
