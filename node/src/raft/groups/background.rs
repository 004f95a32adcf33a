//! What runs beside the groups of a member: checkpoints, one at a time, logs that are shortened, and hints of links that came up.

use std::sync::Arc;
use std::time::Duration;

use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::shorten::Shortener;
use crate::raft::network::{LocalReplica, Registry};
use crate::raft::room::DiskRoom;
use crate::raft::settings::Settings;
use crate::raft::state::CheckpointPolicy;

/// How often states are looked at, at most: a look costs a few atomics per replica.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
/// How often it is looked for states to rewrite.
const REWRITE_LOOK: Duration = Duration::from_secs(1);
/// Looks within the age at which a state is due.
const LOOKS_PER_AGE: u32 = 4;

/// Makes each state durable when it is due. One at a time: the disk has one head, and the memory of one commit is enough.
pub async fn checkpoint(registry: Arc<Registry>, settings: Settings, room: Arc<dyn DiskRoom>) {
    let policy = CheckpointPolicy {
        dirty_bytes: settings.checkpoint_dirty_bytes,
        age: settings.checkpoint_age,
    };
    let mut look = tokio::time::interval((policy.age / LOOKS_PER_AGE).max(SHORTEST_LOOK));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shortener = Shortener::default();
    loop {
        look.tick().await;
        let replicas = registry.all();
        shortener.shorten(&replicas).await;
        for replica in replicas {
            if !replica.state.is_due(policy) {
                continue;
            }
            let (state, room) = (replica.state.clone(), room.clone());
            let checkpoint = tokio::task::spawn_blocking(move || {
                room.before_write(state.dirty_bytes());
                state.checkpoint()
            });
            let checkpoint = checkpoint.await;
            if !matches!(checkpoint, Ok(Ok(()))) {
                // The state said why, and applies nothing any more: a replica like that must not lead.
                let _ = replica.raft.shutdown().await;
            }
        }
    }
}

/// Rewrites states that are mostly empty, one at a time. A look costs a few atomics.
pub async fn rewrite(registry: Arc<Registry>, room: Arc<dyn DiskRoom>) {
    let mut look = tokio::time::interval(REWRITE_LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        for replica in registry.all().into_iter().filter(|replica| replica.state.is_wasteful()) {
            let (state, room) = (replica.state.clone(), room.clone());
            let rewrite = tokio::task::spawn_blocking(move || match room.has_to_spare(state.rewritten_bytes()) {
                true => state.rewrite(),
                false => Ok(false),
            });
            match rewrite.await {
                Ok(Ok(true)) => {
                    tracing::debug!(replica = %replica.key, bytes = replica.state.file_bytes(), "a state file was rewritten");
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) if replica.state.failure().is_none() => {
                    let cause = std::error::Error::source(&error);
                    tracing::warn!(replica = %replica.key, %error, ?cause, "a state file stays as it is");
                }
                Ok(Err(_)) | Err(_) => {
                    // As after a checkpoint that failed.
                    let _ = replica.raft.shutdown().await;
                }
            }
        }
    }
}

/// Ends the pauses of all leaders here towards a member whose link came up.
pub async fn reset_backoff(registry: Arc<Registry>, mut links: mpsc::Receiver<MemberId>) {
    while let Some(member) = links.recv().await {
        for replica in registry.all() {
            let there = replicas_on(&replica, member);
            if replica.raft.is_leader() && !there.is_empty() {
                // A replica that stops needs no hint.
                let _ = replica.raft.trigger().reset_backoff(there).await;
            }
        }
    }
}

fn replicas_on(replica: &LocalReplica, member: MemberId) -> Vec<ReplicaId> {
    let metrics = replica.raft.server_metrics().borrow_watched().clone();
    let nodes = metrics.membership_config.nodes();
    nodes
        .filter(|(_, there)| **there == member)
        .map(|(replica, _)| *replica)
        .collect()
}
