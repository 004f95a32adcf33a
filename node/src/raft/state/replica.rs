//! The state of one running replica: apply, checkpoint, pin, switch. Everything here blocks.
//!
//! Invariant: what is durable here is durable in the log too. A state ahead of its log could contradict the tail that the
//! log still holds from an older term, and the replica could not start again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use kotoba_state::machine::{EntryPosition, StateMachine};
use tokio::sync::watch;

use super::error::StateError;
use super::file::{Applied, FileSettings};
use super::generation::ReplicaDirectory;
use super::layers::{Base, Layers};
use super::memtable::{Memtable, Step};
use super::rewrite::Rewriting;
use super::transaction::Transaction;
use super::view::StateView;
use crate::raft::counters::{Counters, count};
use crate::raft::lock::lock;
use crate::raft::log::ReplicaLogHandle;
use crate::raft::snapshot::{LoadedFile, Loader, SnapshotData};
use crate::raft::types::{Answer, Entry, Payload, ReplicaKey, SnapshotMeta, StoredMembership};

/// Bytes not yet durable at which no more are applied.
const MAX_DIRTY_BYTES: usize = 32 << 20;

/// When a state file is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    pub dirty_bytes: usize,
    pub age: Duration,
}

/// One replica's state.
///
/// Locks are taken in the order of the fields.
pub struct ReplicaState {
    pub(super) key: ReplicaKey,
    pub(super) directory: ReplicaDirectory,
    machine: Arc<dyn StateMachine>,
    log: ReplicaLogHandle,
    /// Held by who rewrites the file.
    pub(super) rewrite_turn: Mutex<()>,
    /// Held by who changes the file: one checkpoint at a time.
    pub(super) file_change: Mutex<()>,
    /// Held by who changes the memtables: a step, or what puts another one in its place.
    step: Mutex<()>,
    pub(super) current: Mutex<Current>,
    pub(super) rewriting: Mutex<Rewriting>,
    pub(super) closing: AtomicBool,
    applied_index: watch::Sender<u64>,
    /// One past the last index that is durable.
    durable_end: Arc<AtomicU64>,
    pub(super) file_bytes: AtomicU64,
    /// Of memtables, since the file was opened or made.
    pub(super) written_bytes: AtomicU64,
    /// The most that the file has held since then.
    pub(super) peak_content_bytes: AtomicU64,
    failed: OnceLock<String>,
    pub(super) counters: Arc<Counters>,
}

/// What is readable now.
pub(super) struct Current {
    /// None once closed.
    pub(super) layers: Option<Layers>,
    applied: Arc<Applied>,
    /// Since when the newest memtable has something that the file has not.
    dirty_since: Option<Instant>,
    /// When the file was written last.
    written_at: Instant,
}

/// A memtable on its way into the file.
#[derive(Clone)]
pub(super) struct Frozen {
    pub changes: Arc<Memtable>,
    /// The last step in it.
    pub step: Step,
    pub applied: Arc<Applied>,
}

impl ReplicaState {
    pub fn open(
        path: &Path,
        key: ReplicaKey,
        files: FileSettings,
        machine: Arc<dyn StateMachine>,
        log: ReplicaLogHandle,
        counters: Arc<Counters>,
    ) -> Result<Self, StateError> {
        let (directory, file) = ReplicaDirectory::open(path, key, files, !log.is_purged())?;
        let applied = file.applied()?;
        Ok(ReplicaState {
            key,
            directory,
            machine,
            log,
            rewrite_turn: Mutex::default(),
            file_change: Mutex::default(),
            step: Mutex::default(),
            applied_index: watch::channel(applied.end().saturating_sub(1)).0,
            durable_end: Arc::new(AtomicU64::new(applied.end())),
            file_bytes: AtomicU64::new(file.bytes()?),
            written_bytes: AtomicU64::new(0),
            peak_content_bytes: AtomicU64::new(file.content_bytes()),
            current: Mutex::new(Current {
                layers: Some(Layers::of_file(Base::pin(Arc::new(file))?)),
                applied: Arc::new(applied),
                dirty_since: None,
                written_at: Instant::now(),
            }),
            rewriting: Mutex::default(),
            closing: AtomicBool::new(false),
            failed: OnceLock::new(),
            counters,
        })
    }

    pub fn key(&self) -> ReplicaKey {
        self.key
    }

    pub fn applied(&self) -> Arc<Applied> {
        lock(&self.current).applied.clone()
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

    /// What the file takes on the disk, as of its last checkpoint.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Relaxed)
    }

    /// Why this state applies nothing any more; `None` while it does.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Pins what is applied now.
    pub fn view(&self) -> Result<StateView, StateError> {
        let current = lock(&self.current);
        let layers = current.layers.clone().ok_or_else(|| self.closed())?;
        Ok(StateView::new(layers, current.applied.clone()))
    }

    fn closed(&self) -> StateError {
        StateError::Failed {
            key: self.key,
            reason: "it was closed".to_owned(),
        }
    }

    /// Applies entries in one step; readable when it returns.
    pub fn apply(&self, entries: &[Entry]) -> Result<Vec<Answer>, StateError> {
        self.running(|| self.try_apply(entries))
    }

    fn try_apply(&self, entries: &[Entry]) -> Result<Vec<Answer>, StateError> {
        let _step = lock(&self.step);
        let (before, applied) = {
            let current = lock(&self.current);
            (current.layers.clone(), current.applied.clone())
        };
        let before = before.ok_or_else(|| self.closed())?;
        before.forget_unseen();
        let mut applied = Applied::clone(&applied);
        let mut transaction = Transaction::after(&before);
        let answers = self.apply_each(&mut transaction, entries, &mut applied)?;
        self.publish(transaction.step(), applied);
        Ok(answers)
    }

    fn apply_each(
        &self,
        store: &mut Transaction,
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

    /// The file may have changed meanwhile, so only the step is new.
    fn publish(&self, step: Step, applied: Applied) {
        let index = applied.end().saturating_sub(1);
        let mut current = lock(&self.current);
        if let Some(layers) = &mut current.layers {
            *layers = layers.at(step);
        }
        current.applied = Arc::new(applied);
        current.dirty_since.get_or_insert_with(Instant::now);
        drop(current);
        self.applied_index.send_replace(index);
    }

    /// Whether a checkpoint is due.
    pub fn is_due(&self, policy: CheckpointPolicy) -> bool {
        let current = lock(&self.current);
        let Some(since) = current.dirty_since else {
            return false;
        };
        dirty_bytes(&current) >= policy.dirty_bytes || since.elapsed() >= policy.age
    }

    /// For how long something is not in the file; none where all is.
    pub fn dirty_for(&self) -> Option<Duration> {
        Some(lock(&self.current).dirty_since?.elapsed())
    }

    /// Whether applying waits for a checkpoint: the checkpointer cannot keep up.
    pub fn is_overdue(&self) -> bool {
        self.dirty_bytes() > MAX_DIRTY_BYTES
    }

    /// For how long nothing was applied and nothing written.
    pub(super) fn rest(&self) -> Duration {
        let current = lock(&self.current);
        match current.dirty_since {
            Some(_) => Duration::ZERO,
            None => current.written_at.elapsed(),
        }
    }

    /// About how much is not in the file.
    pub fn dirty_bytes(&self) -> usize {
        dirty_bytes(&lock(&self.current))
    }

    /// Makes everything applied durable.
    pub fn checkpoint(&self) -> Result<(), StateError> {
        self.running(|| {
            let _file_change = lock(&self.file_change);
            match self.freeze() {
                Some((frozen, base)) => self.write(&frozen, &base),
                None => Ok(()),
            }
        })
    }

    /// Puts a new memtable in the place of the one that is to be written, above this file; none where nothing is, or all is closed.
    fn freeze(&self) -> Option<(Frozen, Arc<Base>)> {
        let _step = lock(&self.step);
        let mut current = lock(&self.current);
        if current.applied.end() <= self.durable_end.load(Ordering::Acquire) {
            return None;
        }
        let Current {
            layers,
            applied,
            dirty_since,
            written_at: _,
        } = &mut *current;
        let layers = layers.as_mut()?;
        *dirty_since = None;
        let frozen = Frozen {
            step: layers.step(),
            changes: layers.freeze(),
            applied: applied.clone(),
        };
        Some((frozen, layers.base().clone()))
    }

    /// The order matters: what was applied had been given to the log before, so once the log is durable up to here it holds
    /// everything that the commit makes durable.
    fn write(&self, frozen: &Frozen, base: &Base) -> Result<(), StateError> {
        let begun = Instant::now();
        self.log.wait_durable()?;
        let Frozen { changes, step, applied } = frozen;
        let file = base.file();
        let written = file.checkpoint(changes, *step, applied);
        written.map_err(StateError::database(&file.path(), "written"))?;
        self.file_bytes.store(file.bytes()?, Ordering::Relaxed);
        let base = base.next(changes, *step)?;
        {
            let mut current = lock(&self.current);
            current.written_at = Instant::now();
            if let Some(layers) = &mut current.layers {
                layers.rebase(base);
            }
        }
        lock(&self.rewriting).miss(frozen);
        self.written_bytes.fetch_add(changes.bytes() as u64, Ordering::Relaxed);
        self.peak_content_bytes
            .fetch_max(file.content_bytes(), Ordering::Relaxed);
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
        let _file_change = lock(&self.file_change);
        let _step = lock(&self.step);
        // The log may just have dropped a tail that contradicts the snapshot; see the invariant above.
        self.log.wait_durable()?;
        let (generation, file) = loaded.into_file();
        lock(&self.rewriting).give_up();
        self.directory.switch_to(generation, &file)?;
        self.file_bytes.store(file.bytes()?, Ordering::Relaxed);
        let layers = Layers::of_file(Base::pin(Arc::new(file))?);
        self.durable_end.fetch_max(applied.end(), Ordering::AcqRel);
        count(&self.counters.snapshots_installed);
        self.replace(layers, applied);
        Ok(())
    }

    fn replace(&self, layers: Layers, applied: Applied) {
        let index = applied.end().saturating_sub(1);
        let mut current = lock(&self.current);
        let old = current.layers.replace(layers);
        current.applied = Arc::new(applied);
        current.dirty_since = None;
        drop(current);
        if let Some(old) = old {
            old.file().make_obsolete();
        }
        self.applied_index.send_replace(index);
    }

    /// Makes everything durable and lets go of the file; waits a while for those who still read it.
    pub fn close(&self) -> Result<(), StateError> {
        /// Views are held for moments; a reader that hangs must not keep the process from ending.
        const PATIENCE: Duration = Duration::from_secs(2);
        const PAUSE: Duration = Duration::from_millis(2);
        self.closing.store(true, Ordering::Release);
        let _no_rewrite = lock(&self.rewrite_turn);
        let checkpoint = self.checkpoint();
        let layers = lock(&self.current).layers.take();
        let readers = layers
            .as_ref()
            .map(|layers| Arc::downgrade(layers.file()))
            .unwrap_or_default();
        drop(layers);
        let deadline = Instant::now() + PATIENCE;
        while readers.strong_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        checkpoint
    }

    /// Runs a step unless an earlier one failed; remembers the first failure.
    pub(super) fn running<T>(&self, step: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
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

fn dirty_bytes(current: &Current) -> usize {
    current.layers.as_ref().map_or(0, Layers::dirty_bytes)
}
