//! The state of one running replica: apply, checkpoint, pin, switch. Everything here blocks.
//!
//! Invariant: what is durable here is durable in the log too. A state ahead of its log could contradict the tail that the
//! log still holds from an older term, and the replica could not start again.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use kotoba_state::machine::{EntryPosition, StateMachine};
use tokio::sync::watch;

use super::error::StateError;
use super::file::{Applied, StateFile, applied_in, open_keys, write_applied};
use super::generation::ReplicaDirectory;
use super::transaction::Transaction;
use super::view::StateView;
use crate::raft::counters::{Counters, count};
use crate::raft::lock::lock;
use crate::raft::log::ReplicaLogHandle;
use crate::raft::snapshot::{LoadedFile, Loader, SnapshotData};
use crate::raft::types::{Answer, Entry, Payload, ReplicaKey, SnapshotMeta, StoredMembership};

/// When a state file is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    pub dirty_bytes: usize,
    pub age: Duration,
}

/// One replica's state.
pub struct ReplicaState {
    key: ReplicaKey,
    directory: ReplicaDirectory,
    machine: Arc<dyn StateMachine>,
    log: ReplicaLogHandle,
    /// None once closed.
    current: Mutex<Option<Arc<StateFile>>>,
    applied: Mutex<Applied>,
    applied_index: watch::Sender<u64>,
    /// One past the last index that is durable.
    durable_end: Arc<AtomicU64>,
    dirty_bytes: AtomicUsize,
    dirty_since: Mutex<Option<Instant>>,
    failed: OnceLock<String>,
    counters: Arc<Counters>,
}

impl ReplicaState {
    pub fn open(
        path: &Path,
        key: ReplicaKey,
        cache_bytes: usize,
        machine: Arc<dyn StateMachine>,
        log: ReplicaLogHandle,
        counters: Arc<Counters>,
    ) -> Result<Self, StateError> {
        let (directory, file) = ReplicaDirectory::open(path, key, cache_bytes, !log.is_purged())?;
        let (_, applied) = file.pin()?;
        Ok(ReplicaState {
            key,
            directory,
            machine,
            log,
            current: Mutex::new(Some(Arc::new(file))),
            applied_index: watch::channel(applied.end().saturating_sub(1)).0,
            durable_end: Arc::new(AtomicU64::new(applied.end())),
            applied: Mutex::new(applied),
            dirty_bytes: AtomicUsize::new(0),
            dirty_since: Mutex::new(None),
            failed: OnceLock::new(),
            counters,
        })
    }

    pub fn key(&self) -> ReplicaKey {
        self.key
    }

    pub fn applied(&self) -> Applied {
        lock(&self.applied).clone()
    }

    pub fn watch_applied(&self) -> watch::Receiver<u64> {
        self.applied_index.subscribe()
    }

    /// One past the last index that survives a loss of power; shared with the log, which must not purge beyond.
    pub fn durable_end(&self) -> Arc<AtomicU64> {
        self.durable_end.clone()
    }

    /// The last index that survives a loss of power; 0 where there is none.
    pub fn durable_index(&self) -> u64 {
        self.durable_end.load(Ordering::Acquire).saturating_sub(1)
    }

    /// Why this state applies nothing any more; `None` while it does.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    fn file(&self) -> Result<Arc<StateFile>, StateError> {
        lock(&self.current).clone().ok_or_else(|| StateError::Failed {
            key: self.key,
            reason: "it was closed".to_owned(),
        })
    }

    /// Pins what is applied now.
    pub fn view(&self) -> Result<StateView, StateError> {
        StateView::pin(self.file()?)
    }

    /// Applies entries in one transaction; readable when it returns.
    pub fn apply(&self, entries: &[Entry]) -> Result<Vec<Answer>, StateError> {
        self.running(|| self.try_apply(entries))
    }

    fn try_apply(&self, entries: &[Entry]) -> Result<Vec<Answer>, StateError> {
        let file = self.file()?;
        let path = file.path();
        let write = file.begin_lazy().map_err(StateError::database(&path, "written"))?;
        let mut applied = self.applied();
        let (answers, dirty_bytes) = {
            let keys = open_keys(&write).map_err(StateError::database(&path, "written"))?;
            let mut store = Transaction::new(keys);
            let answers = self.apply_each(&mut store, entries, &mut applied)?;
            (answers, store.dirty_bytes())
        };
        write_applied(&write, &applied).map_err(StateError::database(&path, "written"))?;
        write.commit().map_err(StateError::database(&path, "written"))?;
        self.dirty_bytes.fetch_add(dirty_bytes, Ordering::Relaxed);
        lock(&self.dirty_since).get_or_insert_with(Instant::now);
        self.publish(applied);
        Ok(answers)
    }

    fn apply_each(
        &self,
        store: &mut Transaction<'_>,
        entries: &[Entry],
        applied: &mut Applied,
    ) -> Result<Vec<Answer>, StateError> {
        let mut answers = Vec::with_capacity(entries.len());
        for Entry { log_id, payload } in entries {
            let answer = match payload {
                Payload::Blank => Vec::new(),
                Payload::Normal(command) => {
                    let at = EntryPosition {
                        term: log_id.committed_leader_id().term,
                        index: log_id.index(),
                    };
                    let failed = |source| StateError::Apply {
                        key: self.key,
                        index: at.index,
                        source,
                    };
                    self.machine.apply(store, at, &command.bytes).map_err(failed)?
                }
                Payload::Membership(membership) => {
                    applied.membership = StoredMembership::new(Some(*log_id), membership.clone());
                    Vec::new()
                }
            };
            applied.log_id = Some(*log_id);
            answers.push(Answer(answer));
        }
        Ok(answers)
    }

    fn publish(&self, applied: Applied) {
        let index = applied.end().saturating_sub(1);
        *lock(&self.applied) = applied;
        self.applied_index.send_replace(index);
    }

    /// Whether a checkpoint is due.
    pub fn is_due(&self, policy: CheckpointPolicy) -> bool {
        let Some(since) = *lock(&self.dirty_since) else {
            return false;
        };
        self.dirty_bytes.load(Ordering::Relaxed) >= policy.dirty_bytes || since.elapsed() >= policy.age
    }

    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    /// Makes everything applied durable.
    pub fn checkpoint(&self) -> Result<(), StateError> {
        if self.applied().end() <= self.durable_end.load(Ordering::Acquire) {
            return Ok(());
        }
        self.running(|| self.try_checkpoint())
    }

    /// The order matters: no entry can be applied while the transaction is open, so the log that is awaited inside it
    /// holds everything that its commit makes durable.
    fn try_checkpoint(&self) -> Result<(), StateError> {
        let begun = Instant::now();
        let file = self.file()?;
        let path = file.path();
        let write = file.begin_durable().map_err(StateError::database(&path, "written"))?;
        let applied = applied_in(&write)
            .map_err(StateError::database(&path, "read"))?
            .map_err(StateError::codec(&path))?;
        self.log.wait_durable()?;
        self.dirty_bytes.store(0, Ordering::Relaxed);
        *lock(&self.dirty_since) = None;
        write.commit().map_err(StateError::database(&path, "written"))?;
        self.durable_end.fetch_max(applied.end(), Ordering::AcqRel);
        count(&self.counters.checkpoints);
        self.counters.checkpoint.observe(begun.elapsed());
        Ok(())
    }

    /// A view that is durable as a whole. It is pinned before the checkpoint, so the checkpoint covers it.
    pub fn durable_view(&self) -> Result<StateView, StateError> {
        let view = self.view()?;
        self.checkpoint()?;
        Ok(view)
    }

    /// Starts a file for a snapshot to be loaded into; nothing changes until it is installed.
    pub fn loader(&self, meta: &SnapshotMeta) -> Result<Loader, StateError> {
        let (generation, file) = self.directory.create()?;
        Ok(Loader::new(self.key, generation, file, meta.clone()))
    }

    /// Replaces the state by a snapshot. Views of the old state stay good.
    pub fn install(&self, meta: &SnapshotMeta, data: SnapshotData) -> Result<(), StateError> {
        self.running(|| {
            let loaded = match data {
                SnapshotData::Loaded(loaded) => loaded,
                SnapshotData::View(view) => self.loader(meta)?.load_view(&view)?,
            };
            self.switch_to(meta, loaded)
        })
    }

    fn switch_to(&self, meta: &SnapshotMeta, loaded: LoadedFile) -> Result<(), StateError> {
        if &loaded.meta != meta {
            return Err(StateError::Snapshot {
                key: self.key,
                what: format!("it was loaded as {}, but is to be installed as {meta}", loaded.meta),
            });
        }
        let applied = Applied {
            log_id: meta.last_log_id,
            membership: meta.last_membership.clone(),
        };
        // The log may just have dropped a tail that contradicts the snapshot; see the invariant above.
        self.log.wait_durable()?;
        let (generation, file) = loaded.into_file();
        self.directory.switch_to(generation, &file)?;
        let old = lock(&self.current).replace(Arc::new(file));
        if let Some(old) = old {
            old.make_obsolete();
        }
        self.dirty_bytes.store(0, Ordering::Relaxed);
        *lock(&self.dirty_since) = None;
        self.durable_end.fetch_max(applied.end(), Ordering::AcqRel);
        count(&self.counters.snapshots_installed);
        self.publish(applied);
        Ok(())
    }

    /// Makes everything durable and lets go of the file; waits a while for those who still read it.
    pub fn close(&self) -> Result<(), StateError> {
        /// Views are held for moments; a reader that hangs must not keep the process from ending.
        const PATIENCE: Duration = Duration::from_secs(2);
        const PAUSE: Duration = Duration::from_millis(2);
        let checkpoint = self.checkpoint();
        let file = lock(&self.current).take();
        let readers = file.as_ref().map(Arc::downgrade).unwrap_or_default();
        drop(file);
        let deadline = Instant::now() + PATIENCE;
        while readers.strong_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        checkpoint
    }

    /// Runs a step unless an earlier one failed; remembers the first failure.
    fn running<T>(&self, step: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
        if let Some(reason) = self.failed.get() {
            return Err(StateError::Failed {
                key: self.key,
                reason: reason.clone(),
            });
        }
        step().inspect_err(|error| {
            tracing::error!(replica = %self.key, error = %error, cause = ?std::error::Error::source(error), "a replica stops");
            let _ = self.failed.set(error.to_string());
        })
    }
}
