//! The board on which a placement is worked out: keep, fill, even out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Candidate, Placement, Ring};
use crate::ids::{MemberId, PartitionId};

pub(super) struct Board {
    zones: BTreeMap<MemberId, String>,
    ring: Ring,
    replicas_each: usize,
    placed: BTreeMap<PartitionId, BTreeSet<MemberId>>,
    load: BTreeMap<MemberId, usize>,
}

impl Board {
    pub fn new(candidates: &[Candidate], replication_factor: usize, partition_count: u32) -> Self {
        let zones: BTreeMap<_, _> =
            candidates.iter().map(|candidate| (candidate.id, candidate.zone.clone())).collect();
        let replicas_each = replication_factor.min(zones.len());
        Board {
            ring: Ring::new(zones.keys().copied()),
            placed: (0..partition_count).map(|number| (PartitionId(number), BTreeSet::new())).collect(),
            load: zones.keys().map(|member| (*member, 0)).collect(),
            replicas_each,
            zones,
        }
    }

    /// Takes over the replicas of members that are still there, as far as zones and number allow.
    pub fn keep(&mut self, previous: &Placement) {
        let partitions: Vec<_> = self.placed.keys().copied().collect();
        for partition in partitions {
            let members = previous.0.get(&partition).into_iter().flatten();
            let known: Vec<_> = members.filter(|member| self.zones.contains_key(member)).copied().collect();
            // Again and again, because a zone may take its second replica only after the others have their first.
            while let Some(member) = self.next_kept(partition, &known) {
                self.add(partition, member);
            }
        }
    }

    fn next_kept(&self, partition: PartitionId, known: &[MemberId]) -> Option<MemberId> {
        let room = self.count(partition) < self.replicas_each;
        known.iter().copied().find(|member| room && self.fits(partition, *member, None))
    }

    /// Gives every partition its missing replicas, on the least loaded members that fit, in ring order.
    pub fn fill(&mut self) {
        let partitions: Vec<_> = self.placed.keys().copied().collect();
        for partition in partitions {
            while self.count(partition) < self.replicas_each {
                let order = self.ring.clockwise_from_partition(partition).enumerate();
                let next = order
                    .filter(|(_, member)| self.fits(partition, *member, None))
                    .min_by_key(|(rank, member)| (self.load[member], *rank))
                    .map(|(_, member)| member);
                let Some(member) = next else { break };
                self.add(partition, member);
            }
        }
    }

    /// Moves single replicas from fuller to emptier members until none would make two loads more equal.
    ///
    /// Ends because each move lowers the sum of squared loads.
    pub fn even_out(&mut self) {
        while let Some((partition, from, to)) = self.best_move() {
            self.remove(partition, from);
            self.add(partition, to);
        }
    }

    pub fn into_placement(self) -> Placement {
        Placement(self.placed)
    }

    /// The move between the most unequal two members; of those the one the ring likes best.
    fn best_move(&self) -> Option<(PartitionId, MemberId, MemberId)> {
        let mut pairs: Vec<(usize, MemberId, MemberId)> = Vec::new();
        for (from, full) in &self.load {
            for (to, empty) in &self.load {
                if *full >= empty + 2 {
                    pairs.push((full - empty, *from, *to));
                }
            }
        }
        pairs.sort_by_key(|(difference, from, to)| (std::cmp::Reverse(*difference), *from, *to));
        pairs.into_iter().find_map(|(_, from, to)| {
            let partition = self.partition_to_move(from, to)?;
            Some((partition, from, to))
        })
    }

    fn partition_to_move(&self, from: MemberId, to: MemberId) -> Option<PartitionId> {
        self.placed
            .iter()
            .filter(|(partition, members)| members.contains(&from) && self.fits(**partition, to, Some(from)))
            .map(|(partition, _)| *partition)
            .min_by_key(|partition| (self.rank(*partition, to), *partition))
    }

    fn rank(&self, partition: PartitionId, member: MemberId) -> Option<usize> {
        self.ring.clockwise_from_partition(partition).position(|other| other == member)
    }

    /// Whether a member may take a replica, maybe in the place of another: only in a zone that has the fewest of this
    /// partition among the zones with a member to spare.
    fn fits(&self, partition: PartitionId, member: MemberId, instead_of: Option<MemberId>) -> bool {
        let members = &self.placed[&partition];
        if members.contains(&member) {
            return false;
        }
        let stays = |other: &MemberId| members.contains(other) && Some(*other) != instead_of;
        let in_zone = |zone: &str| self.zones.iter().filter(|(other, of)| *of == zone && stays(other)).count();
        let spare = self.zones.iter().filter(|(other, _)| !stays(other)).map(|(_, zone)| zone);
        let fewest = spare.map(|zone| in_zone(zone)).min();
        fewest == Some(in_zone(&self.zones[&member]))
    }

    fn count(&self, partition: PartitionId) -> usize {
        self.placed[&partition].len()
    }

    fn add(&mut self, partition: PartitionId, member: MemberId) {
        if self.placed.entry(partition).or_default().insert(member) {
            *self.load.entry(member).or_default() += 1;
        }
    }

    fn remove(&mut self, partition: PartitionId, member: MemberId) {
        if self.placed.entry(partition).or_default().remove(&member) {
            *self.load.entry(member).or_default() -= 1;
        }
    }
}
