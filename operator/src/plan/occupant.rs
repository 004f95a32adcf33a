//! Who is in a slot: what the process says of its disk, held against what the database says of its members.
//!
//! A slot is only a place. The disk decides which member is there; the pod's name says nothing about it once
//! the disk has an identity.

use crate::names::ClusterName;
use crate::observe::{Catalogue, Identity, Member, Observed, Process};

/// Who is in a slot.
#[derive(Clone, Debug, PartialEq)]
pub enum Occupant<'a> {
    /// No process has answered, and no member is known here; why, in words.
    Nobody(String),
    /// A process with an empty disk that nobody expects.
    Newcomer(&'a Identity),
    /// The database took this disk in, but its process does not know yet.
    Unfinished(&'a Identity, &'a Member),
    /// A process with an empty disk, where the database knows a member with data.
    Lost(&'a Member),
    Member(&'a Member),
    /// Its disk is that of a member that was removed: it can do nothing any more.
    Removed(u64),
    /// Says it is a member of this cluster; the database does not list it.
    Unlisted(u64),
    /// Its disk belongs to another cluster.
    Foreign(&'a str),
}

/// Finds who is in a slot.
pub fn occupant<'a>(
    name: &ClusterName,
    cluster_id: &str,
    observed: &'a Observed,
    catalogue: &'a Catalogue,
    slot: u32,
) -> Occupant<'a> {
    // The newest of that name: one that has lost its disk may have been followed.
    let by_name = || {
        let mut members = catalogue.members.iter().rev();
        members.find(|member| name.slot_of(&member.name) == Some(slot))
    };
    match observed.process(slot) {
        Process::NoPod => by_name().map_or_else(|| Occupant::Nobody("has no pod yet".into()), Occupant::Member),
        Process::Silent(why) => by_name().map_or_else(|| Occupant::Nobody(why.clone()), Occupant::Member),
        Process::Answered(identity) => match &identity.membership {
            None => empty_disk(identity, catalogue, by_name()),
            Some(membership) if membership.cluster_id != cluster_id => Occupant::Foreign(&membership.cluster_id),
            Some(membership) if catalogue.was_removed(membership.member_id) => Occupant::Removed(membership.member_id),
            Some(membership) => catalogue
                .member(membership.member_id)
                .map_or(Occupant::Unlisted(membership.member_id), Occupant::Member),
        },
    }
}

fn empty_disk<'a>(identity: &'a Identity, catalogue: &'a Catalogue, named: Option<&'a Member>) -> Occupant<'a> {
    let mut members = catalogue.members.iter();
    if let Some(member) = members.find(|member| member.disk_id == identity.disk_id) {
        return Occupant::Unfinished(identity, member);
    }
    named.map_or(Occupant::Newcomer(identity), Occupant::Lost)
}
