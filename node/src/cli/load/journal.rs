//! The progress file of a load: which batches were created, with which ids, so that a load that stopped goes on and creates
//! nothing twice. A batch's number follows from the files alone, and is its request's number at the members, too.
//!
//! On disk, in this order: the file with the client's id before anything is sent; *may send* for the next batches, synced,
//! before any of them is sent; *created* after a batch's answer, synced with the next *may send*. So after a power failure:
//!
//! | found in the file     | the batch was           | going on                                                        |
//! |-----------------------|-------------------------|-----------------------------------------------------------------|
//! | neither               | never sent              | it is sent                                                      |
//! | may send              | perhaps created         | it is sent again under its number: applied once, the same ids   |
//! | may send and created  | created                 | its ids are taken from here                                     |
//!
//! A load that stops in order, at a bad row say, notes with *stopped* which batches are in doubt; all others are not.
//!
//! The members know a number while they keep old versions. *May send* holds a timestamp from before the sending: by it the
//! members refuse a batch whose receipt they may have dropped, instead of creating it again.

mod file;
mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kotoba_proto::RequestNumber;
use kotoba_proto::v1::Operation;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::error::Rows;
pub(super) use file::FileError;
use file::RecordFile;
pub(super) use inputs::{Changed, Inputs};

/// Batches that may be sent after one sync, and so are in doubt after a crash: a sync is some milliseconds, these are half a
/// second of work.
const SENT_AFTER_ONE_SYNC: u64 = 16;

/// A hash of a batch's operations.
pub(super) type Content = [u8; 16];

/// Why a load cannot go on, or cannot note how far it is.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is the progress of another load: {changed}", path.display())]
    Changed { path: PathBuf, changed: Changed },
    #[error(
        "{} is the progress of a load into cluster {theirs}, and this is cluster {ours}: name another file with --progress, \
         or delete it to begin anew",
        path.display()
    )]
    OtherCluster {
        path: PathBuf,
        theirs: String,
        ours: String,
    },
    #[error("noting the progress stopped unexpectedly: {0}")]
    Stopped(String),
}

/// What the file holds, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Record {
    Began(Began),
    /// Batches below this number may be sent from now on, all of them after this timestamp.
    MaySend {
        below: u64,
        after: u64,
    },
    Created {
        batch: u64,
        created: Created,
    },
    /// The run has ended: of the batches that were sent and not created only these are in doubt.
    Stopped {
        in_doubt: BTreeSet<u64>,
    },
}

/// Which load it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Began {
    client_id: [u8; 16],
    cluster_id: String,
    inputs: Inputs,
}

/// A batch that was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Created {
    pub content: Content,
    /// Of its nodes, in order; relationships have none here, since nothing names them.
    pub ids: Vec<u64>,
}

/// How a load goes on.
pub(super) struct Terms<'a> {
    pub cluster_id: &'a str,
    pub inputs: Inputs,
    /// A timestamp of the cluster from now.
    pub now: u64,
    /// Files may have been edited behind what was loaded of them.
    pub accept_changed_files: bool,
    /// What is in doubt is sent again even if its receipt may be gone.
    pub resend_in_doubt: bool,
}

/// An open progress file. Only one process has it open.
pub(super) struct Journal {
    path: PathBuf,
    client_id: [u8; 16],
    resend_in_doubt: bool,
    state: Mutex<State>,
}

struct State {
    file: RecordFile<Record>,
    /// Of earlier runs; each is taken out when it is read again.
    created: BTreeMap<u64, Created>,
    /// Of an earlier run that crashed: below which number batches were sent after which timestamp.
    sent: BTreeMap<u64, u64>,
    /// Of earlier runs that stopped in order: after which timestamp a batch in doubt was sent.
    in_doubt: BTreeMap<u64, u64>,
    may_send_below: u64,
    /// The newest timestamp that is known.
    now: u64,
}

impl Journal {
    /// Opens the progress of an earlier run of the same load, or begins a file.
    pub(super) fn open(path: &Path, terms: Terms<'_>) -> Result<Self, JournalError> {
        let (mut file, records) = RecordFile::open(path)?;
        let mut records = records.into_iter();
        let began = match records.next() {
            Some(Record::Began(began)) => {
                began.check(path, &terms)?;
                began
            }
            Some(Record::MaySend { .. } | Record::Created { .. } | Record::Stopped { .. }) => {
                return Err(FileError::damaged(path, 0).into());
            }
            None => {
                let began = Began {
                    client_id: rand::random(),
                    cluster_id: terms.cluster_id.to_owned(),
                    inputs: terms.inputs,
                };
                file.append(&Record::Began(began.clone()))?;
                file.sync_new()?;
                began
            }
        };
        let mut state = State {
            file,
            created: BTreeMap::new(),
            sent: BTreeMap::new(),
            in_doubt: BTreeMap::new(),
            may_send_below: 0,
            now: terms.now,
        };
        records.for_each(|record| state.replay(record));
        Ok(Journal {
            path: path.to_owned(),
            client_id: began.client_id,
            resend_in_doubt: terms.resend_in_doubt,
            state: Mutex::new(state),
        })
    }

    /// Batches that earlier runs created, and are not read again yet.
    pub(super) fn created_earlier(&self) -> usize {
        self.state().created.len()
    }

    /// What an earlier run created as this batch.
    pub(super) fn take_created(&self, batch: u64) -> Option<Created> {
        self.state().created.remove(&batch)
    }

    /// Under which number a batch is sent.
    pub(super) fn number(&self, batch: u64) -> RequestNumber {
        RequestNumber {
            client_id: self.client_id,
            sequence: batch + 1,
            sent_after: self.state().sent_after(batch).filter(|_| !self.resend_in_doubt),
        }
    }

    /// Makes durable that a batch may be sent.
    pub(super) async fn may_send(self: &Arc<Self>, batch: u64) -> Result<(), JournalError> {
        if batch < self.state().may_send_below {
            return Ok(());
        }
        self.blocking(move |state| state.allow(batch)).await
    }

    /// Notes that a batch was created.
    pub(super) async fn created(self: &Arc<Self>, batch: u64, created: Created, at: u64) -> Result<(), JournalError> {
        self.blocking(move |state| {
            state.now = state.now.max(at);
            Ok(state.file.append(&Record::Created { batch, created })?)
        })
        .await
    }

    /// Whether an earlier run may have sent this batch.
    pub(super) fn is_in_doubt(&self, batch: u64) -> bool {
        self.state().sent_after(batch).is_some()
    }

    /// Notes that this run sends nothing more. In doubt are batches that it sent, and those from `next` on, which it did not
    /// come to, that were so before.
    pub(super) async fn stopped(self: &Arc<Self>, sent: BTreeSet<u64>, next: u64) -> Result<(), JournalError> {
        self.blocking(move |state| {
            let in_doubt = sent.into_iter().chain(state.in_doubt_from(next)).collect();
            state.file.append(&Record::Stopped { in_doubt })?;
            Ok(state.file.sync()?)
        })
        .await
    }

    /// Writes down which rows are in doubt, beside the progress.
    pub(super) fn list(&self, rows: &[Rows]) -> Result<PathBuf, JournalError> {
        let lines: String = rows
            .iter()
            .flat_map(Rows::places)
            .map(|place| format!("{place}\n"))
            .collect();
        let path = self.list_path();
        std::fs::write(&path, lines).map_err(|source| FileError::write(&path, source))?;
        Ok(path)
    }

    /// The load is done: another run of it begins anew.
    pub(super) fn remove(&self) -> Result<(), JournalError> {
        // There seldom is a list.
        let _ = std::fs::remove_file(self.list_path());
        std::fs::remove_file(&self.path).map_err(|source| FileError::write(&self.path, source).into())
    }

    fn list_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".in-doubt");
        path.into()
    }

    async fn blocking(
        self: &Arc<Self>,
        work: impl FnOnce(&mut State) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), JournalError> {
        let journal = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut journal.state())).await;
        done.map_err(|error| JournalError::Stopped(error.to_string()))?
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Began {
    fn check(&self, path: &Path, terms: &Terms<'_>) -> Result<(), JournalError> {
        if self.cluster_id != terms.cluster_id {
            return Err(JournalError::OtherCluster {
                path: path.to_owned(),
                theirs: self.cluster_id.clone(),
                ours: terms.cluster_id.to_owned(),
            });
        }
        let same = self.inputs.check(&terms.inputs, terms.accept_changed_files);
        same.map_err(|changed| JournalError::Changed {
            path: path.to_owned(),
            changed,
        })
    }
}

impl State {
    fn replay(&mut self, record: Record) {
        match record {
            // Only ever the first.
            Record::Began(_) => {}
            Record::MaySend { below, after } => {
                self.sent.insert(below, after);
                self.may_send_below = self.may_send_below.max(below);
            }
            Record::Created { batch, created } => {
                self.created.insert(batch, created);
            }
            Record::Stopped { in_doubt } => {
                let after = |batch: u64| Some((batch, self.sent_after(batch)?));
                self.in_doubt = in_doubt.into_iter().filter_map(after).collect();
                self.sent.clear();
                self.may_send_below = 0;
            }
        }
    }

    /// Batches that earlier runs may have sent and did not see created.
    fn in_doubt_from(&self, next: u64) -> Vec<u64> {
        let by_range = self.sent.keys().last().map_or(0, |below| below.saturating_sub(1));
        let one_by_one = self.in_doubt.keys().last().copied().unwrap_or(0);
        let all = next..=by_range.max(one_by_one);
        all.filter(|batch| self.sent_after(*batch).is_some() && !self.created.contains_key(batch))
            .collect()
    }

    /// The timestamp after which an earlier run may have sent a batch; the first, where several may have.
    fn sent_after(&self, batch: u64) -> Option<u64> {
        let by_range = || self.sent.range(batch + 1..).next().map(|(_, after)| *after);
        self.in_doubt.get(&batch).copied().or_else(by_range)
    }

    fn allow(&mut self, batch: u64) -> Result<(), JournalError> {
        if batch < self.may_send_below {
            return Ok(());
        }
        let below = batch + SENT_AFTER_ONE_SYNC;
        self.file.append(&Record::MaySend { below, after: self.now })?;
        self.file.sync()?;
        self.may_send_below = below;
        Ok(())
    }
}

/// A hash by which a batch that is read again is known.
pub(super) fn content_of(operations: &[Operation]) -> Content {
    let mut hasher = blake3::Hasher::new();
    for operation in operations {
        hasher.update(&operation.encode_length_delimited_to_vec());
    }
    let mut content = Content::default();
    content.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    content
}

#[cfg(test)]
mod tests;
