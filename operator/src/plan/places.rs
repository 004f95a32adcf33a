//! Where the members of the database are: each in the slot whose process has its disk, else in the slot it is named after.

use std::collections::BTreeMap;

use crate::names::ClusterName;
use crate::observe::{Catalogue, Member, Observed};

/// The members that are not removed, by slot. More than one in a slot: the first has lost its disk, and was followed.
pub struct Places<'a>(BTreeMap<u32, Vec<&'a Member>>);

impl<'a> Places<'a> {
    pub fn of(name: &ClusterName, observed: &Observed, catalogue: &'a Catalogue) -> Self {
        let mut places: BTreeMap<u32, Vec<&Member>> = BTreeMap::new();
        for member in &catalogue.members {
            let place = seen_in(observed, &catalogue.cluster_id, member).or_else(|| name.slot_of(&member.name));
            if let Some(slot) = place {
                places.entry(slot).or_default().push(member);
            }
        }
        Places(places)
    }

    pub fn at(&self, slot: u32) -> &[&'a Member] {
        self.0.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Slots that are needed for every member to have its own.
    pub fn slots(&self) -> u32 {
        self.0.keys().next_back().map_or(0, |slot| slot + 1)
    }

    /// Members in slots that are not wanted, those that go first in front: the highest slot, and in it who has failed.
    pub fn surplus(&self, wanted: u32) -> Vec<(u32, &'a Member)> {
        let above = self.0.range(wanted..).rev();
        above
            .flat_map(|(slot, members)| members.iter().map(move |member| (*slot, *member)))
            .collect()
    }

    /// Members in wanted slots.
    pub fn staying(&self, wanted: u32) -> impl Iterator<Item = (u32, &'a Member)> {
        self.0
            .range(..wanted)
            .flat_map(|(slot, members)| members.iter().map(move |member| (*slot, *member)))
    }
}

/// The slot whose process says it is this member.
pub fn seen_in(observed: &Observed, cluster_id: &str, member: &Member) -> Option<u32> {
    let is_it = |identity: &crate::observe::Identity| {
        let membership = identity.membership.as_ref();
        membership.is_some_and(|seen| seen.cluster_id == cluster_id && seen.member_id == member.id)
    };
    observed
        .identities()
        .find_map(|(slot, identity)| is_it(identity).then_some(slot))
}
