//! Replicas whose state is not that of their group: when one may be stopped to be rebuilt, and when it counts again.
//!
//! A diverged replica keeps its number, its vote and its log, which its group has agreed on; only the state, which follows
//! from the log, is given up for the leader's. So nothing that was acknowledged has one copy less.

use serde::{Deserialize, Serialize};

use super::apply::Refusal;
use super::catalogue::{Catalogue, ReplicaRole};
use super::command::Answer;
use crate::ids::{PartitionId, ReplicaId};

/// How a replica was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// What it stores is not what its own digest says: its disk gave back something else than was written.
    Scrub,
    /// A majority of its group has another digest at the same index of the log.
    Comparison,
}

/// A replica that was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverged {
    pub partition: PartitionId,
    pub evidence: Evidence,
    /// Milliseconds since the epoch.
    pub since_ms: u64,
    /// It is stopped and rebuilt. False where a majority of sound voters is missing: then there is nobody to rebuild it from,
    /// and stopping it would only end the service.
    pub to_rebuild: bool,
}

impl Catalogue {
    pub(super) fn report_diverged(
        &mut self,
        partition: PartitionId,
        replica: ReplicaId,
        evidence: Evidence,
        since_ms: u64,
    ) -> Result<Answer, Refusal> {
        let replicas = &self.partition_mut(partition)?.replicas;
        let is_placed = replicas
            .get(&replica)
            .is_some_and(|placed| placed.role != ReplicaRole::Retiring);
        if is_placed {
            self.diverged.entry(replica).or_insert(Diverged {
                partition,
                evidence,
                since_ms,
                to_rebuild: false,
            });
            self.choose_to_rebuild(partition);
        }
        Ok(Answer::Done)
    }

    pub(super) fn report_rebuilt(&mut self, partition: PartitionId, replica: ReplicaId) -> Result<Answer, Refusal> {
        match self.diverged.get(&replica) {
            Some(row) if row.partition != partition => {
                Err(format!("replica {replica} is one of partition {}", row.partition))
            }
            Some(_) => {
                self.diverged.remove(&replica);
                self.choose_to_rebuild(partition);
                Ok(Answer::Done)
            }
            None => Ok(Answer::Done),
        }
    }

    /// All diverged replicas of a partition where its sound voters are a majority; what was begun goes on in any case.
    fn choose_to_rebuild(&mut self, id: PartitionId) {
        let Some(partition) = self.partitions.get(&id) else {
            return;
        };
        let voters = partition
            .replicas
            .iter()
            .filter(|(_, placed)| placed.role == ReplicaRole::Voter);
        let (unsound, sound): (Vec<_>, Vec<_>) = voters.partition(|(id, _)| self.diverged.contains_key(id));
        if sound.len() > unsound.len() {
            let rows = self.diverged.values_mut().filter(|row| row.partition == id);
            rows.for_each(|row| row.to_rebuild = true);
        }
    }

    /// Drops the rows of replicas that are not placed any more.
    pub(super) fn forget_diverged(&mut self) {
        let partitions = &self.partitions;
        self.diverged.retain(|id, row| {
            let placed = partitions
                .get(&row.partition)
                .and_then(|partition| partition.replicas.get(id));
            placed.is_some_and(|placed| placed.role != ReplicaRole::Retiring)
        });
    }
}
