//! Commit, the commit point of a transaction on several partitions, and Forget, the end of its record.

use super::check_txn::{Status, status};
use super::command::{Commit, CommitAnswer, Decided, Resolved};
use super::intents;
use super::records::{self, Record, State};
use super::span::slot_of;
use crate::ids::Timestamp;
use crate::store::{StoreError, Write};

pub(super) fn commit(store: &mut dyn Write, command: &Commit) -> Result<CommitAnswer, StoreError> {
    match status(store, &command.head)? {
        Status::Committed(commit_ts) => Ok(CommitAnswer::Committed(commit_ts)),
        Status::Gone => Ok(CommitAnswer::Gone),
        // A record is never created here: what was not prepared cannot commit.
        Status::Aborted | Status::Absent | Status::Pending { prepared: false, .. } => Ok(CommitAnswer::Aborted),
        Status::Pending {
            prepared: true,
            min_commit_ts,
            ..
        } => {
            // Above the start as well: a version at or below it would change what snapshots have read.
            let least = min_commit_ts.max(Timestamp(command.head.start_ts.0 + 1));
            if command.commit_ts < least {
                return Ok(CommitAnswer::Pushed(least));
            }
            commit_pending(store, command)?;
            Ok(CommitAnswer::Committed(command.commit_ts))
        }
    }
}

fn commit_pending(store: &mut dyn Write, command: &Commit) -> Result<(), StoreError> {
    let Commit { head, commit_ts } = command;
    let record = records::load(store, head.txn)?;
    let Some(Record {
        head,
        state: State::Pending { participants, .. },
    }) = record
    else {
        return Ok(());
    };
    let here = intents::resolve(store, head.txn, Decided::Committed(*commit_ts))?;
    let mut unresolved = participants;
    for key in here {
        unresolved.remove(&slot_of(&key));
    }
    let state = State::Committed {
        commit_ts: *commit_ts,
        unresolved,
    };
    records::save(store, &Record { head, state })
}

/// Takes slots off the list of unresolved ones. The record itself stays until the record floor passes it, so that
/// a late asker hears the truth.
pub(super) fn forget(store: &mut dyn Write, resolved: &Resolved) -> Result<(), StoreError> {
    let Some(mut record) = records::load(store, resolved.txn)? else {
        return Ok(());
    };
    if let State::Committed { unresolved, .. } = &mut record.state {
        unresolved.retain(|slot| !resolved.slots.contains(slot));
        records::save(store, &record)?;
    }
    Ok(())
}
