//! The Eventual commit: answered when this leader has the entry on its own disk, before a majority has.
//!
//! The answer is a promise, so the commit is judged here just as applying it will judge it, while nothing that could change
//! the judgement can get into the log before it: its own keys are latched, what it reads and requires is guarded, and no
//! unlatched entry is under way, of this leadership or an older one. Only the loss of this leadership can then undo it. Where any of that cannot be had at once
//! the commit is answered as a Strong one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{self as state, Command, CommitOnePhase, OnePhaseAnswer, Span, would_commit};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use super::commit::WRITE_WAIT;
use super::small::Size;
use super::{PartitionLeader, failure};
use crate::to_the_end::to_the_end;
use crate::transaction::latch::Held;
use crate::transaction::message::{Failure, OnePhase, OnePhaseReply};

/// What became of a proposal before its promise could be made: the work on it goes on elsewhere.
enum Early {
    Promised(Timestamp),
    Ended(OnePhaseReply),
    /// Nothing was proposed.
    NotNow,
}

impl PartitionLeader {
    /// Commits in one phase, and answers as early as it may.
    pub(super) async fn one_phase_eventual(self: &Arc<Self>, request: OnePhase) -> Result<OnePhaseReply, Failure> {
        let leader = self.clone();
        let asked = request.clone();
        // As a Strong one it goes on where the caller does not wait any more, because of its latches.
        let early = to_the_end(async move { leader.commit_early(asked).await });
        match early.await.unwrap_or(Err(Failure::Unknown))? {
            Early::Promised(at) => Ok(OnePhaseReply::Committed(at)),
            Early::Ended(reply) => Ok(reply),
            Early::NotNow => self.one_phase(request).await,
        }
    }

    async fn commit_early(self: &Arc<Self>, request: OnePhase) -> Result<Early, Failure> {
        if !request.elsewhere.is_empty() || !request.prepared.is_empty() {
            return Ok(Early::NotNow);
        }
        let request = Arc::new(request);
        if let Some(refusal) = self.clear_the_way(&request, Instant::now() + WRITE_WAIT).await? {
            return Ok(Early::Ended(OnePhaseReply::NotProposed(refusal)));
        }
        let term = self.leading_term()?;
        self.settle_older_terms(term).await?;
        let (txn, keys) = (request.head.txn, request.writes.keys());
        let held = self
            .latches
            .acquire(term, txn, keys, guards(&request), WRITE_WAIT)
            .await;
        let (Ok(held), Some(_turn)) = (held, self.turns.try_eventual()) else {
            return Ok(Early::NotNow);
        };
        let Ok(commit_ts) = self.timestamps.take().await else {
            return Ok(Early::NotNow);
        };
        let command = Arc::unwrap_or_clone(request).into_command(commit_ts, term);
        if !self.would_commit(term, command.clone()).await? || !held.is_valid() {
            return Ok(Early::NotNow);
        }
        let (on_disk, told) = oneshot::channel();
        let leader = self.clone();
        let work = tokio::spawn(async move { leader.propose_promised(command, on_disk, held).await });
        match told.await {
            Ok(()) => Ok(Early::Promised(commit_ts)),
            // It ended before it was on disk, or with it.
            Err(_) => ended(work.await.unwrap_or(Err(Failure::Unknown))?),
        }
    }

    /// Makes sure, once a term, that whatever older leaders proposed is applied here or never will be.
    async fn settle_older_terms(&self, term: u64) -> Result<(), Failure> {
        if self.settled_term.load(Ordering::Acquire) < term {
            self.group.read_barrier().await.map_err(failure)?;
            if self.leading_term()? == term {
                self.settled_term.fetch_max(term, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    async fn would_commit(&self, term: u64, command: CommitOnePhase) -> Result<bool, Failure> {
        let view = self.group.view().map_err(failure)?;
        let size = Size::of_spans(command.writes.len() + command.conditions.len(), &command.reads);
        self.look_at(size, move || would_commit(view.as_ref(), term, &command))
            .await
    }

    /// Proposes, and holds the latches until the result is visible or never will be.
    async fn propose_promised(
        self: Arc<Self>,
        command: CommitOnePhase,
        on_disk: oneshot::Sender<()>,
        held: Held,
    ) -> Result<OnePhaseAnswer, Failure> {
        let txn = command.head.txn;
        let bytes = Command::CommitOnePhase(command).encode();
        let answer = match self.group.propose_told(bytes, on_disk).await.map_err(failure) {
            Ok(bytes) => state::Answer::decode(&bytes).map_err(|error| Failure::Broken(error.to_string())),
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(state::Answer::OnePhase(answer)) => Ok(answer),
            Ok(other) => Err(super::wrong_answer(&other)),
            Err(failure) => {
                warn!(partition = %self.partition, %txn, %failure, "an Eventual commit may be lost with this leadership");
                if failure == Failure::Unknown {
                    self.hold_until_visible(held).await;
                }
                Err(failure)
            }
        }
    }
}

/// What must not change before the commit: what it read and what it requires.
fn guards(request: &OnePhase) -> Vec<Span> {
    let required = request
        .conditions
        .iter()
        .map(|condition| Span::Key(condition.key.clone()));
    request.reads.iter().cloned().chain(required).collect()
}

fn ended(answer: OnePhaseAnswer) -> Result<Early, Failure> {
    Ok(Early::Ended(match answer {
        OnePhaseAnswer::Committed(at) => OnePhaseReply::Committed(at),
        OnePhaseAnswer::Aborted => OnePhaseReply::Aborted,
        OnePhaseAnswer::Refused(refusal) => OnePhaseReply::Refused(refusal),
        OnePhaseAnswer::TooOld => OnePhaseReply::TooOld,
        OnePhaseAnswer::Retry => return Ok(Early::NotNow),
    }))
}
