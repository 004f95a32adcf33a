//! CommitOnePhase: a transaction that writes one partition, checked and committed by one entry.

use super::check_txn::{Status, status};
use super::command::{CommitOnePhase, OnePhaseAnswer};
use super::conflict::{Wanted, check};
use super::floors::closed_ts;
use super::records;
use super::versions::write_versions;
use crate::store::{Read, StoreError, Write};

pub(super) fn commit_one_phase(
    store: &mut dyn Write,
    term: u64,
    command: CommitOnePhase,
) -> Result<OnePhaseAnswer, StoreError> {
    match status(store, &command.head)? {
        Status::Committed(commit_ts) => return Ok(OnePhaseAnswer::Committed(commit_ts)),
        Status::Aborted => return Ok(OnePhaseAnswer::Aborted),
        Status::Gone => return Ok(OnePhaseAnswer::TooOld),
        Status::Absent | Status::Pending { .. } => {}
    }
    if must_retry(store, term, &command)? {
        return Ok(OnePhaseAnswer::Retry);
    }
    let wanted = Wanted {
        head: &command.head,
        writes: &command.writes,
        reads: &command.reads,
        conditions: &command.conditions,
        commit_ts: Some(command.commit_ts),
    };
    if let Some(refusal) = check(store, &wanted)? {
        // An earlier attempt may still be under way, and must not succeed after this refusal was told.
        records::save_aborted(store, &command.head)?;
        return Ok(OnePhaseAnswer::Refused(refusal));
    }
    let CommitOnePhase {
        head,
        commit_ts,
        writes,
        ..
    } = command;
    write_versions(store, head.txn, commit_ts, writes)?;
    Ok(OnePhaseAnswer::Committed(commit_ts))
}

/// Latched under another leadership, so that readers may have passed; or below what followers already show.
fn must_retry(store: &dyn Read, term: u64, command: &CommitOnePhase) -> Result<bool, StoreError> {
    let floor = closed_ts(store)?.max(command.head.start_ts);
    Ok(command.epoch != term || command.commit_ts <= floor)
}
