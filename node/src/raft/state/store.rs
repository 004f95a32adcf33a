//! The state as openraft drives it.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

use super::error::StateError;
use super::replica::ReplicaState;
use crate::raft::snapshot::{SnapshotData, meta_of};
use crate::raft::types::{Answer, Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// Bytes of commands applied in one transaction: more would only make readers of the newest state wait longer.
const APPLY_BYTES: usize = 4 << 20;
/// Entries applied in one transaction, for the same reason.
const APPLY_ENTRIES: usize = 4_096;
/// Bytes of commands that are applied where they come: the few keys of them, nearly always in memory, cost less than two
/// changes of the thread, which each replica of a write would pay.
const SMALL_BYTES: usize = 16 << 10;

/// Drives a [`ReplicaState`], on the blocking pool but for what is small.
pub struct ReplicaStore {
    state: Arc<ReplicaState>,
}

impl ReplicaStore {
    pub fn new(state: Arc<ReplicaState>) -> Self {
        ReplicaStore { state }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        step: impl FnOnce(&ReplicaState) -> Result<T, StateError> + Send + 'static,
    ) -> io::Result<T> {
        blocking(self.state.clone(), step).await
    }

    async fn apply_batch(&self, batch: Batch) -> io::Result<()> {
        let Batch {
            entries,
            responders,
            bytes,
        } = batch;
        let is_small = bytes <= SMALL_BYTES && !self.state.is_overdue();
        let answers = match is_small {
            true => self.state.apply(&entries)?,
            false => {
                self.blocking(move |state| {
                    let answers = state.apply(&entries)?;
                    if state.is_overdue() {
                        state.checkpoint()?;
                    }
                    Ok(answers)
                })
                .await?
            }
        };
        answer(responders, answers);
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    state: Arc<ReplicaState>,
    step: impl FnOnce(&ReplicaState) -> Result<T, StateError> + Send + 'static,
) -> io::Result<T> {
    let result = tokio::task::spawn_blocking(move || step(&state)).await;
    Ok(result.map_err(io::Error::other)??)
}

#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    responders: Vec<Option<ApplyResponder<TypeConfig>>>,
    /// Of the commands.
    bytes: usize,
}

async fn next_batch(
    entries: &mut (impl Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin),
) -> io::Result<Batch> {
    let mut batch = Batch::default();
    while batch.bytes < APPLY_BYTES
        && batch.entries.len() < APPLY_ENTRIES
        && let Some(item) = entries.next().await
    {
        let (entry, responder) = item?;
        batch.bytes += match &entry.payload {
            Payload::Normal(command) => command.bytes.len(),
            Payload::Blank | Payload::Membership(_) => 0,
        };
        batch.entries.push(entry);
        batch.responders.push(responder);
    }
    Ok(batch)
}

fn answer(responders: Vec<Option<ApplyResponder<TypeConfig>>>, answers: Vec<Answer>) {
    for (responder, answer) in responders.into_iter().zip(answers) {
        if let Some(responder) = responder {
            responder.send(answer);
        }
    }
}

impl RaftStateMachine<TypeConfig> for ReplicaStore {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.state.applied();
        Ok((applied.log_id, applied.membership.clone()))
    }

    async fn apply<Entries>(&mut self, entries: Entries) -> io::Result<()>
    where
        Entries: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut entries = entries.fuse();
        loop {
            let batch = next_batch(&mut entries).await?;
            if batch.entries.is_empty() {
                return Ok(());
            }
            self.apply_batch(batch).await?;
        }
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            state: self.state.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let meta = meta.clone();
        self.blocking(move |state| state.install(&meta, snapshot)).await
    }

    /// The state itself is the snapshot, always the newest: a fresh view costs next to nothing.
    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let view = self.blocking(ReplicaState::durable_view).await?;
        Ok(view.applied().log_id.is_some().then(|| snapshot_of(view)))
    }
}

/// Builds a snapshot: one checkpoint and a pinned view.
pub struct SnapshotBuilder {
    state: Arc<ReplicaState>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        blocking(self.state.clone(), ReplicaState::durable_view)
            .await
            .map(snapshot_of)
    }
}

fn snapshot_of(view: super::StateView) -> Snapshot {
    Snapshot {
        meta: meta_of(&view),
        snapshot: SnapshotData::View(view),
    }
}
