//! What a primary knows of a transaction, and CheckTxn: asking it, and deciding or delaying it where it is open.
//!
//! "No record" never means aborted by itself: it is either still open, and then the asker leaves a trace in the
//! log, or below the record floor, and then its outcome is final and resolved.

use super::command::{CheckTxn, Decided, Push, TxnHead, TxnStatus};
use super::floors::record_floor;
use super::intents;
use super::records::{self, Record, State};
use super::versions::{Version, newest, version_by};
use crate::ids::Timestamp;
use crate::store::{Read, StoreError, Write};

/// Pushes of one transaction, after which readers wait for it: a hot key's readers must not starve its writer.
/// Part of the log's meaning: to change it needs another command format.
const MAX_PUSHES: u32 = 16;

/// A transaction as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Committed(Timestamp),
    Aborted,
    Gone,
    /// No record, and one may still come.
    Absent,
    Pending {
        deadline_ms: u64,
        min_commit_ts: Timestamp,
        pushes: u32,
    },
}

impl Status {
    pub fn is_decided(&self) -> bool {
        match self {
            Status::Committed(_) | Status::Aborted | Status::Gone => true,
            Status::Absent | Status::Pending { .. } => false,
        }
    }

    /// The answer to someone who only asks and reads at `snapshot`.
    pub fn answer(&self, snapshot: Timestamp) -> TxnStatus {
        match *self {
            Status::Committed(commit_ts) => TxnStatus::Committed(commit_ts),
            Status::Aborted => TxnStatus::Aborted,
            Status::Gone => TxnStatus::Gone,
            Status::Pending { min_commit_ts, .. } if min_commit_ts > snapshot => TxnStatus::PendingAbove(snapshot),
            Status::Absent | Status::Pending { .. } => TxnStatus::Pending,
        }
    }
}

/// Finds out about a transaction; only its primary partition may be asked.
///
/// A commit that prepared nothing elsewhere leaves no record: the version it wrote on its primary key stands for it, and is
/// not collected before the record floor has passed its start.
pub fn status(store: &dyn Read, head: &TxnHead) -> Result<Status, StoreError> {
    status_of(store, head, newest(store, &head.primary)?.as_ref())
}

/// As [`status`], for who has looked up the newest version of the primary key already.
pub(super) fn status_of(store: &dyn Read, head: &TxnHead, newest: Option<&Version>) -> Result<Status, StoreError> {
    if let Some(record) = records::load(store, head.txn)? {
        return Ok(of_record(&record));
    }
    if newest.is_some_and(|version| version.commit_ts > head.start_ts)
        && let Some(commit_ts) = version_by(store, &head.primary, head.txn, head.start_ts)?
    {
        return Ok(Status::Committed(commit_ts));
    }
    if head.start_ts <= record_floor(store)? {
        return Ok(Status::Gone);
    }
    Ok(Status::Absent)
}

fn of_record(record: &Record) -> Status {
    match record.state {
        State::Pending { min_commit_ts, pushes } => Status::Pending {
            deadline_ms: record.head.deadline_ms,
            min_commit_ts,
            pushes,
        },
        State::Committed { commit_ts, .. } => Status::Committed(commit_ts),
        State::Aborted => Status::Aborted,
    }
}

pub(super) fn check_txn(store: &mut dyn Write, command: &CheckTxn) -> Result<TxnStatus, StoreError> {
    let status = status(store, &command.head)?;
    let deadline_ms = match status {
        Status::Committed(_) | Status::Aborted | Status::Gone => {
            return Ok(status.answer(Timestamp(0)));
        }
        Status::Absent => command.head.deadline_ms,
        Status::Pending { deadline_ms, .. } => deadline_ms,
    };
    match command.push {
        Push::None => Ok(TxnStatus::Pending),
        Push::AbortExpired if command.now_ms <= deadline_ms => Ok(TxnStatus::Pending),
        Push::AbortExpired | Push::Abort => abort(store, &command.head),
        Push::MinCommit(snapshot) => push_above(store, &command.head, snapshot),
    }
}

/// Leaves the tombstone and drops the intents that are here.
fn abort(store: &mut dyn Write, head: &TxnHead) -> Result<TxnStatus, StoreError> {
    let known = records::load(store, head.txn)?.map(|record| record.head);
    records::save_aborted(store, known.as_ref().unwrap_or(head))?;
    intents::resolve(store, head.txn, Decided::Aborted)?;
    Ok(TxnStatus::Aborted)
}

/// Makes an open transaction commit above the snapshot, if at all.
fn push_above(store: &mut dyn Write, head: &TxnHead, snapshot: Timestamp) -> Result<TxnStatus, StoreError> {
    let mut record = match records::load(store, head.txn)? {
        Some(record) => record,
        None => stub(head),
    };
    if let State::Pending {
        min_commit_ts, pushes, ..
    } = &mut record.state
    {
        if *min_commit_ts > snapshot {
            return Ok(TxnStatus::PendingAbove(snapshot));
        }
        if *pushes >= MAX_PUSHES {
            return Ok(TxnStatus::Pending);
        }
        *min_commit_ts = Timestamp(snapshot.0.saturating_add(1));
        *pushes += 1;
    }
    records::save(store, &record)?;
    Ok(TxnStatus::PendingAbove(snapshot))
}

/// A mark for a transaction that has not come to its primary yet.
fn stub(head: &TxnHead) -> Record {
    Record {
        head: head.clone(),
        state: State::Pending {
            min_commit_ts: Timestamp(0),
            pushes: 0,
        },
    }
}
