//! CommitOnePhase: the commit point of every transaction, at its primary. It checks what is done there and commits it by one
//! entry; other partitions, if any, are prepared already.

use super::check_txn::{Status, status_of};
use super::command::{CommitOnePhase, OnePhaseAnswer, Refusal};
use super::conflict::{Before, Wanted, check};
use super::floors::closed_ts;
use super::records::{self, Record, State};
use super::versions::{newest, write_versions};
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

pub(super) fn commit_one_phase(
    store: &mut dyn Write,
    term: u64,
    command: CommitOnePhase,
) -> Result<OnePhaseAnswer, StoreError> {
    let before = match judge(store, term, &command)? {
        Judgement::Decided(answer) => return Ok(answer),
        Judgement::Refused(refusal) => {
            // An earlier attempt may still be under way, and must not succeed after this refusal was told.
            records::save_aborted(store, &command.head)?;
            return Ok(OnePhaseAnswer::Refused(refusal));
        }
        Judgement::Commits(before) => before,
    };
    let CommitOnePhase { head, commit_ts, .. } = command;
    write_versions(store, head.txn, commit_ts, command.writes.into_iter().zip(before))?;
    if !command.prepared.is_empty() {
        let unresolved = command.prepared;
        let state = State::Committed { commit_ts, unresolved };
        records::save(store, &Record { head, state })?;
    }
    Ok(OnePhaseAnswer::Committed(commit_ts))
}

/// Whether applying the command to this very state, in this term, would commit it: what a leader that has nothing else under
/// way may promise before a majority has the entry.
pub fn would_commit(view: &dyn Read, term: u64, command: &CommitOnePhase) -> Result<bool, StoreError> {
    Ok(matches!(judge(view, term, command)?, Judgement::Commits(_)))
}

/// What becomes of a command, before anything is written.
enum Judgement {
    Decided(OnePhaseAnswer),
    Refused(Refusal),
    Commits(Before),
}

fn judge(store: &dyn Read, term: u64, command: &CommitOnePhase) -> Result<Judgement, StoreError> {
    let primary = newest(store, &command.head.primary)?;
    let decided = match status_of(store, &command.head, primary.as_ref())? {
        Status::Committed(commit_ts) => Some(OnePhaseAnswer::Committed(commit_ts)),
        Status::Aborted => Some(OnePhaseAnswer::Aborted),
        Status::Gone => Some(OnePhaseAnswer::TooOld),
        Status::Absent => retry(store, term, command, Timestamp(0))?,
        Status::Pending { min_commit_ts, .. } => retry(store, term, command, min_commit_ts)?,
    };
    if let Some(answer) = decided {
        return Ok(Judgement::Decided(answer));
    }
    let wanted = Wanted {
        head: &command.head,
        writes: &command.writes,
        reads: &command.reads,
        conditions: &command.conditions,
        commit_ts: Some(command.commit_ts),
        primary: Some(primary),
    };
    Ok(check(store, &wanted)?.map_or_else(Judgement::Refused, Judgement::Commits))
}

/// Latched under another leadership, so that readers may have passed; below what followers already show; or below what a
/// reader was told that met one of its intents.
fn retry(
    store: &dyn Read,
    term: u64,
    command: &CommitOnePhase,
    min_commit_ts: Timestamp,
) -> Result<Option<OnePhaseAnswer>, StoreError> {
    let CommitOnePhase { head, commit_ts, .. } = command;
    let must =
        command.epoch != term || *commit_ts <= closed_ts(store)?.max(head.start_ts) || *commit_ts < min_commit_ts;
    Ok(must.then_some(OnePhaseAnswer::Retry))
}
