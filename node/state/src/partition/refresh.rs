//! Refresh: whether what a transaction read at its start is still so at its commit timestamp.

use std::collections::BTreeSet;

use super::command::{Condition, Key, Refusal, TxnHead};
use super::conflict::{could_falsify, failed, holds_at, version_between};
use super::floors::version_floor;
use super::intents::{self, MetIntent};
use super::keys;
use super::span::Span;
use crate::ids::Timestamp;
use crate::store::{Read, StoreError};

/// Foreign intents after which a refresh stops looking: one that stays open is enough to refuse.
const MAX_INTENTS: usize = 128;

/// What a refresh found in one view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    Unchanged,
    Refused(Refusal),
    /// Intents of others: those whose transactions are decided are resolved and the refresh made again; an open
    /// one refuses.
    Blocked(Vec<MetIntent>),
}

/// Compares reads at `head.start_ts` and unguarded conditions with the state at `commit_ts`.
pub fn refresh(
    view: &dyn Read,
    head: &TxnHead,
    commit_ts: Timestamp,
    reads: &[Span],
    conditions: &[Condition],
) -> Result<RefreshOutcome, StoreError> {
    if head.start_ts < version_floor(view)? {
        return Ok(RefreshOutcome::Refused(Refusal::TooOld));
    }
    if let Some(key) = changed(view, head, commit_ts, reads)? {
        return Ok(RefreshOutcome::Refused(Refusal::ReadConflict { key }));
    }
    let mut blocked = blocking(view, head, reads)?;
    for condition in conditions {
        let holds = holds_at(view, condition, commit_ts)?;
        match intents::foreign(view, &condition.key, head.txn)? {
            Some(intent) if !holds || could_falsify(condition.kind, &intent.op) => {
                let key = condition.key.clone();
                blocked.push(MetIntent { key, intent });
            }
            Some(_) | None if holds => {}
            Some(_) | None => return Ok(RefreshOutcome::Refused(failed(condition))),
        }
    }
    Ok(if blocked.is_empty() {
        RefreshOutcome::Unchanged
    } else {
        RefreshOutcome::Blocked(blocked)
    })
}

fn changed(view: &dyn Read, head: &TxnHead, commit_ts: Timestamp, reads: &[Span]) -> Result<Option<Key>, StoreError> {
    for (from, to) in reads.iter().flat_map(Span::ranges) {
        let key = version_between(view, &from, &to, head.start_ts, commit_ts)?;
        if key.is_some() {
            return Ok(key);
        }
    }
    Ok(None)
}

fn blocking(view: &dyn Read, head: &TxnHead, reads: &[Span]) -> Result<Vec<MetIntent>, StoreError> {
    let mut met = Vec::new();
    let mut seen = BTreeSet::new();
    for (from, to) in reads.iter().flat_map(Span::ranges) {
        let (start, end) = keys::intents_in(&from, &to);
        for pair in view.scan(&start, &end)? {
            let (place, bytes) = pair?;
            let intent = intents::parse(&bytes)?;
            let key = keys::parse_intent(&place);
            if intent.head.txn != head.txn && seen.insert(key.clone()) {
                met.push(MetIntent { key, intent });
            }
            if met.len() >= MAX_INTENTS {
                return Ok(met);
            }
        }
    }
    Ok(met)
}
