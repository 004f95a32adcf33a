//! What runs beside the groups of a member: checkpoints, one at a time, logs that are shortened for their size, and hints of
//! links that came up.

use std::sync::Arc;
use std::time::Duration;

use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::raft::network::{LocalReplica, Registry};
use crate::raft::room::DiskRoom;
use crate::raft::settings::Settings;
use crate::raft::state::CheckpointPolicy;

/// How often states are looked at, at most: a look costs a few atomics per replica.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
/// Looks within the age at which a state is due.
const LOOKS_PER_AGE: u32 = 4;

/// A log may have this many bytes in any case, so that a short absence needs no snapshot.
const KEPT_LOG_BYTES: usize = 8 << 20;
/// Beyond that, this part of its state: a follower that lacks more is better off with the state itself.
const KEPT_LOG_PART: u64 = 4;

/// Makes each state durable when it is due. One at a time: the disk has one head, and the memory of one commit is enough.
pub async fn checkpoint(registry: Arc<Registry>, settings: Settings, room: Arc<dyn DiskRoom>) {
    let policy = CheckpointPolicy {
        dirty_bytes: settings.checkpoint_dirty_bytes,
        age: settings.checkpoint_age,
    };
    let mut look = tokio::time::interval((policy.age / LOOKS_PER_AGE).max(SHORTEST_LOOK));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        for replica in registry.all() {
            shorten(&replica).await;
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

/// Shortens a log whose entries are large. openraft counts entries: with ten thousand of a bulk load a log would be larger than
/// what was loaded.
async fn shorten(replica: &LocalReplica) {
    if replica.log.beyond(KEPT_LOG_BYTES).is_none() {
        return;
    }
    let part = replica.state.file_bytes() / KEPT_LOG_PART;
    let kept = KEPT_LOG_BYTES.max(usize::try_from(part).unwrap_or(usize::MAX));
    let Some(upto) = replica.log.beyond(kept) else {
        return;
    };
    let in_snapshot = replica
        .raft
        .metrics()
        .borrow_watched()
        .snapshot
        .map(|log_id| log_id.index());
    let trigger = replica.raft.trigger();
    // The next look purges what this one has made durable. A replica that stops needs neither.
    let _ = match in_snapshot.is_some_and(|last| upto <= last) {
        true => trigger.purge_log(upto).await,
        false => trigger.snapshot().await,
    };
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
