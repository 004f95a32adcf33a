//! Reading the present from replicas of this member that follow: the reads stay here, and of each leader is only asked how far
//! its log has to be applied, once for each query. Why that is the present: `unchanged.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all, ready};
use futures::stream::FuturesUnordered;
use kotoba_state::ids::{PartitionId, Timestamp};
use tokio::time::Instant;

use super::read::{Routed, reads_of};
use super::{Coordinator, ReadError};
use crate::transaction::boundary::{CallError, Partitions};
use crate::transaction::message::{Reply, Request};

/// How long leaders are read where the replica here was behind: it learns what is committed with the next entry or heartbeat.
const AVOIDED_FOR: Duration = Duration::from_millis(100);

/// With so few partitions the leaders of all are asked at once: the next step will read from others, and each message costs more
/// than what is asked in it.
const FEW_PARTITIONS: usize = 32;

/// What one query has read from replicas that follow, which stands once it is settled.
#[derive(Default)]
pub struct Followed {
    /// How far the log was applied, at least, in what was read of each partition; none where nothing was read here.
    applied: BTreeMap<PartitionId, Option<u64>>,
    /// How far it has to be, of those that were asked about together.
    asked: FuturesUnordered<BoxFuture<'static, Told>>,
}

/// What leaders say of how far their logs have to be applied.
type Told = Vec<(PartitionId, Result<Reply, CallError>)>;

/// Partitions whose replica here was behind, or whose leader was busy, and until when that is taken to be so.
#[derive(Default)]
pub struct Behind(Mutex<BTreeMap<PartitionId, Instant>>);

impl Coordinator {
    /// What replicas here give of those partitions that they follow, as far as they give anything.
    pub(super) async fn read_followed(
        &self,
        snapshot: Timestamp,
        routed: &Routed,
        max_bytes: usize,
        followed: &mut Followed,
    ) -> BTreeMap<PartitionId, Reply> {
        let near = self.near(routed.keys().copied());
        if !followed.knows_all(&near) {
            let all = Some(self.partitions.all()).filter(|all| all.len() <= FEW_PARTITIONS);
            let asked = all.map_or_else(|| near.clone(), |all| self.near(all));
            followed.ask(&self.partitions, &asked, snapshot).await;
        }
        let read = async |partition: PartitionId| {
            let request = Request::ReadApplied {
                at_least: snapshot,
                reads: reads_of(&routed[&partition]),
                max_bytes,
            };
            (partition, self.partitions.call_replica(partition, request).await)
        };
        let mut replies = BTreeMap::new();
        for (partition, reply) in join_all(near.into_iter().map(read)).await {
            // Else its leader is asked: what is undecided here may be decided there.
            if let Some(Reply::Applied { index, newest }) = reply {
                followed.note(partition, index);
                replies.insert(partition, Reply::Newest(newest));
            }
        }
        replies
    }

    /// Those that a replica here follows and was not behind with.
    fn near(&self, partitions: impl IntoIterator<Item = PartitionId>) -> Vec<PartitionId> {
        let now = Instant::now();
        let is_near = |partition: &PartitionId| {
            self.partitions.is_followed_here(*partition) && !self.behind.contains(*partition, now)
        };
        partitions.into_iter().filter(is_near).collect()
    }

    /// Whether all that was read from replicas that follow is the present; else it is [`ReadError::Changed`].
    pub async fn settle(&self, mut followed: Followed) -> Result<(), ReadError> {
        let mut stands = true;
        while let Some(told) = followed.asked.next().await {
            for (partition, reply) in told {
                let Some(applied) = followed.applied.remove(&partition).flatten() else {
                    continue;
                };
                let is_reached = match reply? {
                    Reply::ReadIndex(index) => index <= applied,
                    Reply::Undecided => false,
                    other => return Err(ReadError::Broken(format!("{other:?} is no index of a log"))),
                };
                if !is_reached {
                    self.behind.note(partition, Instant::now() + AVOIDED_FOR);
                    stands = false;
                }
            }
        }
        match stands {
            true => Ok(()),
            false => Err(ReadError::Changed),
        }
    }
}

impl Followed {
    /// Whether the leaders of all these partitions were asked.
    fn knows_all(&self, near: &[PartitionId]) -> bool {
        near.iter().all(|partition| self.applied.contains_key(partition))
    }

    /// Asks the leaders of those partitions that were not asked for yet; waits for none of their answers.
    async fn ask(&mut self, partitions: &Arc<dyn Partitions>, near: &[PartitionId], at_least: Timestamp) {
        let is_new = |partition: &PartitionId| !self.applied.contains_key(partition);
        let new: Vec<PartitionId> = near.iter().copied().filter(is_new).collect();
        self.applied.extend(new.iter().map(|partition| (*partition, None)));
        let partitions = partitions.clone();
        let mut asking = Box::pin(async move {
            let request = |partition: &PartitionId| (*partition, Request::ReadIndex { at_least });
            let replies = partitions.call_all(new.iter().map(request).collect()).await;
            new.into_iter().zip(replies).collect()
        });
        let polled = futures::poll!(asking.as_mut());
        self.asked.push(match polled {
            Poll::Ready(told) => Box::pin(ready(told)),
            Poll::Pending => asking,
        });
        // What is asked goes out now, and the answer comes while this reads.
        tokio::task::yield_now().await;
    }

    fn note(&mut self, partition: PartitionId, index: u64) {
        let least = self.applied.entry(partition).or_default();
        *least = Some(least.map_or(index, |least| least.min(index)));
    }
}

impl Behind {
    fn note(&self, partition: PartitionId, until: Instant) {
        let mut behind = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        behind.insert(partition, until);
    }

    fn contains(&self, partition: PartitionId, now: Instant) -> bool {
        let behind = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        behind.get(&partition).is_some_and(|until| now < *until)
    }
}
