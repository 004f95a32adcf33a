//! Prepare: the first phase of a transaction that writes several partitions, at all of them but its primary.

use super::command::{Prepare, PrepareAnswer};
use super::conflict::{Before, Wanted, check};
use super::intents::{self, Intent};
use crate::store::{Read, StoreError, Write};

pub(super) fn prepare(store: &mut dyn Write, command: Prepare) -> Result<PrepareAnswer, StoreError> {
    if is_duplicate(store, &command)? {
        return Ok(PrepareAnswer::Prepared);
    }
    let wanted = Wanted {
        head: &command.head,
        writes: &command.writes,
        reads: &command.reads,
        conditions: &command.conditions,
        commit_ts: None,
        primary: None,
    };
    let before = match check(store, &wanted)? {
        Ok(before) => before,
        Err(refusal) => return Ok(PrepareAnswer::Refused(refusal)),
    };
    put_intents(store, command, &before)?;
    Ok(PrepareAnswer::Prepared)
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
