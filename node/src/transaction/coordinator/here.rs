//! Reading from the replicas of this member. What a query touches mostly lies here, and a replica that is opened once for it gives
//! that in place, where asking each partition at each step cost more than what was read.
//!
//! Those that lead show what they show to any reader. Those that follow show the present where their leaders say so: of each
//! leader is only asked how far its log has to be applied, once for each query. Why that is the present: `unchanged.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, ready};
use futures::stream::FuturesUnordered;
use kotoba_graph::read::{Answer, Read};
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::slot_of;
use tokio::time::Instant;

use super::{Coordinator, ReadError, ReadFrom};
use crate::transaction::boundary::Partitions;
use crate::transaction::leader::{Opened, Role, SMALL_KEYS, keys_of};

/// How long leaders are read where the replica here was behind: it learns what is committed with the next entry or heartbeat.
const AVOIDED_FOR: Duration = Duration::from_millis(100);
/// Longer than a step takes whose pages are in memory.
const SLOW: Duration = Duration::from_millis(2);
/// What one step gives in place, about; the rest is asked for.
const STEP_BYTES: usize = 1 << 20;
/// After how long a view is opened anew: it keeps memory and pages of the file from being used again.
const HELD_FOR: Duration = Duration::from_secs(1);

/// With so few partitions the leaders of all are asked at once: the next step will read from others, and each message costs more
/// than what is asked in it.
const FEW_PARTITIONS: usize = 32;

/// What one query reads here; what replicas that follow gave it stands once it is settled.
#[derive(Default)]
pub struct Here {
    replicas: Replicas,
    followed: Followed,
}

/// The partitions that were read, as they are here.
struct Replicas {
    by_first_slot: BTreeMap<u16, Replica>,
    /// When the first of them was opened, or a moment before.
    since: Instant,
}

/// What is known of the logs of partitions that are followed here.
#[derive(Default)]
struct Followed {
    /// Partitions whose leaders were asked. How far the log was applied in what was read of each; none where nothing was.
    applied: BTreeMap<PartitionId, Option<u64>>,
    /// How far it has to be, of those that were asked about together.
    asked: FuturesUnordered<BoxFuture<'static, Told>>,
}

struct Replica {
    partition: PartitionId,
    last_slot: u16,
    /// None where it is asked for as elsewhere.
    opened: Option<Opened>,
    /// In the present step.
    keys: usize,
}

/// What leaders say of how far their logs have to be applied.
type Told = Vec<(PartitionId, Option<u64>)>;

/// Partitions whose replica here was behind, or whose leader was busy, and until when that is taken to be so.
#[derive(Default)]
pub struct Behind(Mutex<BTreeMap<PartitionId, Instant>>);

impl Coordinator {
    /// What replicas here give of the reads of one step, at the position of each; none where it has to be asked for.
    pub(super) async fn read_here(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        reads: &[Read],
        max_bytes: usize,
        here: &mut Here,
    ) -> Result<Vec<Option<Answer>>, ReadError> {
        if from == ReadFrom::IfUnchanged {
            self.ask_leaders(snapshot, reads, &mut here.followed).await;
        }
        let begun = Instant::now();
        if from == ReadFrom::Replicas || self.slow_here.at(begun) {
            return Ok(reads.iter().map(|_| None).collect());
        }
        let answers = self.read_opened(snapshot, from, reads, max_bytes, here)?;
        let took = begun.elapsed();
        if took > SLOW {
            self.slow_here.until(begun + took + AVOIDED_FOR);
        }
        Ok(answers)
    }

    fn read_opened(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        reads: &[Read],
        max_bytes: usize,
        here: &mut Here,
    ) -> Result<Vec<Option<Answer>>, ReadError> {
        here.replicas.begin_step();
        let mut left = max_bytes.min(STEP_BYTES);
        let mut answers = Vec::with_capacity(reads.len());
        for read in reads {
            let answer = match left {
                0 => None,
                _ => self.read_one(snapshot, from, read, left, here)?,
            };
            left = left.saturating_sub(answer.as_ref().map_or(0, Answer::bytes));
            answers.push(answer);
        }
        Ok(answers)
    }

    fn read_one(
        &self,
        snapshot: Timestamp,
        from: ReadFrom,
        read: &Read,
        max_bytes: usize,
        here: &mut Here,
    ) -> Result<Option<Answer>, ReadError> {
        let Some(slot) = slot_of_read(read) else {
            return Ok(None);
        };
        let replica = self.opened(slot, snapshot, &mut here.replicas);
        replica.keys += keys_of(read);
        let Some(opened) = replica.opened.as_ref().filter(|_| replica.keys <= SMALL_KEYS) else {
            return Ok(None);
        };
        let (partition, role) = (replica.partition, opened.role);
        let at = match (from, role) {
            (ReadFrom::Leaders, Role::Leads) => snapshot,
            (ReadFrom::IfUnchanged, Role::Leads) => Timestamp(u64::MAX),
            (ReadFrom::IfUnchanged, Role::Follows { .. }) if here.followed.has_asked(partition) => Timestamp(u64::MAX),
            _ => return Ok(None),
        };
        let found = opened.read(at, read, max_bytes);
        let found = found.map_err(|error| ReadError::Broken(format!("{error:?}")))?;
        // What is undecided here may be decided where it is asked for.
        if found.is_blocked {
            return Ok(None);
        }
        if let Role::Follows { applied } = role {
            here.followed.note(partition, applied);
        }
        match found.since <= snapshot {
            true => Ok(Some(found.answer)),
            false => Err(ReadError::Changed),
        }
    }

    /// The partition of a slot as it is here, opened where that was not tried yet.
    fn opened<'r>(&self, slot: u16, snapshot: Timestamp, replicas: &'r mut Replicas) -> &'r mut Replica {
        let replicas = &mut replicas.by_first_slot;
        let known = replicas.range(..=slot).next_back();
        let first = match known.filter(|(_, replica)| slot <= replica.last_slot) {
            Some((first, _)) => *first,
            None => {
                let partition = self.partitions.partition_of(slot);
                let (first, last_slot) = self.partitions.slots_of(partition);
                let replica = Replica {
                    partition,
                    last_slot,
                    opened: self.partitions.open(partition, snapshot),
                    keys: 0,
                };
                replicas.insert(first, replica);
                first
            }
        };
        replicas.get_mut(&first).expect("it is there by now")
    }

    /// Asks the leaders of what is followed here, once; waits for none of their answers.
    async fn ask_leaders(&self, at_least: Timestamp, reads: &[Read], followed: &mut Followed) {
        let all = self.partitions.all();
        let new: Vec<PartitionId> = match all.len() <= FEW_PARTITIONS {
            true if !followed.asked.is_empty() => return,
            true => self.near(all),
            false => {
                let slots = reads.iter().filter_map(slot_of_read);
                let mut read: Vec<PartitionId> = slots.map(|slot| self.partitions.partition_of(slot)).collect();
                read.sort_unstable();
                read.dedup();
                read.retain(|partition| !followed.has_asked(*partition));
                self.near(read)
            }
        };
        if !new.is_empty() {
            followed.ask(&self.partitions, new, at_least).await;
        }
    }

    /// Those that a replica here follows and was not behind with.
    fn near(&self, partitions: Vec<PartitionId>) -> Vec<PartitionId> {
        let now = Instant::now();
        let is_near = |partition: &PartitionId| {
            self.partitions.is_followed_here(*partition) && !self.behind.contains(*partition, now)
        };
        partitions.into_iter().filter(is_near).collect()
    }

    /// Whether all that was read from replicas that follow is the present; else it is [`ReadError::Changed`].
    pub async fn settle(&self, here: Here) -> Result<(), ReadError> {
        let Followed { mut applied, mut asked } = here.followed;
        let mut stands = true;
        while let Some(told) = asked.next().await {
            for (partition, index) in told {
                let Some(applied) = applied.remove(&partition).flatten() else {
                    continue;
                };
                if index.is_none_or(|index| index > applied) {
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

impl Here {
    /// Lets go of all views: what is read later is opened anew.
    pub fn let_go(&mut self) {
        self.replicas = Replicas::default();
    }
}

impl Default for Replicas {
    fn default() -> Self {
        Replicas {
            by_first_slot: BTreeMap::new(),
            since: Instant::now(),
        }
    }
}

impl Replicas {
    fn begin_step(&mut self) {
        self.by_first_slot.values_mut().for_each(|replica| replica.keys = 0);
        if self.since.elapsed() > HELD_FOR {
            *self = Replicas::default();
        }
    }
}

impl Followed {
    /// Whether the leader of a partition was asked.
    fn has_asked(&self, partition: PartitionId) -> bool {
        self.applied.contains_key(&partition)
    }

    fn note(&mut self, partition: PartitionId, applied: u64) {
        let least = self.applied.entry(partition).or_default();
        *least = Some(least.map_or(applied, |least| least.min(applied)));
    }

    async fn ask(&mut self, partitions: &Arc<dyn Partitions>, new: Vec<PartitionId>, at_least: Timestamp) {
        self.applied.extend(new.iter().map(|partition| (*partition, None)));
        let partitions = partitions.clone();
        let mut asking = Box::pin(async move {
            let indexes = partitions.read_indexes(at_least, &new).await;
            new.into_iter().zip(indexes).collect()
        });
        let polled = futures::poll!(asking.as_mut());
        self.asked.push(match polled {
            Poll::Ready(told) => Box::pin(ready(told)),
            Poll::Pending => asking,
        });
        // What is asked goes out now, and the answer comes while this reads.
        tokio::task::yield_now().await;
    }
}

/// None of a read of many slots.
fn slot_of_read(read: &Read) -> Option<u16> {
    match read {
        Read::Get { key } => Some(slot_of(key)),
        Read::Scan { from, .. } => Some(slot_of(from)),
        Read::ScanSlots(_) => None,
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
