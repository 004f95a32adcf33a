//! Commits that several transactions share: those that have read nothing, came at the same moment and touch nothing in common.
//!
//! The protocol sees one transaction, so all of them are applied or none. Where none is, each is tried alone: nobody fails for
//! another one's sake. Where the outcome is not known, none of theirs is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::slot_of;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::error;

use super::lanes::{Entered, GATHERS_FOR, Lane, Lanes, Next, Waiting, merge};
use super::{Acknowledgement, CommitError, Coordinator, Writes};
use crate::to_the_end::to_the_end;
use crate::transaction::avoided::Avoided;

/// Larger transactions commit alone: what sharing saves is little beside what they cost.
const MAX_BYTES: usize = 16 << 10;
/// How long one waits for others that are slow, before it commits without them.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long nothing is shared after a shared commit was of no use.
const AVOIDED_FOR: Duration = Duration::from_millis(100);

type Told = oneshot::Sender<Result<Timestamp, CommitError>>;

/// What is under way and what waits on one member.
#[derive(Default)]
pub struct SharedCommits {
    lanes: Mutex<Lanes<Told>>,
    avoided: Avoided,
}

/// What commits in a lane, one commit after the other. Dropped before its end, which only a bug does, it ends the lane.
struct Runner {
    coordinator: Arc<Coordinator>,
    lane: Lane,
    has_ended: bool,
}

impl Coordinator {
    /// Commits a transaction that has read nothing; the timestamp is the client's bookmark.
    pub async fn commit_shared(
        self: &Arc<Self>,
        writes: Writes,
        acknowledgement: Acknowledgement,
    ) -> Result<Timestamp, CommitError> {
        if writes.size_bytes() > MAX_BYTES || self.shared.avoided.at(Instant::now()) {
            return self.commit_alone(writes, acknowledgement).await;
        }
        let lane = Lane {
            partition: self.only_partition_of(&writes),
            acknowledgement,
        };
        let (whom, mut told) = oneshot::channel();
        let entered = self.shared.lock().enter(lane, Waiting { writes, whom });
        match entered {
            Entered::Begins(first) => {
                let begun = to_the_end(Runner::new(self.clone(), lane).begin(first)).await;
                begun.unwrap_or_else(|error| error!(%error, "a shared commit"));
            }
            Entered::Waits(ticket) => {
                if let Ok(told) = timeout(PATIENCE, &mut told).await {
                    return told.unwrap_or_else(|_| Err(never_told()));
                }
                let waits = self.shared.lock().take_back(lane, ticket);
                if let Some(waits) = waits {
                    return self.commit_alone(waits.writes, acknowledgement).await;
                }
            }
        }
        told.await.unwrap_or_else(|_| Err(never_told()))
    }

    async fn commit_alone(&self, writes: Writes, acknowledgement: Acknowledgement) -> Result<Timestamp, CommitError> {
        self.begin_to_be_told(acknowledgement).commit(writes).await
    }

    fn only_partition_of(&self, writes: &Writes) -> Option<PartitionId> {
        let required = writes.conditions.iter().map(|condition| &condition.key);
        let mut partitions = writes
            .writes
            .keys()
            .chain(required)
            .map(|key| self.partition_of(slot_of(key)));
        let first = partitions.next()?;
        partitions.all(|partition| partition == first).then_some(first)
    }

    async fn commit_together(&self, sharing: Vec<Waiting<Told>>, acknowledgement: Acknowledgement) {
        if sharing.len() == 1 {
            return self.commit_each(sharing, acknowledgement).await;
        }
        let merged = merge(sharing.iter().map(|one| &one.writes));
        let transaction = self.begin_to_be_told(acknowledgement);
        let ended = transaction.commit_for(merged, sharing.len() as u64).await;
        if ended.as_ref().is_err_and(CommitError::applied_nothing) {
            self.shared.avoided.until(Instant::now() + AVOIDED_FOR);
            return self.commit_each(sharing, acknowledgement).await;
        }
        for one in sharing {
            // Whoever asked has gone.
            let _ = one.whom.send(ended.clone());
        }
    }

    /// Alone, all at once.
    async fn commit_each(&self, sharing: Vec<Waiting<Told>>, acknowledgement: Acknowledgement) {
        let each = sharing.into_iter().map(|one| async {
            let ended = self.commit_alone(one.writes, acknowledgement).await;
            // Whoever asked has gone.
            let _ = one.whom.send(ended);
        });
        join_all(each).await;
    }
}

impl SharedCommits {
    fn lock(&self) -> MutexGuard<'_, Lanes<Told>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Runner {
    fn new(coordinator: Arc<Coordinator>, lane: Lane) -> Self {
        Runner {
            coordinator,
            lane,
            has_ended: false,
        }
    }

    /// Commits for the first, who waits for it and for nobody else; for those who came meanwhile it goes on by itself.
    async fn begin(mut self, first: Waiting<Told>) {
        self.commit(vec![first]).await;
        let sharing = self.coordinator.shared.lock().share(self.lane);
        match sharing.is_empty() {
            true => self.has_ended = true,
            false => drop(tokio::spawn(self.run(sharing))),
        }
    }

    /// Until nobody waits.
    async fn run(mut self, mut sharing: Vec<Waiting<Told>>) {
        while !sharing.is_empty() {
            let count = sharing.len();
            self.commit(sharing).await;
            let next = self.coordinator.shared.lock().ended(self.lane, count);
            if let Next::Gather(complete) = next {
                // Complete or not.
                let _ = timeout(GATHERS_FOR, complete).await;
            }
            sharing = self.coordinator.shared.lock().share(self.lane);
        }
        self.has_ended = true;
    }

    async fn commit(&self, sharing: Vec<Waiting<Told>>) {
        let acknowledgement = self.lane.acknowledgement;
        self.coordinator.commit_together(sharing, acknowledgement).await;
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if !self.has_ended {
            self.coordinator.shared.lock().end(self.lane);
        }
    }
}

fn never_told() -> CommitError {
    CommitError::UnknownOutcome("the commit that it shared was given up".to_owned())
}
