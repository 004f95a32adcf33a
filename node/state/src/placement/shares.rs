//! What load is fair for each member: all the same, as far as the zones allow it.
//!
//! Zones come before load, so a small zone may have to hold more than its part, and the members of the others less.

use std::collections::BTreeMap;

/// A load between these two is left alone: evening it out would cost moves and gain little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Nine tenths of the fair load, rounded down.
    pub least: usize,
    /// Eleven tenths of the fair load, rounded up; of the mean load where zones do not force more.
    pub most: usize,
}

/// The window of each zone's members, from the number of members of each zone.
pub(super) fn windows(
    sizes: &BTreeMap<&str, usize>,
    replicas_each: usize,
    partitions: usize,
) -> BTreeMap<String, Window> {
    let members: usize = sizes.values().sum();
    let most_by_mean = (partitions * replicas_each * 11).div_ceil(members.max(1) * 10);
    zone_totals(sizes, replicas_each, partitions)
        .into_iter()
        .map(|(zone, total)| {
            let size = sizes[zone];
            let most_by_share = (total * 11).div_ceil(size * 10);
            let window = Window {
                least: total * 9 / (size * 10),
                most: most_by_share.min(most_by_mean).max(total.div_ceil(size)),
            };
            (zone.to_owned(), window)
        })
        .collect()
}

/// Replicas that each zone holds in all when every partition is spread as evenly as can be, and then loads are.
fn zone_totals<'a>(
    sizes: &BTreeMap<&'a str, usize>,
    replicas_each: usize,
    partitions: usize,
) -> BTreeMap<&'a str, usize> {
    let level = (1..)
        .find(|level| capped_sum(sizes, *level) >= replicas_each)
        .expect("no more replicas than members");
    let mut totals: BTreeMap<&str, usize> = sizes
        .iter()
        .map(|(zone, size)| (*zone, partitions * (level - 1).min(*size)))
        .collect();
    let left = partitions * (replicas_each - capped_sum(sizes, level - 1));
    for _ in 0..left {
        let next = totals
            .iter()
            .filter(|(zone, total)| **total < partitions * level.min(sizes[*zone]))
            // Compares fractions without dividing.
            .min_by(|(one, a), (other, b)| ((**a + 1) * sizes[*other]).cmp(&((**b + 1) * sizes[*one])))
            .map(|(zone, _)| *zone)
            .expect("the level has room for all replicas");
        *totals.entry(next).or_default() += 1;
    }
    totals
}

fn capped_sum(sizes: &BTreeMap<&str, usize>, level: usize) -> usize {
    sizes.values().map(|size| level.min(*size)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(sizes: &[(&'static str, usize)], replicas_each: usize, partitions: usize) -> Vec<(usize, usize)> {
        let sizes = sizes.iter().copied().collect();
        windows(&sizes, replicas_each, partitions)
            .values()
            .map(|window| (window.least, window.most))
            .collect()
    }

    #[test]
    fn equal_zones_share_equally() {
        assert_eq!(
            bounds(&[("a", 2), ("b", 2), ("c", 2)], 3, 20),
            [(9, 11), (9, 11), (9, 11)]
        );
    }

    #[test]
    fn the_only_member_of_a_zone_holds_all_and_the_others_less() {
        assert_eq!(
            bounds(&[("a", 2), ("b", 2), ("c", 1)], 3, 16),
            [(7, 9), (7, 9), (14, 16)]
        );
    }

    #[test]
    fn with_fewer_zones_than_replicas_every_zone_has_its_part_of_each_partition() {
        assert_eq!(bounds(&[("a", 1), ("b", 4)], 3, 20), [(18, 20), (9, 11)]);
    }
}
