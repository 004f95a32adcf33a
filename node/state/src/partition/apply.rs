//! Applies a partition's log entries: one command in, one answer out.

use super::check_txn::check_txn;
use super::command::{Answer, Command};
use super::digest::note_digest;
use super::floors::{close_ts, raise_record_floor, raise_version_floor};
use super::intents;
use super::one_phase::commit_one_phase;
use super::prepare::prepare;
use super::records::forget;
use crate::machine::{EntryPosition, StateMachine};
use crate::store::{StoreError, Write};

/// The state machine of a partition. It holds nothing: all state is in the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct PartitionMachine;

impl PartitionMachine {
    /// Applies a decoded command. `at.term` is the term of the entry's own log id, never the leader's present one.
    pub fn apply_command(
        &self,
        store: &mut dyn Write,
        at: EntryPosition,
        command: Command,
    ) -> Result<Answer, StoreError> {
        match command {
            Command::Prepare(command) => prepare(store, command).map(Answer::Prepare),
            Command::CheckTxn(command) => check_txn(store, &command).map(Answer::CheckTxn),
            Command::ResolveIntents { txn, decided } => intents::resolve(store, txn, decided).map(|_| Answer::Resolved),
            Command::Forget(resolved) => {
                let mut forgotten = resolved.iter().map(|resolved| forget(store, resolved));
                forgotten
                    .try_for_each(|forgotten| forgotten)
                    .map(|()| Answer::Forgotten)
            }
            Command::CommitOnePhase(command) => commit_one_phase(store, at.term, command).map(Answer::OnePhase),
            Command::CloseTs { closed } => close_ts(store, closed),
            Command::RecordFloor { floor, max_records } => raise_record_floor(store, floor, max_records),
            Command::VersionFloor { floor, max_versions } => raise_version_floor(store, floor, max_versions),
            Command::NoteDigest => note_digest(store, at.index).map(|()| Answer::DigestNoted),
        }
    }
}

impl StateMachine for PartitionMachine {
    fn apply(&self, store: &mut dyn Write, at: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        let command = Command::decode(command).map_err(StoreError::new)?;
        let answer = self.apply_command(store, at, command)?;
        Ok(answer.encode())
    }
}
