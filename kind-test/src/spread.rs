//! Where replicas may be: each partition on distinct members, in as many zones as there can be, and no member overloaded.
//!
//! The expectation is worked out here from the members alone, not by the code that places replicas.

use std::collections::{BTreeMap, BTreeSet};

use kotoba_proto::v1::GetStatusResponse;

use crate::database::status::{active, voters};

/// No member may have more than its fair share times this, in tenths (DESIGN §5: 1.1), rounded up.
const BOUND_TENTHS: usize = 11;

/// What is wrong with the placement: empty if nothing is.
pub fn faults(status: &GetStatusResponse) -> Vec<String> {
    let placement = Placement::of(status);
    let mut faults = placement.partition_faults();
    faults.extend(placement.zone_faults());
    faults.extend(placement.load_faults());
    faults
}

/// Replicas of each member, by id.
pub fn load(status: &GetStatusResponse) -> BTreeMap<u64, usize> {
    Placement::of(status).load()
}

struct Placement {
    zones: BTreeMap<u64, String>,
    replication_factor: usize,
    partitions: Vec<(u32, Vec<u64>)>,
}

impl Placement {
    fn of(status: &GetStatusResponse) -> Self {
        let stats = status.membership.unwrap_or_default();
        let zones: BTreeMap<u64, String> = active(status).map(|member| (member.id, member.zone.clone())).collect();
        Placement {
            replication_factor: (stats.replication_factor as usize).min(zones.len()),
            zones,
            partitions: status
                .partitions
                .iter()
                .map(|partition| (partition.id, voters(partition).collect()))
                .collect(),
        }
    }

    fn partition_faults(&self) -> Vec<String> {
        let wrong = |(id, members): &(u32, Vec<u64>)| {
            let distinct: BTreeSet<&u64> = members.iter().collect();
            let known = members.iter().all(|id| self.zones.contains_key(id));
            let right = distinct.len() == self.replication_factor && members.len() == self.replication_factor && known;
            (!right).then(|| format!("partition {id} is on members {members:?}"))
        };
        self.partitions.iter().filter_map(wrong).collect()
    }

    fn zone_faults(&self) -> Vec<String> {
        let possible = self.zone_count().min(self.replication_factor);
        let wrong = |(id, members): &(u32, Vec<u64>)| {
            let zones: BTreeSet<&String> = members.iter().filter_map(|id| self.zones.get(id)).collect();
            (zones.len() < possible).then(|| format!("partition {id} is in zones {zones:?}; {possible} are possible"))
        };
        self.partitions.iter().filter_map(wrong).collect()
    }

    fn load_faults(&self) -> Vec<String> {
        self.load()
            .into_iter()
            .filter_map(|(member, replicas)| {
                let most = self.bound(member);
                (replicas == 0 || replicas > most)
                    .then(|| format!("member {member} has {replicas} replicas; 1 to {most} are right"))
            })
            .collect()
    }

    fn load(&self) -> BTreeMap<u64, usize> {
        let mut load: BTreeMap<u64, usize> = self.zones.keys().map(|id| (*id, 0)).collect();
        for member in self.partitions.iter().flat_map(|(_, members)| members) {
            *load.entry(*member).or_default() += 1;
        }
        load
    }

    fn zone_count(&self) -> usize {
        self.zones.values().collect::<BTreeSet<_>>().len()
    }

    /// The most replicas a member may hold. Zones go before load: with as many zones as replicas, each zone holds every
    /// partition once, so a member shares that with its zone alone (the only member of a zone holds a replica of
    /// everything). Otherwise all members share everything.
    fn bound(&self, member: u64) -> usize {
        let partitions = self.partitions.len();
        if self.zone_count() != self.replication_factor {
            let replicas = partitions * self.replication_factor;
            return fair(replicas, self.zones.len());
        }
        let zone = self.zones.get(&member);
        let beside = self.zones.values().filter(|other| Some(*other) == zone);
        fair(partitions, beside.count())
    }
}

fn fair(replicas: usize, members: usize) -> usize {
    (replicas * BOUND_TENTHS).div_ceil(members.max(1) * 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::status::examples::cluster;

    const NONE: Vec<String> = Vec::new();

    #[test]
    fn one_replica_in_each_of_three_zones_is_right() {
        let status = cluster(&["a", "b", "c"], &[&[1, 2, 3], &[3, 1, 2]]);
        assert_eq!(faults(&status), NONE);
    }

    #[test]
    fn two_replicas_on_one_member_are_a_fault() {
        let status = cluster(&["a", "b", "c"], &[&[1, 1, 3]]);
        assert!(faults(&status)[0].contains("partition 0 is on members [1, 1, 3]"));
    }

    #[test]
    fn a_replica_on_a_member_that_is_not_active_is_a_fault() {
        let status = cluster(&["a", "b", "c"], &[&[1, 2, 9]]);
        assert!(faults(&status)[0].contains("partition 0 is on members [1, 2, 9]"));
    }

    /// Five members in three zones: the only member of its zone has everything, the others share.
    #[test]
    fn the_only_member_of_a_zone_holds_a_replica_of_everything() {
        let zones = ["a", "b", "c", "a", "b"];
        let right = cluster(&zones, &[&[1, 2, 3], &[4, 5, 3]]);
        assert_eq!(faults(&right), NONE);
        assert_eq!(load(&right)[&3], 2);
        let crowded = cluster(&zones, &[&[1, 2, 3], &[4, 5, 1]]);
        assert!(faults(&crowded)[0].contains("3 are possible"));
    }

    #[test]
    fn a_member_without_replicas_and_one_with_all_of_its_zone_are_faults() {
        let same: &[u64] = &[1, 2, 3];
        let status = cluster(&["a", "b", "c", "a"], &[same, same, same, same]);
        let faults = faults(&status);
        assert_eq!(faults[0], "member 1 has 4 replicas; 1 to 3 are right");
        assert_eq!(faults[1], "member 4 has 0 replicas; 1 to 3 are right");
    }

    #[test]
    fn without_zones_all_members_share_everything() {
        let right = cluster(&["", "", "", ""], &[&[1, 2, 3], &[2, 3, 4], &[3, 4, 1], &[4, 1, 2]]);
        assert_eq!(faults(&right), NONE);
        let one: &[u64] = &[1, 2, 3];
        let other: &[u64] = &[1, 3, 4];
        let wrong = cluster(&["", "", "", ""], &[one, other, one, other, one, other, one, other]);
        assert_eq!(faults(&wrong)[0], "member 1 has 8 replicas; 1 to 7 are right");
    }
}
