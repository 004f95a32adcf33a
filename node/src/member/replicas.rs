//! Keeps the replicas that run here equal to those the catalogue places here.
//!
//! The catalogue is the only source: a replica it names is started (created as an empty one where it is new), one it
//! calls retiring is stopped, deleted and reported gone. A replica that the catalogue does not name any more is
//! deleted too: it can only be one whose report of being gone had arrived when this member crashed.

mod rebuild;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kotoba_state::ids::{GroupId, MemberId, PartitionId, ReplicaId};
use kotoba_state::meta::{Catalogue, Command, Founding, Partition, ReplicaRole};
use kotoba_state::partition::PartitionMachine;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use rebuild::report_diverged;

use crate::catalogue::client::MetaClient;
use crate::catalogue::local::LocalCatalogue;
use crate::raft::{Group, Groups};
use crate::transaction::PartitionLeader;

/// After a failed step the whole pass is made again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Partitions that are seen to at once: a start re-applies what is not in the states yet, and has several cores for it.
const AT_ONCE: usize = 4;
/// A replica that is gone is reported again at the next pass if the meta leader did not answer.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// One partition served from here: its Raft replica and what answers its requests where it leads.
#[derive(Clone)]
pub struct LocalPartition {
    pub group: Group,
    pub leader: Arc<PartitionLeader>,
}

/// The partitions of this member, by id.
#[derive(Clone, Default)]
pub struct LocalPartitions {
    running: Arc<RwLock<BTreeMap<PartitionId, LocalPartition>>>,
}

impl LocalPartitions {
    pub fn get(&self, partition: PartitionId) -> Option<LocalPartition> {
        self.read().get(&partition).cloned()
    }

    pub fn all(&self) -> Vec<(PartitionId, LocalPartition)> {
        self.read().iter().map(|(id, local)| (*id, local.clone())).collect()
    }

    pub fn any(&self, is_one: impl Fn(&LocalPartition) -> bool) -> bool {
        self.read().values().any(is_one)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<PartitionId, LocalPartition>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, partition: PartitionId, local: LocalPartition) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        running.insert(partition, local);
    }

    fn remove(&self, partition: PartitionId, replica: ReplicaId) -> Option<LocalPartition> {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let same = running
            .get(&partition)
            .is_some_and(|local| local.group.replica() == replica);
        same.then(|| running.remove(&partition)).flatten()
    }
}

/// Makes the server side of a partition around its replica.
pub type ServePartition = Box<dyn Fn(&Partition, Group) -> Arc<PartitionLeader> + Send + Sync>;

/// The task that follows the catalogue.
pub struct ReplicaKeeper {
    pub me: MemberId,
    pub groups: Groups,
    pub meta: MetaClient,
    pub catalogue: LocalCatalogue,
    pub partitions: LocalPartitions,
    pub serve: ServePartition,
    /// Replicas that were rebuilt, each with the time of the report: the catalogue may say for a moment longer that they
    /// have diverged.
    pub rebuilt: Mutex<BTreeSet<(ReplicaId, u64)>>,
}

impl ReplicaKeeper {
    /// Runs until cancelled; wakes at every change of the catalogue, and after a failed pass.
    pub async fn run(self, cancel: CancellationToken) {
        let mut changes = self.catalogue.watch();
        loop {
            changes.mark_unchanged();
            let complete = self.pass(&self.catalogue.get()).await;
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY_PAUSE), if !complete => {},
            }
        }
    }

    /// One pass over all partitions; says whether everything is as the catalogue wants it.
    pub async fn pass(&self, catalogue: &Catalogue) -> bool {
        let mut complete = self.delete_unknown(catalogue).await;
        let mut partitions = catalogue.partitions.values();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(partition) = partitions.next()
            {
                under_way.push(self.keep(catalogue, partition));
            }
            match under_way.next().await {
                Some(kept) => complete &= kept,
                None => return complete,
            }
        }
    }

    async fn keep(&self, catalogue: &Catalogue, partition: &Partition) -> bool {
        let mut complete = true;
        for (replica, placed) in &partition.replicas {
            if placed.member != self.me {
                continue;
            }
            let diverged = catalogue.diverged.get(replica).filter(|row| row.to_rebuild);
            complete &= match placed.role {
                ReplicaRole::Voter | ReplicaRole::Learner => match diverged {
                    Some(row) => self.rebuild(row, partition, *replica).await,
                    None => self.run_replica(partition, *replica).await,
                },
                ReplicaRole::Retiring => self.retire(partition.id, *replica).await,
            };
        }
        complete
    }

    async fn run_replica(&self, partition: &Partition, replica: ReplicaId) -> bool {
        let group_id = GroupId::Partition(partition.id);
        let running = self.partitions.get(partition.id).map(|local| local.group);
        let group = match running {
            Some(group) if group.replica() == replica => group,
            // An older replica of this partition has to retire first.
            Some(_) => return false,
            None => match self
                .groups
                .start_replica(group_id, replica, Arc::new(PartitionMachine))
                .await
            {
                Ok(group) => self.serve(partition, group),
                Err(error) => {
                    warn!(%replica, partition = %partition.id, error = %error, "the replica cannot be started");
                    if error.is_damage() {
                        report_diverged(&self.meta, partition, replica).await;
                    }
                    return false;
                }
            },
        };
        match partition.founding {
            Founding::By(founder) if founder == replica && !has_membership(&group) => found(partition, &group).await,
            Founding::By(_) | Founding::Founded => true,
        }
    }

    fn serve(&self, partition: &Partition, group: Group) -> Group {
        let local = LocalPartition {
            leader: (self.serve)(partition, group.clone()),
            group: group.clone(),
        };
        self.partitions.insert(partition.id, local);
        group
    }

    fn is_rebuilt(&self, this_time: (ReplicaId, u64)) -> bool {
        let rebuilt = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
        rebuilt.contains(&this_time)
    }

    fn note_rebuilt(&self, this_time: (ReplicaId, u64)) {
        let mut rebuilt = self.rebuilt.lock().unwrap_or_else(PoisonError::into_inner);
        rebuilt.retain(|(replica, _)| *replica != this_time.0);
        rebuilt.insert(this_time);
    }

    async fn retire(&self, partition: PartitionId, replica: ReplicaId) -> bool {
        if let Some(local) = self.partitions.remove(partition, replica) {
            local.leader.stop();
        }
        if let Err(error) = self.groups.retire_replica(GroupId::Partition(partition), replica).await {
            warn!(%replica, %partition, error = %error, "the retiring replica cannot be deleted");
            return false;
        }
        info!(%replica, %partition, "replica retired and deleted");
        self.meta
            .propose(&Command::ForgetReplica { partition, replica }, REPORT_TIMEOUT)
            .await
            .is_ok()
    }

    async fn delete_unknown(&self, catalogue: &Catalogue) -> bool {
        if catalogue.partitions.is_empty() {
            return true;
        }
        let known: BTreeSet<ReplicaId> = catalogue
            .partitions
            .values()
            .flat_map(|partition| partition.replicas.keys().copied())
            .collect();
        let mut complete = true;
        // A local catalogue that lags behind does not know the newest replicas: an id that it has not seen given is left alone.
        let given = |replica: ReplicaId| replica < catalogue.counters.next_replica;
        for (group, replica) in self.groups.stored() {
            if let GroupId::Partition(partition) = group
                && given(replica)
                && !known.contains(&replica)
            {
                self.partitions
                    .remove(partition, replica)
                    .inspect(|local| local.leader.stop());
                complete &= self.groups.retire_replica(group, replica).await.is_ok();
            }
        }
        complete
    }
}

fn has_membership(group: &Group) -> bool {
    group.observe().voters.iter().any(|voters| !voters.is_empty())
}

/// Gives the new partition its first voters, all at once; done before, it does nothing.
async fn found(partition: &Partition, group: &Group) -> bool {
    let voters = partition
        .replicas
        .iter()
        .map(|(replica, placed)| (*replica, placed.member))
        .collect();
    group.initialize(voters).await.is_ok()
}
