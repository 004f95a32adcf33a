//! Rewrites a state file that is mostly empty into a new one, in the order of its keys, while the replica goes on.
//!
//! The file is copied as of a checkpoint. What later ones write meanwhile is kept in memory and written behind the copy; only
//! for the last of it, and for the exchange of the files, the next checkpoint waits. Views of the old file stay good.
//!
//! On disk when the power fails: the old file until `CURRENT` names the new one, which has then all that the old one has.
//! The other is deleted at the next start.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kotoba_state::store::{Pair, Pairs, StoreError};

use super::error::StateError;
use super::file::{Applied, StateFile};
use super::layers::Base;
use super::replica::{Frozen, ReplicaState};
use crate::raft::counters::count;
use crate::raft::lock::lock;

/// A state that nobody has written to for so long is at rest.
const REST: Duration = Duration::from_secs(5);
/// Less is not worth a rewrite.
const LEAST_WASTE_BYTES: u64 = 1 << 20;
/// Bytes that are copied in one transaction of the new file, and at which it is asked whether to go on.
const STEP_BYTES: usize = 4 << 20;
/// Memtables of checkpoints that are kept for the copy; with more it cannot keep up, and is given up.
const MAX_MISSED_BYTES: usize = 32 << 20;
/// Rounds of catching up before checkpoints wait: each leaves what came during it.
const ROUNDS: usize = 3;

/// What a rewrite takes from the replica and gives back.
#[derive(Default)]
pub struct Rewriting {
    /// Of checkpoints since the copy began, oldest first; none while nothing is rewritten.
    missed: Option<Vec<Frozen>>,
}

impl Rewriting {
    /// A checkpoint is in the old file.
    pub fn miss(&mut self, frozen: &Frozen) {
        if let Some(missed) = &mut self.missed {
            missed.push(frozen.clone());
            if missed.iter().map(|frozen| frozen.changes.bytes()).sum::<usize>() > MAX_MISSED_BYTES {
                self.give_up();
            }
        }
    }

    /// The state is another one.
    pub fn give_up(&mut self) {
        self.missed = None;
    }

    fn take(&mut self) -> Option<Vec<Frozen>> {
        self.missed.as_mut().map(std::mem::take)
    }
}

/// The new file; it deletes itself unless it is put into use.
pub(super) struct Copy {
    generation: u64,
    file: Option<StateFile>,
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            file.make_obsolete();
        }
    }
}

impl ReplicaState {
    /// Whether so much of the file is empty that it should be rewritten: while it is written to, more than two thirds; at rest,
    /// more than a seventh. Not before half of what it holds was written, a quarter at rest, or an eighth of it deleted, since the
    /// last time: rewrites must not cost many times what led to them.
    pub fn is_wasteful(&self) -> bool {
        let content = match &lock(&self.current).layers {
            Some(layers) => layers.file().content_bytes(),
            None => return false,
        };
        let (bound, worn) = match self.rest() >= REST {
            true => (content + content / 6, content / 4),
            false => (content * 3, content / 2),
        };
        let peak = self.peak_content_bytes.load(Ordering::Relaxed);
        let is_worn = self.written_bytes.load(Ordering::Relaxed) >= worn || content < peak - peak / 8;
        is_worn && self.file_bytes() > bound + LEAST_WASTE_BYTES
    }

    /// What a rewrite needs on the disk while the old file is there, too.
    pub fn rewritten_bytes(&self) -> u64 {
        let layers = lock(&self.current).layers.clone();
        layers.map_or(0, |layers| layers.file().content_bytes() * 5 / 4)
    }

    /// Rewrites the file; false where it was given up, and nothing has changed. Blocks for as long as a copy takes.
    ///
    /// A copy that fails is no failure of the replica; one that can be put into use halfway only is.
    pub fn rewrite(&self) -> Result<bool, StateError> {
        let _turn = lock(&self.rewrite_turn);
        let Some((base, applied)) = self.begin_rewrite() else {
            return Ok(false);
        };
        let copy = self.copy(&base, &applied).and_then(|copy| match copy {
            Some(copy) => Ok(self.catch_up(&copy)?.then_some(copy)),
            None => Ok(None),
        });
        drop(base);
        match copy {
            Ok(Some(copy)) => self.running(|| self.exchange(copy)),
            Ok(None) => {
                lock(&self.rewriting).give_up();
                Ok(false)
            }
            Err(error) => {
                lock(&self.rewriting).give_up();
                Err(error)
            }
        }
    }

    pub(super) fn begin_rewrite(&self) -> Option<(Arc<Base>, Applied)> {
        let _file_change = lock(&self.file_change);
        let base = lock(&self.current).layers.as_ref()?.base().clone();
        let applied = base.file().applied().ok()?;
        // One that fails is not tried again at once.
        self.written_bytes.store(0, Ordering::Relaxed);
        self.peak_content_bytes
            .store(base.file().content_bytes(), Ordering::Relaxed);
        lock(&self.rewriting).missed = Some(Vec::new());
        Some((base, applied))
    }

    fn goes_on(&self) -> bool {
        lock(&self.rewriting).missed.is_some() && !self.closing.load(Ordering::Acquire)
    }

    pub(super) fn copy(&self, base: &Base, applied: &Applied) -> Result<Option<Copy>, StateError> {
        let (generation, file) = self.directory.create()?;
        let copy = Copy {
            generation,
            file: Some(file),
        };
        let file = copy.file();
        let failed = |error| StateError::database(&file.path(), "rewritten")(error);
        let mut pairs = base.all().map_err(|source| self.unreadable(source))?;
        loop {
            let step = next_step(&mut pairs).map_err(|source| self.unreadable(source))?;
            if !self.goes_on() {
                return Ok(None);
            }
            if step.is_empty() {
                break;
            }
            file.append(&step).map_err(failed)?;
        }
        file.finish(applied).map_err(failed)?;
        Ok(Some(copy))
    }

    fn unreadable(&self, source: StoreError) -> StateError {
        StateError::Rewrite { key: self.key, source }
    }

    pub(super) fn catch_up(&self, copy: &Copy) -> Result<bool, StateError> {
        for _ in 0..ROUNDS {
            if !self.goes_on() {
                return Ok(false);
            }
            let missed = lock(&self.rewriting).take().unwrap_or_default();
            if missed.is_empty() {
                return Ok(true);
            }
            copy.write(&missed)?;
        }
        Ok(true)
    }

    pub(super) fn exchange(&self, mut copy: Copy) -> Result<bool, StateError> {
        let _file_change = lock(&self.file_change);
        let missed = {
            let mut rewriting = lock(&self.rewriting);
            let missed = rewriting.take();
            rewriting.give_up();
            missed
        };
        let (Some(missed), true) = (missed, lock(&self.current).layers.is_some()) else {
            return Ok(false);
        };
        if let Err(error) = copy.write(&missed) {
            tracing::warn!(replica = %self.key, %error, "a state file stays as it is: its copy cannot be finished");
            return Ok(false);
        }
        let file = copy.file.take().expect("it is taken here alone");
        self.directory.switch_to(copy.generation, &file)?;
        self.file_bytes.store(file.bytes()?, Ordering::Relaxed);
        let base = Base::pin(Arc::new(file))?;
        if let Some(layers) = &mut lock(&self.current).layers {
            layers.file().make_obsolete();
            layers.rebase(base);
        }
        count(&self.counters.rewrites);
        Ok(true)
    }
}

fn next_step(pairs: &mut Pairs) -> Result<Vec<Pair>, StoreError> {
    let mut bytes = 0;
    let mut step = Vec::new();
    while bytes < STEP_BYTES
        && let Some(pair) = pairs.next().transpose()?
    {
        bytes += pair.0.len() + pair.1.len();
        step.push(pair);
    }
    Ok(step)
}

impl Copy {
    fn file(&self) -> &StateFile {
        self.file.as_ref().expect("it is taken at the end alone")
    }

    fn write(&self, missed: &[Frozen]) -> Result<(), StateError> {
        let file = self.file();
        missed.iter().try_for_each(|frozen| {
            let written = file.checkpoint(&frozen.changes, frozen.step, &frozen.applied);
            written.map_err(StateError::database(&file.path(), "rewritten"))
        })
    }
}
