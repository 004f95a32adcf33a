//! Snapshot reads and refreshes: latches, barrier, one view, and again for what is not settled yet.

use std::sync::Arc;
use std::time::Duration;

use kotoba_graph::read::{Answer, Read};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{self as state, Key, Known, RefreshOutcome, Refusal, Span};
use kotoba_state::store::{Read as View, StoreError};
use tokio::time::Instant;

use super::evaluate::{self, Evaluated};
use super::settle::Met;
use super::small::Size;
use super::{PartitionLeader, failure, latch_failure};
use crate::transaction::coordinator::span_of;
use crate::transaction::latch::LatchError;
use crate::transaction::message::{Failure, Refresh, RefreshReply, Reply};

/// The longest that a read waits for latches and for undecided transactions together.
const READ_WITHIN: Duration = Duration::from_secs(8);
/// A refresh may be asked for by one who holds latches elsewhere: it waits only a moment, or two could wait for ever.
const REFRESH_LATCH_WITHIN: Duration = Duration::from_millis(100);
/// Rounds of a refresh; each has resolved what the one before met.
const REFRESH_ROUNDS: usize = 8;

impl PartitionLeader {
    /// Answers all reads at a snapshot, from one view.
    pub(super) async fn read(
        &self,
        snapshot: Timestamp,
        reads: Vec<Read>,
        max_bytes: usize,
    ) -> Result<Vec<Answer>, Failure> {
        let spans: Vec<Span> = reads.iter().map(span_of).collect();
        let size = Size::of(&reads);
        let look = move |view: &dyn View, known: &Known| evaluate::evaluate(view, snapshot, &reads, max_bytes, known);
        self.look(snapshot, &spans, size, look).await
    }

    /// The kept versions of a key up to a snapshot.
    pub(super) async fn history(&self, snapshot: Timestamp, key: Key, limit: u32) -> Result<Reply, Failure> {
        let span = Span::Key(key.clone());
        let look = move |view: &dyn View, known: &Known| evaluate::history(view, snapshot, &key, limit, known);
        let kept = self.look(snapshot, &[span], Size::Large, look).await?;
        Ok(Reply::History {
            versions: kept.versions,
            more: kept.more,
        })
    }

    /// The newest versions of all that is read, without a timestamp taken for it: a round trip less.
    ///
    /// Each commit on what is read whose timestamp was issued before this call held its latches, or has intents there. So once
    /// no latch is held and no intent is there, the newest versions are all that there is as of every timestamp from the newest
    /// of theirs up to all that were issued before the call; later commits get later ones. Where something newer than an issued
    /// timestamp was read, nothing is said of it and other keys together: those versions need not have been there at once.
    /// An intent may be committed and acknowledged already, above any timestamp known here, so behind one the reader has to
    /// take a timestamp.
    pub(super) async fn read_newest(
        &self,
        at_least: Timestamp,
        reads: Vec<Read>,
        max_bytes: usize,
    ) -> Result<Reply, Failure> {
        let term = self.leading_term()?;
        let spans: Vec<Span> = reads.iter().map(span_of).collect();
        let unlatched = self.latches.wait_clear(term, None, &spans, READ_WITHIN).await;
        unlatched.map_err(latch_failure)?;
        self.group.lease_barrier().await.map_err(failure)?;
        let view = self.group.view().map_err(failure)?;
        let size = Size::of(&reads);
        let look = move || evaluate::newest(view.as_ref(), at_least, &reads, max_bytes);
        let Some(newest) = self.look_at(size, look).await? else {
            return Ok(Reply::Undecided);
        };
        self.note_seen(newest.since);
        Ok(Reply::Newest(newest))
    }

    /// Looks at one view after latches and barrier, and again until nothing undecided is in the way.
    async fn look<T: Send + 'static>(
        &self,
        snapshot: Timestamp,
        spans: &[Span],
        size: Size,
        look: impl Fn(&dyn View, &Known) -> Result<Evaluated<T>, StoreError> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + READ_WITHIN;
        let look = Arc::new(look);
        let mut known = Known::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Busy(
                    "transactions on the keys read do not come to an end".to_owned(),
                ));
            }
            let term = self.leading_term()?;
            self.latches
                .wait_clear(term, None, spans, left)
                .await
                .map_err(latch_failure)?;
            self.group.lease_barrier().await.map_err(failure)?;
            // Opened after both: a commit that was in flight is in it, and a later one is above the snapshot.
            let view = self.group.view().map_err(failure)?;
            self.note_seen(snapshot);
            let (look, seen) = (look.clone(), known.clone());
            match self.look_at(size, move || look(view.as_ref(), &seen)).await? {
                Evaluated::Answers(answers) => return Ok(answers),
                Evaluated::TooOld => return Err(Failure::TooOld),
                Evaluated::Blocked(intents) => self.settle_for_reading(intents, snapshot, &mut known).await?,
            }
        }
    }

    /// Whether what a transaction read still holds at its commit timestamp.
    pub(super) async fn refresh(&self, refresh: Refresh) -> Result<RefreshReply, Failure> {
        let mut spans = refresh.spans.clone();
        spans.extend(
            refresh
                .conditions
                .iter()
                .map(|condition| Span::Key(condition.key.clone())),
        );
        for _ in 0..REFRESH_ROUNDS {
            let term = self.leading_term()?;
            let txn = Some(refresh.head.txn);
            match self.latches.wait_clear(term, txn, &spans, REFRESH_LATCH_WITHIN).await {
                Ok(()) => {}
                Err(LatchError::Timeout) => return Ok(RefreshReply::Changed),
                Err(error @ LatchError::SteppedDown) => return Err(latch_failure(error)),
            }
            self.group.read_barrier().await.map_err(failure)?;
            let view = self.group.view().map_err(failure)?;
            self.note_seen(refresh.commit_ts);
            let asked = refresh.clone();
            let outcome = self.look_at(Size::of_spans(0, &spans), move || {
                state::refresh(
                    view.as_ref(),
                    &asked.head,
                    asked.commit_ts,
                    &asked.spans,
                    &asked.conditions,
                )
            });
            match outcome.await? {
                RefreshOutcome::Unchanged => return Ok(RefreshReply::Valid),
                RefreshOutcome::Refused(Refusal::ConditionFailed { key, .. }) => {
                    return Ok(RefreshReply::ConditionFailed(key));
                }
                RefreshOutcome::Refused(_) => return Ok(RefreshReply::Changed),
                RefreshOutcome::Blocked(intents) => {
                    if self.resolve_decided(intents).await? == Met::Open {
                        return Ok(RefreshReply::Changed);
                    }
                }
            }
        }
        Ok(RefreshReply::Changed)
    }
}
