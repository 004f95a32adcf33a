//! Which replicas have diverged, by the digests that all of a group noted at the same index of its log.

use std::collections::BTreeMap;

use super::Action;
use crate::ids::{PartitionId, ReplicaId};
use crate::meta::catalogue::{Catalogue, Partition, ReplicaRole};
use crate::meta::command::Command;
use crate::meta::diverged::Evidence;
use crate::partition::NotedDigest;

/// What each replica that answered noted last.
pub type NotedDigests = BTreeMap<PartitionId, BTreeMap<ReplicaId, NotedDigest>>;

/// Reports replicas that a majority of their group contradicts; one of a partition at a time.
pub fn report_diverged(catalogue: &Catalogue, noted: &NotedDigests, now_ms: u64) -> Vec<Action> {
    let found = noted.iter().filter_map(|(id, noted)| {
        let partition = catalogue.partitions.get(id)?;
        let replica = diverged(partition, noted)?;
        (!catalogue.diverged.contains_key(&replica)).then_some(Command::ReportDiverged {
            partition: *id,
            replica,
            evidence: Evidence::Comparison,
            now_ms,
        })
    });
    found.map(Action::Propose).collect()
}

/// A replica whose digest differs from the one that more than half of all voters have at the same index.
fn diverged(partition: &Partition, noted: &BTreeMap<ReplicaId, NotedDigest>) -> Option<ReplicaId> {
    let role = |replica: &ReplicaId| partition.replicas.get(replica).map(|placed| placed.role);
    let voters = partition
        .replicas
        .values()
        .filter(|placed| placed.role == ReplicaRole::Voter)
        .count();
    let mut votes: BTreeMap<NotedDigest, usize> = BTreeMap::new();
    for (_, digest) in noted
        .iter()
        .filter(|(replica, _)| role(replica) == Some(ReplicaRole::Voter))
    {
        *votes.entry(*digest).or_default() += 1;
    }
    let (truth, _) = votes.into_iter().find(|(_, count)| *count > voters / 2)?;
    let contradicts = |replica: &ReplicaId, digest: &NotedDigest| {
        let is_placed = matches!(role(replica), Some(ReplicaRole::Voter | ReplicaRole::Learner));
        is_placed && digest.index == truth.index && digest.digest != truth.digest
    };
    noted
        .iter()
        .find(|(replica, digest)| contradicts(replica, digest))
        .map(|(replica, _)| *replica)
}
