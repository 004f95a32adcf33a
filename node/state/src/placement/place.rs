//! From members and what is there to what shall be: the problem is written down, solved, and read back.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::{self, Problem};
use super::{Candidate, Placement, Ring, shares};
use crate::ids::{MemberId, PartitionId};

/// Places `replication_factor` replicas of each partition, or as many as there are members.
///
/// The rules, each of which yields to those before it:
/// 1. A partition has no more replicas in a zone than it must.
/// 2. No member is above eleven tenths of the fair load or below nine tenths of it, as far as zones allow.
/// 3. As few replicas as possible move.
/// 4. Loads are even.
/// 5. A partition is on the members that follow it clockwise on the ring.
///
/// Frozen by test vectors: every replica of the catalogue computes it for itself, so members of different versions
/// must come to the same answer. Another rule needs another feature level.
pub fn place(
    candidates: &[Candidate],
    previous: &Placement,
    replication_factor: usize,
    partition_count: u32,
) -> Placement {
    let members: BTreeMap<MemberId, &str> = candidates
        .iter()
        .map(|candidate| (candidate.id, candidate.zone.as_str()))
        .collect();
    let partitions: Vec<PartitionId> = (0..partition_count).map(PartitionId).collect();
    let problem = problem(&members, &partitions, previous, replication_factor.min(members.len()));
    let ids: Vec<MemberId> = members.into_keys().collect();
    let of_positions = |chosen: BTreeSet<usize>| chosen.into_iter().map(|at| ids[at]).collect();
    let chosen = assignment::solve(&problem).into_iter().map(of_positions);
    Placement(partitions.into_iter().zip(chosen).collect())
}

fn problem(
    members: &BTreeMap<MemberId, &str>,
    partitions: &[PartitionId],
    previous: &Placement,
    replicas_each: usize,
) -> Problem {
    let mut inside: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, zone) in members.values().enumerate() {
        inside.entry(zone).or_default().push(at);
    }
    let sizes = inside.iter().map(|(zone, inside)| (*zone, inside.len())).collect();
    let windows = shares::windows(&sizes, replicas_each, partitions.len());
    let zones: Vec<&str> = inside.keys().copied().collect();
    let position = |zone: &str| zones.binary_search(&zone).expect("the zone of a member");
    Problem {
        replicas_each,
        zone: members.values().map(|zone| position(zone)).collect(),
        window: members.values().map(|zone| windows[*zone]).collect(),
        held: partitions
            .iter()
            .map(|partition| held(members, previous, *partition))
            .collect(),
        rank: ranks(members, partitions),
        inside: inside.into_values().collect(),
    }
}

fn held(members: &BTreeMap<MemberId, &str>, previous: &Placement, partition: PartitionId) -> Vec<bool> {
    let before = previous.0.get(&partition);
    members
        .keys()
        .map(|member| before.is_some_and(|before| before.contains(member)))
        .collect()
}

fn ranks(members: &BTreeMap<MemberId, &str>, partitions: &[PartitionId]) -> Vec<Vec<usize>> {
    let ring = Ring::new(members.keys().copied());
    let of_partition = |partition: &PartitionId| {
        let order = ring.clockwise_from_partition(*partition).take(members.len());
        let place: BTreeMap<MemberId, usize> = order.enumerate().map(|(rank, member)| (member, rank)).collect();
        // A member whose every point coincides with another's is nowhere on the ring: it comes last.
        members
            .keys()
            .map(|member| place.get(member).copied().unwrap_or(members.len()))
            .collect()
    };
    partitions.iter().map(of_partition).collect()
}
