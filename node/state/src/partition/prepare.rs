//! Prepare: the first phase of a transaction that writes several partitions.

use super::check_txn::{Status, status};
use super::command::{Prepare, PrepareAnswer, Refusal};
use super::conflict::{Before, Wanted, check};
use super::intents::{self, Intent};
use super::records::{self, Record, State};
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

pub(super) fn prepare(store: &mut dyn Write, command: Prepare) -> Result<PrepareAnswer, StoreError> {
    let is_primary = command.writes.contains_key(&command.head.primary);
    if is_primary && let Some(answer) = decided_before(store, &command)? {
        return Ok(answer);
    }
    if is_duplicate(store, &command)? {
        return Ok(PrepareAnswer::Prepared);
    }
    let wanted = Wanted {
        head: &command.head,
        writes: &command.writes,
        reads: &command.reads,
        conditions: &command.conditions,
        commit_ts: None,
    };
    let before = match check(store, &wanted)? {
        Ok(before) => before,
        Err(refusal) => return Ok(PrepareAnswer::Refused(refusal)),
    };
    if is_primary {
        put_record(store, &command)?;
    }
    put_intents(store, command, &before)?;
    Ok(PrepareAnswer::Prepared)
}

/// A Prepare that comes after its transaction's end must not raise it from the dead.
fn decided_before(store: &dyn Read, command: &Prepare) -> Result<Option<PrepareAnswer>, StoreError> {
    Ok(match status(store, &command.head)? {
        Status::Committed(commit_ts) => Some(PrepareAnswer::Committed(commit_ts)),
        Status::Aborted => Some(PrepareAnswer::Aborted),
        Status::Gone => Some(PrepareAnswer::Refused(Refusal::TooOld)),
        Status::Absent | Status::Pending { .. } => None,
    })
}

fn is_duplicate(store: &dyn Read, command: &Prepare) -> Result<bool, StoreError> {
    for key in command.writes.keys() {
        match intents::intent_of(store, key)? {
            Some(intent) if intent.head.txn == command.head.txn => {}
            Some(_) | None => return Ok(false),
        }
    }
    Ok(!command.writes.is_empty())
}

/// Opens the record, keeping the mark that a reader may have left before.
fn put_record(store: &mut dyn Write, command: &Prepare) -> Result<(), StoreError> {
    let mut marked = (Timestamp(0), 0);
    if let Some(stub) = records::load(store, command.head.txn)? {
        if let State::Pending {
            min_commit_ts, pushes, ..
        } = stub.state
        {
            marked = (min_commit_ts, pushes);
        }
        records::drop_record(store, &stub.head)?;
    }
    let (min_commit_ts, pushes) = marked;
    let state = State::Pending {
        prepared: true,
        min_commit_ts,
        pushes,
        participants: command.participants.clone(),
    };
    let head = command.head.clone();
    records::save(store, &Record { head, state })
}

fn put_intents(store: &mut dyn Write, command: Prepare, before: &Before) -> Result<(), StoreError> {
    let Prepare {
        head,
        writes,
        min_commit_hint,
        ..
    } = command;
    let intents = writes.into_iter().zip(before).map(|((key, op), before)| {
        let intent = Intent {
            head: head.clone(),
            op,
            min_commit_ts: min_commit_hint,
            is_first: before.is_none(),
        };
        (key, intent)
    });
    intents::put(store, head.txn, intents.collect())
}
