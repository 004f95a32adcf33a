//! Writing: Prepare, and the commit, in one phase, of a transaction that writes here alone or here last.
//!
//! One phase: latch the written keys and guard what is read beside them, then take the commit timestamp, then refresh elsewhere, then propose; the latches
//! go only when the result is visible, or the leadership has ended.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{
    self as state, Command, Condition, Key, MetIntent, OnePhaseAnswer, Prepare, PrepareAnswer, Refusal, Span, intent_of,
};
use kotoba_state::store::{Read as View, StoreError};
use tokio::time::{Instant, sleep};

use super::settle::Met;
use super::small::Size;
use super::{PartitionLeader, failure, latch_failure, wrong_answer};
use crate::to_the_end::to_the_end;
use crate::transaction::latch::{Held, LatchError};
use crate::transaction::message::{Failure, OnePhase, OnePhaseReply, Refresh, RefreshReply, Reply, Request};

/// How long a writer waits for others on its keys before it gives way; the client's transaction is then tried again.
pub(super) const WRITE_WAIT: Duration = Duration::from_secs(1);
/// Between two looks at an intent that is in the way.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);
/// Most transactions end and are cleared by their coordinator before anyone has to ask how they ended.
const ASK_AFTER: Duration = Duration::from_millis(10);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Latching anew after a change of term or a closed timestamp.
const MAX_ATTEMPTS: usize = 8;
/// Between two attempts to learn whether an unanswered proposal was applied.
const PROBE_AFTER: Duration = Duration::from_millis(100);

impl PartitionLeader {
    /// Puts intents, after giving those in the way a moment to go.
    pub(super) async fn prepare(&self, mut prepare: Prepare) -> Result<PrepareAnswer, Failure> {
        let deadline = Instant::now() + WRITE_WAIT;
        loop {
            prepare.min_commit_hint = Timestamp(self.seen().0 + 1);
            let answer = match self.propose(&Command::Prepare(prepare.clone())).await? {
                state::Answer::Prepare(answer) => answer,
                other => return Err(wrong_answer(&other)),
            };
            if !matches!(answer, PrepareAnswer::Refused(Refusal::Intent { .. })) {
                return Ok(answer);
            }
            let waits = Arc::new(prepare);
            if let Some(refusal) = self.wait_until_clear(&waits, deadline).await? {
                return Ok(PrepareAnswer::Refused(refusal));
            }
            if Instant::now() >= deadline {
                return Ok(answer);
            }
            prepare = Arc::unwrap_or_clone(waits);
        }
    }

    /// Commits in one phase. The work goes on where the caller does not wait for it any more, because of its latches.
    pub(super) async fn one_phase(self: &Arc<Self>, request: OnePhase) -> Result<OnePhaseReply, Failure> {
        let leader = self.clone();
        let work = to_the_end(async move { leader.commit_one_phase(request).await });
        work.await.unwrap_or(Err(Failure::Unknown))
    }

    async fn commit_one_phase(self: &Arc<Self>, request: OnePhase) -> Result<OnePhaseReply, Failure> {
        let request = Arc::new(request);
        for _ in 0..MAX_ATTEMPTS {
            if let Some(refusal) = self.clear_the_way(&request, Instant::now() + WRITE_WAIT).await? {
                return Ok(OnePhaseReply::NotProposed(refusal));
            }
            let term = self.leading_term()?;
            let held = self
                .latches
                .acquire(
                    term,
                    request.head.txn,
                    request.writes.keys(),
                    beside_writes(&request),
                    WRITE_WAIT,
                )
                .await;
            let held = match held {
                // An earlier attempt is still under way, so "nothing was done" would not be true.
                Err(LatchError::Timeout) if self.latches.is_held_by(request.head.txn) => return Err(Failure::Unknown),
                held => held.map_err(latch_failure)?,
            };
            let commit_ts = match self.timestamps.take().await {
                Ok(commit_ts) => commit_ts,
                Err(error) => return Err(Failure::Busy(error.to_string())),
            };
            if let Some(refusal) = self.refresh_elsewhere(&request, commit_ts).await? {
                return Ok(OnePhaseReply::NotProposed(refusal));
            }
            // From here on only the end of this leadership takes the latches away.
            if !held.is_valid() {
                continue;
            }
            match self.propose_one_phase(&request, commit_ts, term, held).await? {
                OnePhaseAnswer::Committed(at) => return Ok(OnePhaseReply::Committed(at)),
                OnePhaseAnswer::Aborted => return Ok(OnePhaseReply::Aborted),
                OnePhaseAnswer::Refused(refusal) => return Ok(OnePhaseReply::Refused(refusal)),
                OnePhaseAnswer::TooOld => return Ok(OnePhaseReply::TooOld),
                OnePhaseAnswer::Retry => {}
            }
        }
        Err(Failure::Busy("the partition's leader keeps changing".to_owned()))
    }

    async fn propose_one_phase(
        self: &Arc<Self>,
        request: &OnePhase,
        commit_ts: Timestamp,
        term: u64,
        held: Held,
    ) -> Result<OnePhaseAnswer, Failure> {
        let command = Command::CommitOnePhase(request.clone().into_command(commit_ts, term));
        match self.propose_latched(&command).await {
            Ok(state::Answer::OnePhase(answer)) => Ok(answer),
            Ok(other) => Err(wrong_answer(&other)),
            Err(Failure::Unknown) => {
                tokio::spawn(self.clone().hold_until_visible(held));
                Err(Failure::Unknown)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Keeps latches whose proposal was not answered, until a later entry of the same leader is applied: then the
    /// earlier one is, too, or never will be.
    pub(super) async fn hold_until_visible(self: Arc<Self>, held: Held) {
        let probe = Command::CloseTs { closed: Timestamp(0) };
        while held.is_valid() && self.propose(&probe).await.is_err() {
            sleep(PROBE_AFTER).await;
        }
    }

    /// What was read on other partitions must still hold there while the latches here are held.
    async fn refresh_elsewhere(&self, request: &OnePhase, commit_ts: Timestamp) -> Result<Option<Refusal>, Failure> {
        let calls = request.elsewhere.iter().map(|part| {
            let refresh = Refresh {
                head: request.head.clone(),
                commit_ts,
                spans: part.spans.clone(),
                conditions: part.conditions.clone(),
            };
            self.partitions
                .call(self.partitions.partition_of(part.slot), Request::Refresh(refresh))
        });
        for answer in join_all(calls).await {
            match answer {
                Ok(Reply::Refresh(RefreshReply::Valid)) => {}
                Ok(Reply::Refresh(RefreshReply::Changed)) => {
                    return Ok(Some(Refusal::ReadConflict { key: Key::new() }));
                }
                Ok(Reply::Refresh(RefreshReply::ConditionFailed(key))) => {
                    return Ok(Some(condition_failed(request, key)));
                }
                Ok(other) => return Err(Failure::Broken(format!("{other:?} is no answer to a refresh"))),
                Err(error) => return Err(Failure::Busy(error.to_string())),
            }
        }
        Ok(None)
    }

    /// As [`PartitionLeader::wait_until_clear`], for one that has met nobody yet.
    pub(super) async fn clear_the_way<T: Foreseen>(
        &self,
        transaction: &Arc<T>,
        deadline: Instant,
    ) -> Result<Option<Refusal>, Failure> {
        let view = self.group.view().map_err(failure)?;
        // One look at a range that is empty most of the time, and then in memory.
        match state::has_intents(view.as_ref()).map_err(|error| Failure::Broken(error.to_string()))? {
            true => self.wait_until_clear(transaction, deadline).await,
            false => Ok(None),
        }
    }

    /// Waits, holding nothing, until no intent is in the way of a transaction, on keys it writes, reads or requires something of.
    /// One that stays open until the deadline is left to the state machine to refuse. Where it has lost for good by now, gives why.
    async fn wait_until_clear<T: Foreseen>(
        &self,
        transaction: &Arc<T>,
        deadline: Instant,
    ) -> Result<Option<Refusal>, Failure> {
        loop {
            let view = self.group.view().map_err(failure)?;
            let asked = transaction.clone();
            let foreseen = self.look_at(transaction.size(), move || asked.foresee(view.as_ref()));
            match foreseen.await? {
                Some(Refusal::Intent { key, .. }) if Instant::now() < deadline => {
                    self.wait_for_intents_of(vec![key], deadline).await?;
                }
                Some(refusal) if is_final(&refusal) => return Ok(Some(refusal)),
                Some(_) | None => return Ok(None),
            }
        }
    }

    /// Waits, holding nothing, until no transaction has an intent on the keys; decided ones that stay are cleared. One that
    /// stays open until the deadline is left to the state machine to refuse.
    async fn wait_for_intents_of(&self, keys: Vec<Key>, deadline: Instant) -> Result<(), Failure> {
        let mut ask_at = Instant::now() + ASK_AFTER;
        loop {
            let view = self.group.view().map_err(failure)?;
            let looked = keys.clone();
            let size = Size::of_spans(keys.len(), []);
            let looking = self.look_at(size, move || {
                let mut met = Vec::new();
                for key in looked {
                    let intent = intent_of(view.as_ref(), &key)?;
                    met.extend(intent.map(|intent| MetIntent { key, intent }));
                }
                Ok::<_, kotoba_state::store::StoreError>(met)
            });
            let met = looking.await?;
            if met.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
            if Instant::now() >= ask_at {
                ask_at = Instant::now() + ASK_AGAIN_AFTER;
                if self.resolve_decided(met).await? == Met::Cleared {
                    continue;
                }
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// What can be judged before it is proposed.
pub(super) trait Foreseen: Send + Sync + 'static {
    fn size(&self) -> Size;
    /// What applying it to this view would refuse it for; nothing where an earlier attempt at it was applied.
    fn foresee(&self, view: &dyn View) -> Result<Option<Refusal>, StoreError>;
}

impl Foreseen for OnePhase {
    fn size(&self) -> Size {
        Size::of_spans(self.writes.len() + self.conditions.len(), &self.reads)
    }

    fn foresee(&self, view: &dyn View) -> Result<Option<Refusal>, StoreError> {
        let refusal = state::foresee(view, &self.head, &self.writes, &self.reads, &self.conditions)?;
        // What is in its way then may be its own.
        let is_decided = match refusal.as_ref().is_some_and(is_final) {
            true => state::status(view, &self.head)?.is_decided(),
            false => false,
        };
        Ok(refusal.filter(|_| !is_decided))
    }
}

impl Foreseen for Prepare {
    fn size(&self) -> Size {
        Size::of_spans(self.writes.len() + self.conditions.len(), &self.reads)
    }

    fn foresee(&self, view: &dyn View) -> Result<Option<Refusal>, StoreError> {
        state::foresee(view, &self.head, &self.writes, &self.reads, &self.conditions)
    }
}

/// Whoever is refused so once is refused at every later time: what changed since it began stays changed. So is an attempt at the
/// same that is under way, or was applied before and is in the same view.
fn is_final(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::WriteConflict { .. } | Refusal::ReadConflict { .. } => true,
        Refusal::Intent { .. }
        | Refusal::ConditionFailed { .. }
        | Refusal::ConditionConflict { .. }
        | Refusal::TooOld => false,
    }
}

/// What it reads or requires here and does not write. A writer of that could have an earlier timestamp and be applied later:
/// then what was read would be wrong at the timestamp of this commit, and the log would not show it. Guarded conditions are safe,
/// as whoever makes them false reads what is latched here.
fn beside_writes(request: &OnePhase) -> Vec<Span> {
    let required = request.conditions.iter().filter(|condition| !condition.guarded);
    let required = required.map(|condition| Span::Key(condition.key.clone()));
    let is_written = |span: &Span| matches!(span, Span::Key(key) if request.writes.contains_key(key));
    let beside = request.reads.iter().cloned().chain(required);
    beside.filter(|span| !is_written(span)).collect()
}

fn condition_failed(request: &OnePhase, key: Key) -> Refusal {
    let conditions = request.elsewhere.iter().flat_map(|part| &part.conditions);
    let kind = conditions
        .clone()
        .find(|condition: &&Condition| condition.key == key)
        .map(|condition| condition.kind);
    Refusal::ConditionFailed {
        key,
        kind: kind.unwrap_or(state::ConditionKind::Exists),
    }
}
