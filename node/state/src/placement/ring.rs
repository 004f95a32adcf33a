//! The consistent-hash ring: every member stands at 100 points, a key belongs to the members that follow it clockwise.
//!
//! The hash decides where data lives, so it never changes: blake3 over the inputs written here, held by test vectors.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{MemberId, PartitionId};

/// Points of each member on the ring.
pub const VIRTUAL_NODES: u32 = 100;

/// Members around a circle of 2^64 points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    points: BTreeMap<u64, MemberId>,
}

impl Ring {
    /// A ring of these members; where two points collide, the smaller id stands there.
    pub fn new(members: impl IntoIterator<Item = MemberId>) -> Self {
        let mut points = BTreeMap::new();
        for member in members {
            for number in 0..VIRTUAL_NODES {
                let holder = points.entry(point_of_member(member, number)).or_insert(member);
                *holder = member.min(*holder);
            }
        }
        Ring { points }
    }

    /// Each member once, in the order in which they follow a key.
    pub fn clockwise_from_key(&self, key: &[u8]) -> impl Iterator<Item = MemberId> + '_ {
        self.clockwise(point_of_key(key))
    }

    /// Each member once, in the order in which they follow a partition.
    pub fn clockwise_from_partition(&self, partition: PartitionId) -> impl Iterator<Item = MemberId> + '_ {
        self.clockwise(point_of_partition(partition))
    }

    fn clockwise(&self, from: u64) -> impl Iterator<Item = MemberId> + '_ {
        let mut seen = BTreeSet::new();
        self.points
            .range(from..)
            .chain(self.points.range(..from))
            .map(|(_, member)| *member)
            .filter(move |member| seen.insert(*member))
    }
}

fn point_of_member(member: MemberId, number: u32) -> u64 {
    hash(
        b"kotoba ring 1 member",
        &[&member.0.to_be_bytes(), &number.to_be_bytes()],
    )
}

fn point_of_key(key: &[u8]) -> u64 {
    hash(b"kotoba ring 1 key", &[key])
}

fn point_of_partition(partition: PartitionId) -> u64 {
    hash(b"kotoba ring 1 partition", &[&partition.0.to_be_bytes()])
}

/// The first eight bytes, big endian, of blake3 over the domain and the parts.
fn hash(domain: &[u8], parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain);
    for part in parts {
        hasher.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen: another value here means that every key of every cluster lives elsewhere.
    #[test]
    fn the_hash_is_frozen() {
        assert_eq!(point_of_member(MemberId(1), 0), 18201424385937095550);
        assert_eq!(point_of_member(MemberId(7), 99), 4091493712235471601);
        assert_eq!(point_of_key(b"kotoba"), 5842511704443006008);
        assert_eq!(point_of_partition(PartitionId(15)), 13147138936803500910);
    }

    #[test]
    fn every_member_follows_a_key_once() {
        let ring = Ring::new((1..=5).map(MemberId));
        let order: Vec<_> = ring.clockwise_from_key(b"key").collect();
        assert_eq!(order.len(), 5);
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 5);
    }

    #[test]
    fn a_member_that_comes_takes_keys_only_for_itself() {
        let before = Ring::new((1..=4).map(MemberId));
        let after = Ring::new((1..=5).map(MemberId));
        for key in 0u32..1_000 {
            let key = key.to_be_bytes();
            let (old, new) = (
                before.clockwise_from_key(&key).next(),
                after.clockwise_from_key(&key).next(),
            );
            assert!(old == new || new == Some(MemberId(5)));
        }
    }
}
