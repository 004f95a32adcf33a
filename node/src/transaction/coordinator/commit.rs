//! The commit: one phase where one partition is written, two where several are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{
    Commit, CommitAnswer, Condition, Key, Op, Prepare, PrepareAnswer, Push, Refusal, Span, TxnHead, TxnStatus, slot_of,
};
use tokio::time::{Instant, sleep};

use super::{Acknowledgement, CommitError, Transaction, Writes};
use crate::transaction::boundary::CallError;
use crate::transaction::message::{Elsewhere, Failure, OnePhase, OnePhaseReply, Refresh, RefreshReply, Reply, Request};
use crate::transaction::outcomes::Phases;

/// How often readers may push a commit up before it gives way to them.
const MAX_PUSHES: u32 = 8;
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

impl Transaction<'_> {
    /// Commits; the timestamp is the client's bookmark. Every other outcome says what is known.
    pub async fn commit(self, writes: Writes) -> Result<Timestamp, CommitError> {
        let outcomes = self.coordinator.outcomes();
        let (phases, ended) = self.run_phases(writes).await;
        outcomes.note(phases, &ended);
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
            [only] => (Phases::One, self.one_phase(*only, head, parts).await),
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
        let now = self.commit_timestamp().await?;
        let head = self.head(start, Key::new());
        self.refresh_all(&head, now, &parts, Guarded::Too).await?;
        Ok(now)
    }

    async fn one_phase(
        &self,
        partition: PartitionId,
        head: TxnHead,
        mut parts: BTreeMap<PartitionId, Part>,
    ) -> Result<Timestamp, CommitError> {
        let own = parts.remove(&partition).unwrap_or_default();
        let elsewhere = parts.into_iter().map(|(id, part)| Elsewhere {
            slot: self.coordinator.partitions.slots_of(id).0,
            spans: part.spans,
            conditions: part.conditions,
        });
        let one_phase = OnePhase {
            head: head.clone(),
            writes: own.writes,
            reads: own.spans,
            conditions: own.conditions,
            elsewhere: elsewhere.collect(),
        };
        let request = match self.acknowledgement {
            Acknowledgement::ByMajority => Request::OnePhase(one_phase),
            Acknowledgement::ByLeader => Request::OnePhaseEventual(one_phase),
        };
        match self.coordinator.partitions.call(partition, request).await {
            Ok(Reply::OnePhase(reply)) => one_phase_outcome(reply),
            Ok(other) => Err(CommitError::Broken(format!("{other:?} is no answer to a commit"))),
            Err(error) if was_never_done(&error) => Err(refused_call(error)),
            Err(error) => self.learn_outcome(partition, &head, &error.to_string()).await,
        }
    }

    async fn two_phase(&self, head: TxnHead, parts: BTreeMap<PartitionId, Part>) -> Result<Timestamp, CommitError> {
        let participants: BTreeSet<u16> = parts
            .values()
            .flat_map(|part| part.writes.keys())
            .map(|key| slot_of(key))
            .collect();
        if let Err(error) = self.prepare_all(&head, &participants, &parts).await {
            // Commit was never sent, so "aborted" is true already; the tombstone follows at leisure.
            self.coordinator.abort_in_background(head, participants);
            return Err(error);
        }
        let mut pushes = 0;
        loop {
            let commit_ts = match self.timestamp_and_refresh(&head, &parts).await {
                Ok(commit_ts) => commit_ts,
                Err(error) => {
                    self.coordinator.abort_in_background(head, participants);
                    return Err(error);
                }
            };
            let answer = match self.commit_primary(&head, commit_ts).await {
                Ok(answer) => answer,
                Err(error) => {
                    // Where the primary's log says aborted, the other partitions are cleared; else this changes nothing.
                    if matches!(error, CommitError::Conflict(_)) {
                        self.coordinator.abort_in_background(head, participants);
                    }
                    return Err(error);
                }
            };
            match answer {
                CommitAnswer::Committed(at) => {
                    self.coordinator.resolve_in_background(head, participants, at);
                    return Ok(at);
                }
                CommitAnswer::Aborted => {
                    return Err(CommitError::Conflict("rolled back by another transaction".to_owned()));
                }
                CommitAnswer::Gone => return Err(CommitError::UnknownOutcome("its record is collected".to_owned())),
                CommitAnswer::Pushed(_) if pushes < MAX_PUSHES => pushes += 1,
                CommitAnswer::Pushed(_) => {
                    self.coordinator.abort_in_background(head, participants);
                    return Err(CommitError::Conflict("readers of the same keys came first".to_owned()));
                }
            }
        }
    }

    async fn prepare_all(
        &self,
        head: &TxnHead,
        participants: &BTreeSet<u16>,
        parts: &BTreeMap<PartitionId, Part>,
    ) -> Result<(), CommitError> {
        let written = parts.iter().filter(|(_, part)| !part.writes.is_empty());
        let calls = written.map(|(partition, part)| {
            let prepare = Prepare {
                head: head.clone(),
                participants: participants.clone(),
                writes: part.writes.clone(),
                reads: part.spans.clone(),
                conditions: part.conditions.clone(),
                min_commit_hint: Timestamp(0),
            };
            (*partition, Request::Prepare(prepare))
        });
        for answer in self.coordinator.partitions.call_all(calls.collect()).await {
            match answer {
                Ok(Reply::Prepare(PrepareAnswer::Prepared)) => {}
                Ok(Reply::Prepare(PrepareAnswer::Refused(refusal))) => return Err(refused(refusal)),
                Ok(Reply::Prepare(PrepareAnswer::Aborted | PrepareAnswer::Committed(_))) => {
                    return Err(CommitError::Conflict("rolled back by another transaction".to_owned()));
                }
                Ok(other) => return Err(CommitError::Broken(format!("{other:?} is no answer to a prepare"))),
                // Prepared or not: without a commit it is aborted.
                Err(error) => return Err(refused_call(error)),
            }
        }
        Ok(())
    }

    async fn commit_timestamp(&self) -> Result<Timestamp, CommitError> {
        self.coordinator.timestamp().await.map_err(CommitError::Unavailable)
    }

    /// The timestamp is taken after the last prepare; then everything only read must still hold there.
    async fn timestamp_and_refresh(
        &self,
        head: &TxnHead,
        parts: &BTreeMap<PartitionId, Part>,
    ) -> Result<Timestamp, CommitError> {
        let commit_ts = self.commit_timestamp().await?;
        self.refresh_all(head, commit_ts, parts, Guarded::NotWhereWritten)
            .await?;
        Ok(commit_ts)
    }

    async fn refresh_all(
        &self,
        head: &TxnHead,
        commit_ts: Timestamp,
        parts: &BTreeMap<PartitionId, Part>,
        guarded: Guarded,
    ) -> Result<(), CommitError> {
        let calls = parts.iter().filter_map(|(partition, part)| {
            let skip_guarded = guarded == Guarded::NotWhereWritten && !part.writes.is_empty();
            let conditions = part
                .conditions
                .iter()
                .filter(|condition| !(condition.guarded && skip_guarded));
            let refresh = Refresh {
                head: head.clone(),
                commit_ts,
                spans: part.spans.clone(),
                conditions: conditions.cloned().collect(),
            };
            let needed = !refresh.spans.is_empty() || !refresh.conditions.is_empty();
            needed.then_some((*partition, Request::Refresh(refresh)))
        });
        for answer in self.coordinator.partitions.call_all(calls.collect()).await {
            match answer {
                Ok(Reply::Refresh(RefreshReply::Valid)) => {}
                Ok(Reply::Refresh(RefreshReply::Changed)) => {
                    return Err(CommitError::Conflict("what was read has changed".to_owned()));
                }
                Ok(Reply::Refresh(RefreshReply::ConditionFailed(key))) => {
                    return Err(CommitError::ConditionFailed(key));
                }
                Ok(other) => return Err(CommitError::Broken(format!("{other:?} is no answer to a refresh"))),
                Err(error) => return Err(refused_call(error)),
            }
        }
        Ok(())
    }

    /// Sends the commit. Once it is out, only the primary knows how it ended.
    async fn commit_primary(&self, head: &TxnHead, commit_ts: Timestamp) -> Result<CommitAnswer, CommitError> {
        let partition = self.coordinator.partitions.partition_of(slot_of(&head.primary));
        let commit = Commit {
            head: head.clone(),
            commit_ts,
        };
        match self
            .coordinator
            .partitions
            .call(partition, Request::Commit(commit))
            .await
        {
            Ok(Reply::Commit(answer)) => Ok(answer),
            Ok(other) => Err(CommitError::Broken(format!("{other:?} is no answer to a commit"))),
            Err(error) => self
                .learn_outcome(partition, head, &error.to_string())
                .await
                .map(CommitAnswer::Committed),
        }
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

/// Whether guarded conditions are refreshed: they need it only where the transaction leaves no intent beside them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guarded {
    Too,
    NotWhereWritten,
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
