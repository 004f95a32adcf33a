//! Rebuilds a replica whose state is not to be trusted: it keeps its number, its vote and its log, and gets the leader's state.
//!
//! On disk when the power fails: the old state until the new one is whole, durable, and named by `CURRENT`; the log loses
//! before that only what contradicts an entry that a majority has. Whoever asked for this asks again after the restart.

use std::sync::Arc;

use kotoba_state::ids::{GroupId, MemberId, ReplicaId};
use kotoba_state::machine::StateMachine;

use super::slots::{Claim, Claimed};
use super::{Groups, RebuildError};
use crate::raft::group::Group;
use crate::raft::log::ReplicaLogHandle;
use crate::raft::snapshot::{LoadedFile, fetch};
use crate::raft::state::{ReplicaDirectory, StateError};
use crate::raft::types::ReplicaKey;

impl Groups {
    /// Stops a replica where it runs, replaces its state by that of the group's leader, and starts it again.
    ///
    /// `leader` refuses where it does not lead; then nothing was changed, and the replica does not run.
    pub async fn rebuild_replica(
        &self,
        group: GroupId,
        replica: ReplicaId,
        leader: MemberId,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Group, RebuildError> {
        let key = ReplicaKey { group, replica };
        let this = self.clone();
        let rebuilt = self.inner.tasks.spawn(async move {
            let claim = this.stop_to_rebuild(key).await?;
            let running = this.rebuild(key, leader, machine).await?;
            this.inner.registry.insert(running.local());
            claim.fill(running.clone());
            Ok(running)
        });
        rebuilt
            .await
            .unwrap_or_else(|panic| Err(RebuildError::Panic(panic.to_string())))
    }

    /// Stops a replica and lets go of its files, which stay: it is not trusted to serve, and will be rebuilt.
    pub async fn stop_replica(&self, group: GroupId, replica: ReplicaId) -> Result<(), RebuildError> {
        let key = ReplicaKey { group, replica };
        let this = self.clone();
        let stopped = self.inner.tasks.spawn(async move { this.stop_to_rebuild(key).await });
        let stopped = stopped
            .await
            .unwrap_or_else(|panic| Err(RebuildError::Panic(panic.to_string())));
        stopped.map(drop)
    }

    async fn stop_to_rebuild(&self, key: ReplicaKey) -> Result<Claimed, RebuildError> {
        let claim = match self.inner.slots.take(key.group, key.replica).await {
            Claim::Running(other) => {
                let running = other.replica();
                return Err(RebuildError::Occupied { key, running });
            }
            Claim::Claimed(claim) => claim,
        };
        if let Some(running) = claim.taken() {
            self.inner.registry.remove(key);
            running.stop().await;
            let state = running.local().state;
            let closed = tokio::task::spawn_blocking(move || state.close()).await;
            if !matches!(closed, Ok(Ok(()))) {
                tracing::warn!(replica = %key, "the state to be replaced was not closed in order");
            }
        }
        Ok(claim)
    }

    async fn rebuild(
        &self,
        key: ReplicaKey,
        leader: MemberId,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Group, RebuildError> {
        let mut log = self.inner.open_replica_log(key).await?;
        let directory = Arc::new(self.open_directory(key).await?);
        let loaded = fetch(&self.inner.transport.dialer(leader), key, directory.clone()).await?;
        make_room(key, &mut log, &loaded).await?;
        let switch = move || {
            let (generation, file) = loaded.into_file();
            directory.switch_to(generation, &file)
        };
        blocking(switch).await?;
        tracing::info!(replica = %key, from = %leader, "the replica has the leader's state");
        Ok(self.inner.start(key, machine).await?)
    }

    async fn open_directory(&self, key: ReplicaKey) -> Result<ReplicaDirectory, RebuildError> {
        let path = self.inner.replica_directory(key);
        let files = self.inner.file_settings();
        blocking(move || ReplicaDirectory::open_to_replace(&path, key, files)).await
    }
}

/// A state ahead of its log could contradict the tail that the log still holds from an older term.
async fn make_room(key: ReplicaKey, log: &mut ReplicaLogHandle, loaded: &LoadedFile) -> Result<(), RebuildError> {
    let Some(committed) = loaded.meta.last_log_id else {
        return Err(RebuildError::Older { key });
    };
    match log.make_room_for(committed).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(RebuildError::Older { key }),
        Err(source) => Err(RebuildError::Log { key, source }),
    }
}

async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, RebuildError> {
    match tokio::task::spawn_blocking(step).await {
        Ok(result) => Ok(result?),
        Err(panic) => Err(RebuildError::Panic(panic.to_string())),
    }
}
