//! Logs are shortened for their bytes, and at rest: openraft counts entries, and ten thousand of a bulk load were twice the state.
//!
//! An entry stays while it is young or a follower that the leader knows of has not got it, so that a short absence needs no
//! snapshot; but not beyond what all logs of a member may have together, or what its state makes sense of.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use crate::raft::network::LocalReplica;
use crate::raft::types::ReplicaKey;

/// How old an entry has to be to go although there is room for it: a member that restarts is away for less.
const YOUNG: Duration = Duration::from_secs(10);
/// What is old and nobody needs stays while it is less than this: a purge is an entry of the log itself.
const KEPT_AT_REST_BYTES: usize = 256 << 10;
/// A log may have this many bytes while somebody may need them,
const KEPT_BYTES: usize = 8 << 20;
/// and beyond that this part of its state: a follower that lacks more is better off with the state itself;
const KEPT_PART: u64 = 8;
/// but all logs of a member together no more than this, for a start reads all of it.
const KEPT_OF_A_MEMBER_BYTES: usize = 192 << 20;

/// Shortens the logs of a member's replicas.
#[derive(Default)]
pub struct Shortener {
    ages: BTreeMap<ReplicaKey, Age>,
}

impl Shortener {
    /// Looks at each log; costs a few atomics where nothing is to be done.
    pub async fn shorten(&mut self, replicas: &[LocalReplica]) {
        let now = Instant::now();
        self.ages
            .retain(|key, _| replicas.iter().any(|replica| replica.key == *key));
        for replica in replicas {
            let age = self.ages.entry(replica.key).or_insert_with(|| Age::new(now));
            age.look(now, replica.log.last_index());
            let old = age.old;
            if let Some(upto) = superfluous(replica, old, replicas.len()) {
                purge(replica, upto).await;
            }
        }
    }
}

/// Which entries of a log are old.
#[derive(Debug, PartialEq, Eq)]
struct Age {
    /// Entries up to here are.
    old: Option<u64>,
    /// Those up to here are once as much time is over again.
    aging: Option<u64>,
    since: Instant,
}

impl Age {
    fn new(now: Instant) -> Self {
        Age {
            old: None,
            aging: None,
            since: now,
        }
    }

    fn look(&mut self, now: Instant, last: Option<u64>) {
        if now.duration_since(self.since) >= YOUNG {
            self.old = self.aging;
            self.aging = last;
            self.since = now;
        }
    }
}

/// The last entry that may go, where it is worth it.
fn superfluous(replica: &LocalReplica, old: Option<u64>, replicas: usize) -> Option<u64> {
    let log = &replica.log;
    if log.bytes() <= KEPT_AT_REST_BYTES {
        return None;
    }
    let unneeded = old
        .and_then(|old| everywhere(replica, old))
        .filter(|upto| log.bytes_up_to(*upto) > KEPT_AT_REST_BYTES);
    let beyond = log.beyond(kept_bytes(replica.state.file_bytes(), replicas));
    unneeded.max(beyond)
}

/// What a log may have while somebody may need it.
fn kept_bytes(state_bytes: u64, replicas: usize) -> usize {
    let part = usize::try_from(state_bytes / KEPT_PART).unwrap_or(usize::MAX);
    KEPT_BYTES.max(part).min(KEPT_OF_A_MEMBER_BYTES / replicas.max(1))
}

/// The last entry up to `old` that no follower lacks. One who does not lead knows of none, and keeps by age alone.
fn everywhere(replica: &LocalReplica, old: u64) -> Option<u64> {
    let metrics = replica.raft.metrics().borrow_watched().clone();
    let matched = metrics.replication.into_iter().flatten();
    let indexes = matched.map(|(_, log_id)| log_id.map(|log_id| log_id.index()));
    indexes.chain([Some(old)]).min().flatten()
}

async fn purge(replica: &LocalReplica, upto: u64) {
    let snapshot = replica.raft.metrics().borrow_watched().snapshot;
    let is_durable = snapshot.is_some_and(|last| upto <= last.index());
    let trigger = replica.raft.trigger();
    // The next look purges what this one has made durable. A replica that stops needs neither.
    let _ = match is_durable {
        true => trigger.purge_log(upto).await,
        false => trigger.snapshot().await,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_entry_is_old_once_it_was_seen_for_that_long() {
        let start = Instant::now();
        let mut age = Age::new(start);
        let mut old_at = |seconds, last| {
            age.look(start + Duration::from_secs(seconds), Some(last));
            age.old
        };
        assert_eq!([old_at(1, 5), old_at(9, 50)], [None, None]);
        assert_eq!([old_at(10, 60), old_at(19, 90)], [None, None]);
        assert_eq!([old_at(20, 100), old_at(29, 120)], [Some(60), Some(60)]);
        assert_eq!(old_at(31, 130), Some(100));
    }

    #[test]
    fn a_log_may_have_some_bytes_or_a_part_of_its_state_but_no_more_than_its_part_of_all() {
        assert_eq!(kept_bytes(0, 1), KEPT_BYTES);
        assert_eq!(kept_bytes(800 << 20, 1), 100 << 20);
        assert_eq!(kept_bytes(u64::MAX, 1), KEPT_OF_A_MEMBER_BYTES);
        assert_eq!(kept_bytes(u64::MAX, 64), 3 << 20);
    }
}
