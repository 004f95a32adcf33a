//! What runs beside the groups of a member: checkpoints, one at a time, logs that are shortened, and hints of links that came up.

use std::sync::Arc;
use std::time::Duration;

use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::shorten::Shortener;
use crate::raft::network::{LocalReplica, Registry};
use crate::raft::room::DiskRoom;
use crate::raft::settings::Settings;
use crate::raft::state::CheckpointPolicy;

/// How often states are looked at, at most: a look costs a few atomics per replica.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
/// How often it is looked for states to rewrite.
const REWRITE_LOOK: Duration = Duration::from_secs(1);
/// Looks within the age at which a state is due, at least.
const LOOKS_PER_AGE: u32 = 4;

/// Makes each state durable when it is due. One at a time: the disk has one head, and the memory of one commit is enough. And one
/// after the other: those that have waited for half their time have their turn before they are due, or what many partitions take
/// at once would go to the disk at once, and whoever commits to the log would wait.
pub async fn checkpoint(registry: Arc<Registry>, settings: Settings, room: Arc<dyn DiskRoom>) {
    let policy = CheckpointPolicy {
        dirty_bytes: settings.checkpoint_dirty_bytes,
        age: settings.checkpoint_age,
    };
    let mut shortener = Shortener::default();
    let mut shorten_at = Instant::now();
    let mut replicas = Vec::new();
    loop {
        tokio::time::sleep(until_next_look(policy.age, replicas.len())).await;
        replicas = registry.all();
        if Instant::now() >= shorten_at {
            shortener.shorten(&replicas).await;
            shorten_at = Instant::now() + policy.age / LOOKS_PER_AGE;
        }
        let dirty = |replica: &LocalReplica| Some((replica.clone(), replica.state.dirty_for()?));
        let dirty = replicas.iter().filter_map(dirty).collect();
        let is_due = |(replica, _): &(LocalReplica, Duration)| replica.state.is_due(policy);
        for replica in whose_turn(dirty, is_due, policy.age / 2) {
            write(&replica, &room).await;
        }
    }
}

/// As many looks within the age at which a state is due as there are states.
fn until_next_look(age: Duration, replicas: usize) -> Duration {
    let looks = u32::try_from(replicas).unwrap_or(u32::MAX).max(LOOKS_PER_AGE);
    (age / looks).max(SHORTEST_LOOK)
}

/// Of those that wait, and for how long they have: all that are due, else who has waited longest, and for so long at least.
fn whose_turn<T>(waiting: Vec<(T, Duration)>, is_due: impl Fn(&(T, Duration)) -> bool, early: Duration) -> Vec<T> {
    let (due, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_due);
    let longest = others.into_iter().max_by_key(|(_, waited)| *waited);
    let turn = match due.is_empty() {
        true => longest.into_iter().filter(|(_, waited)| *waited >= early).collect(),
        false => due,
    };
    turn.into_iter().map(|(replica, _)| replica).collect()
}

async fn write(replica: &LocalReplica, room: &Arc<dyn DiskRoom>) {
    let (state, room) = (replica.state.clone(), room.clone());
    let checkpoint = tokio::task::spawn_blocking(move || {
        room.before_write(state.dirty_bytes());
        state.checkpoint()
    });
    if !matches!(checkpoint.await, Ok(Ok(()))) {
        // The state said why, and applies nothing any more: a replica like that must not lead.
        let _ = replica.raft.shutdown().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(5);

    /// When each state is written, if all are written to from the beginning on, and a checkpoint takes no time.
    fn turns(states: usize, looks: usize) -> Vec<Vec<Duration>> {
        let mut clean_since = vec![Duration::ZERO; states];
        let mut turns = vec![Vec::new(); states];
        let mut now = Duration::ZERO;
        for _ in 0..looks {
            now += until_next_look(AGE, states);
            let waiting = clean_since.iter().map(|since| now - *since).enumerate().collect();
            let turn = whose_turn(waiting, |(_, waited)| *waited >= AGE, AGE / 2);
            for state in turn {
                clean_since[state] = now;
                turns[state].push(now);
            }
        }
        turns
    }

    #[test]
    fn states_that_were_all_written_to_at_once_come_to_have_their_turn_one_after_the_other() {
        for states in [1, 3, 16, 64] {
            let looks = 10 * states.max(LOOKS_PER_AGE as usize);
            let turns = turns(states, looks);
            let mut all: Vec<Duration> = turns.iter().flatten().copied().filter(|at| *at > 2 * AGE).collect();
            all.sort();
            assert!(
                all.windows(2).all(|pair| pair[0] < pair[1]),
                "{states} states at once: {all:?}"
            );
            for of_one in turns {
                let gaps = of_one.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(
                    of_one.len() > 8 && gaps.clone().all(|gap| gap <= AGE && gap >= AGE / 2),
                    "{of_one:?}"
                );
            }
        }
    }

    #[test]
    fn nobody_has_a_turn_before_half_the_time_and_all_that_are_due_have_theirs() {
        let turn = |waited: [u64; 3]| {
            let waiting = waited.map(Duration::from_secs).into_iter().enumerate().collect();
            whose_turn(waiting, |(_, waited)| *waited >= AGE, AGE / 2)
        };
        assert_eq!(turn([1, 2, 0]), [] as [usize; 0]);
        assert_eq!(turn([3, 4, 0]), [1]);
        assert_eq!(turn([5, 4, 6]), [0, 2]);
    }
}
