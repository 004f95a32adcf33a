//! A planned end: every group that is led here gets another leader first, so that clients do not wait for an election.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use kotoba_state::ids::ReplicaId;
use tokio::time::timeout;
use tracing::info;

use super::running::Running;
use crate::raft::{Group, GroupObservation};

/// More than a few heartbeats.
const HEARD_WITHIN_MS: u64 = 1_000;

impl Running {
    /// Moves all leaders off this member, as far as caught-up voters elsewhere can take them in time.
    pub async fn hand_over(&self, within: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        let led = self
            .groups
            .list()
            .into_iter()
            .filter(|group| group.leadership().leading);
        let moves: Vec<_> = led.map(|group| timeout(within, hand_over(group))).collect();
        let count = moves.len();
        let done = join_all(moves).await.into_iter().filter(Result::is_ok).count();
        if count > 0 {
            info!(led = count, handed_over = done, "leaders handed over");
        }
    }
}

/// Returns when another replica leads; never where there is none that could.
async fn hand_over(group: Group) {
    let mut leadership = group.watch_leadership();
    let best_last = successors(&group.observe());
    for successor in best_last.into_iter().rev() {
        // Whether it worked is seen in the leadership; one that is not reached is passed over.
        if group.transfer_leader(successor).await.is_ok() {
            break;
        }
    }
    let _ = leadership.wait_for(|known| !known.leading).await;
}

/// Voters that were heard from a moment ago, the one with the most of the log last: one that is silent could not lead.
pub(super) fn successors(seen: &GroupObservation) -> Vec<ReplicaId> {
    let voters = seen.voters.iter().flatten().filter(|voter| **voter != seen.replica);
    let known = voters.filter_map(|voter| Some((*voter, seen.progress.get(voter)?)));
    let heard = known.filter(|(_, progress)| progress.silent_ms.is_some_and(|silent| silent <= HEARD_WITHIN_MS));
    let mut heard: Vec<_> = heard.collect();
    heard.sort_by_key(|(_, progress)| progress.matched_index);
    heard.into_iter().map(|(voter, _)| voter).collect()
}
