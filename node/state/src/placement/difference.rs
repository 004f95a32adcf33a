//! From one placement to another as single replacements, in an order in which every step leaves the partitions well.

use std::collections::BTreeMap;

use super::{Candidate, Placement, Replacement};
use crate::ids::MemberId;

/// What has to change to come from one placement to another, one for one where possible.
///
/// Additions come first, since they repair, then replacements, then drops; within each, every partition has its first turn
/// before any has its second. Members of one zone replace each other, so that no step in between crowds a zone.
/// `members` are all whose zone is known, those that go too.
pub fn rebalance(members: &[Candidate], current: &Placement, wanted: &Placement) -> Vec<Replacement> {
    let zones: Zones = members.iter().map(|member| (member.id, member.zone.as_str())).collect();
    let mut ordered = Vec::new();
    for (partition, after) in &wanted.0 {
        let before = current.0.get(partition).cloned().unwrap_or_default();
        let leaving = before.difference(after).copied().collect();
        let coming = after.difference(&before).copied().collect();
        for (turn, (from, to)) in pairs(leaving, coming, &zones).into_iter().enumerate() {
            let replacement = Replacement {
                partition: *partition,
                from,
                to,
            };
            ordered.push((kind(&replacement), turn, replacement));
        }
    }
    ordered.sort();
    ordered.into_iter().map(|(_, _, replacement)| replacement).collect()
}

type Zones<'a> = BTreeMap<MemberId, &'a str>;
type FromTo = (Option<MemberId>, Option<MemberId>);

fn kind(replacement: &Replacement) -> u8 {
    match (replacement.from, replacement.to) {
        (None, _) => 0,
        (Some(_), Some(_)) => 1,
        (Some(_), None) => 2,
    }
}

fn pairs(mut leaving: Vec<MemberId>, mut coming: Vec<MemberId>, zones: &Zones<'_>) -> Vec<FromTo> {
    let mut pairs = Vec::new();
    leaving.retain(|from| {
        let zone = zones.get(from);
        let twin = coming.iter().position(|to| zone.is_some() && zones.get(to) == zone);
        if let Some(at) = twin {
            pairs.push((Some(*from), Some(coming.remove(at))));
        }
        twin.is_none()
    });
    let rest = leaving.len().max(coming.len());
    pairs.extend((0..rest).map(|at| (leaving.get(at).copied(), coming.get(at).copied())));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PartitionId;

    fn members(zones: &[(u64, &str)]) -> Vec<Candidate> {
        let member = |(id, zone): &(u64, &str)| Candidate {
            id: MemberId(*id),
            zone: (*zone).to_owned(),
        };
        zones.iter().map(member).collect()
    }

    fn placement(sets: &[&[u64]]) -> Placement {
        let sets = sets.iter().map(|set| set.iter().copied().map(MemberId).collect());
        Placement((0..).map(PartitionId).zip(sets).collect())
    }

    fn text(replacements: &[Replacement]) -> String {
        let name = |member: Option<MemberId>| member.map_or("-".to_owned(), |id| id.to_string());
        let line = |one: &Replacement| format!("p{} {}>{}", one.partition, name(one.from), name(one.to));
        replacements.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn additions_come_before_replacements_and_drops_come_last() {
        let current = placement(&[&[1, 2, 3], &[1, 2], &[1, 2, 3]]);
        let wanted = placement(&[&[1, 2], &[1, 2, 3], &[1, 2, 4]]);
        assert_eq!(text(&rebalance(&[], &current, &wanted)), "p1 ->3, p2 3>4, p0 3>-");
    }

    #[test]
    fn members_of_one_zone_replace_each_other() {
        let all = members(&[(1, "a"), (2, "b"), (3, "c"), (4, "b"), (5, "a")]);
        let steps = rebalance(&all, &placement(&[&[1, 2, 3]]), &placement(&[&[3, 4, 5]]));
        assert_eq!(text(&steps), "p0 1>5, p0 2>4");
    }

    #[test]
    fn every_partition_has_its_first_turn_before_any_has_its_second() {
        let (current, wanted) = (placement(&[&[1, 2], &[1, 2]]), placement(&[&[3, 4], &[3, 4]]));
        assert_eq!(
            text(&rebalance(&[], &current, &wanted)),
            "p0 1>3, p1 1>3, p0 2>4, p1 2>4"
        );
    }
}
