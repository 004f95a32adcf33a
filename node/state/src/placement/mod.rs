//! Which member holds which replica: a pure function of the members and of what was before.
//!
//! Laws, each a property test: zones are spread first; then no load is above ceil(mean * 1.1) as far as zones allow; the
//! same input gives the same answer; placing twice changes nothing; a member that comes takes its share and no more; one
//! that goes moves only what it held and what the bound then asks for.

mod assignment;
mod cost;
mod difference;
mod place;
mod ring;
mod shares;
mod slots;
mod stats;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::{BTreeMap, BTreeSet};

pub use difference::rebalance;
pub use place::place;
pub use ring::{Ring, VIRTUAL_NODES};
pub use slots::{SLOTS, partition_of_slot, slots_of};
pub use stats::DistributionStats;

use crate::ids::{MemberId, PartitionId};

/// Members that one placement is made for. Placing is part of applying a command, so it must not take long: with 100
/// members and 256 partitions it takes a tenth of a second, at all three limits some seconds.
pub const MAX_MEMBERS: usize = 256;
/// Partitions of one cluster: each is a Raft group, with a heartbeat and a file on each of its members.
pub const MAX_PARTITIONS: u32 = 1024;
/// Seven replicas survive three losses; more would only make every write slower.
pub const MAX_REPLICATION_FACTOR: u32 = 7;

/// A member that may hold replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: MemberId,
    /// Members of one zone may fail together; an empty name is a zone like any other.
    pub zone: String,
}

/// The members of each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement(pub BTreeMap<PartitionId, BTreeSet<MemberId>>);

/// One change of one partition: a replica is replaced, added (`from` is none) or dropped (`to` is none).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replacement {
    pub partition: PartitionId,
    pub from: Option<MemberId>,
    pub to: Option<MemberId>,
}

/// The members of a key: the first `count` distinct ones clockwise on the ring.
pub fn get_nodes_for_key(ring: &Ring, key: &[u8], count: usize) -> Vec<MemberId> {
    ring.clockwise_from_key(key).take(count).collect()
}

/// Whether a member is among the `count` members of a key.
pub fn is_node_responsible(ring: &Ring, member: MemberId, key: &[u8], count: usize) -> bool {
    get_nodes_for_key(ring, key, count).contains(&member)
}

/// How evenly a placement loads the members.
pub fn get_distribution_stats(candidates: &[Candidate], placement: &Placement) -> DistributionStats {
    DistributionStats::new(candidates, placement)
}

/// Picks the voters of the meta group: `count` members, spread over zones, those that are voters already first.
pub fn choose_voters(candidates: &[Candidate], current: &BTreeSet<MemberId>, count: usize) -> BTreeSet<MemberId> {
    let mut chosen: BTreeSet<MemberId> = BTreeSet::new();
    let mut per_zone: BTreeMap<&str, usize> = BTreeMap::new();
    while chosen.len() < count.min(candidates.len()) {
        let next = candidates
            .iter()
            .filter(|candidate| !chosen.contains(&candidate.id))
            .min_by_key(|candidate| {
                let in_zone = per_zone.get(candidate.zone.as_str()).copied().unwrap_or(0);
                (in_zone, !current.contains(&candidate.id), candidate.id)
            });
        let Some(next) = next else { break };
        chosen.insert(next.id);
        *per_zone.entry(next.zone.as_str()).or_default() += 1;
    }
    chosen
}
