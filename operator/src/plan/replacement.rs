//! A member whose disk is lost: another takes its slot, and then it is drained and removed like any member that leaves.
//!
//! In this order, because with as many members as copies nobody could take the copies of the lost one before the other
//! is there. The database moves each copy in one joint change. Begun only when a person or the policy says so, one at a
//! time, and only while everyone else answers: a second failure is mostly not a second lost disk.

use k8s_openapi::jiff::SignedDuration;

use super::{Activity, Next, Occupant, Places, Predicate, departure, growth, occupant, seen_in};
use crate::crd::{Health, MemberState, ReplacementMode};
use crate::names::REPLACE_ANNOTATION;
use crate::observe::{Catalogue, Member, Observed};
use crate::validate::ValidatedCluster;

/// What the first replacement that is asked for wants next; none where none is.
pub(super) fn next(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
) -> Option<Next> {
    let mut followed = (0..cluster.replicas).filter_map(|slot| followed(observed, catalogue, places, slot));
    if let Some((slot, old, successor)) = followed.next() {
        return Some(take_old_out(cluster, observed, catalogue, (slot, old, successor)));
    }
    let lost = (0..cluster.replicas).filter_map(|slot| Some((slot, lost(cluster, observed, catalogue, slot)?)));
    let mut asked = lost.filter(|(slot, member)| is_asked_for(cluster, observed, *slot, member));
    let (slot, member) = asked.next()?;
    Some(take_successor_in(cluster, observed, catalogue, slot, member))
}

/// A member that has failed, whose slot has the disk of another.
fn followed<'a>(
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'a>,
    slot: u32,
) -> Option<(u32, &'a Member, &'a Member)> {
    let here = places.at(slot);
    let is_seen = |member: &Member| seen_in(observed, &catalogue.cluster_id, member).is_some();
    let old = here
        .iter()
        .find(|member| member.health == Health::Failed && !is_seen(member))?;
    let successor = here.iter().find(|member| member.id > old.id)?;
    Some((slot, *old, *successor))
}

fn lost<'a>(
    cluster: &ValidatedCluster,
    observed: &'a Observed,
    catalogue: &'a Catalogue,
    slot: u32,
) -> Option<&'a Member> {
    match occupant(&cluster.name, &catalogue.cluster_id, observed, catalogue, slot) {
        Occupant::Lost(member) => Some(member),
        Occupant::Nobody(_)
        | Occupant::Newcomer(_)
        | Occupant::Unfinished(..)
        | Occupant::Member(_)
        | Occupant::Removed(_)
        | Occupant::Unlisted(_)
        | Occupant::Foreign(_) => None,
    }
}

/// By annotation, by a drain, by an earlier step of ours, or because it has been lost for long enough.
fn is_asked_for(cluster: &ValidatedCluster, observed: &Observed, slot: u32, member: &Member) -> bool {
    let begun = departure::is_own(observed, member);
    let by_policy = match cluster.replacement.mode {
        ReplacementMode::Manual => false,
        ReplacementMode::Automatic => lost_for(cluster, observed, slot, member)
            .is_some_and(|lost| lost.as_secs() >= i64::from(cluster.replacement.after_seconds)),
    };
    cluster.replace.contains(&member.id) || member.state == MemberState::Draining || begun || by_policy
}

/// For how long the slot has shown this member as lost; none if it did not at the last look.
pub(super) fn lost_for(
    cluster: &ValidatedCluster,
    observed: &Observed,
    slot: u32,
    member: &Member,
) -> Option<SignedDuration> {
    let pod = cluster.name.pod(slot);
    let mut recorded = observed.recorded.members.iter();
    let before = recorded.find(|before| {
        let same = before.member_id.and_then(|id| u64::try_from(id).ok()) == Some(member.id);
        before.slot == pod && same && before.state == MemberState::Lost
    })?;
    Some(observed.now.duration_since(before.since.as_ref()?.0))
}

fn take_successor_in(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    slot: u32,
    member: &Member,
) -> Next {
    if member.health != Health::Failed {
        let message = format!(
            "pod {} has an empty disk; it follows member {} when the database counts that as failed",
            cluster.name.pod(slot),
            member.id
        );
        return Next::wait(Activity::Replacing, Predicate::MembersDown, message);
    }
    match unsafe_without(catalogue, member) {
        Some(message) => Next::wait(Activity::Replacing, Predicate::ReplacementUnsafe, message),
        None => growth::join(cluster, observed, catalogue, slot, Some(member.id)),
    }
}

fn take_old_out(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    (slot, old, successor): (u32, &Member, &Member),
) -> Next {
    if successor.state == MemberState::Joining {
        let message = format!("member {} joins in place of member {}", successor.id, old.id);
        return Next::wait(Activity::Replacing, Predicate::MemberJoining, message);
    }
    if !is_asked_for(cluster, observed, slot, old) {
        let message = format!(
            "member {} of pod {} has failed, and member {} has its slot: put its disk back, or, if its data is gone, set \
             the annotation {REPLACE_ANNOTATION}: \"{}\"",
            old.id,
            cluster.name.pod(slot),
            successor.id,
            old.id
        );
        return Next::wait(Activity::Replacing, Predicate::LostVolume, message);
    }
    let refusal = || Some((Predicate::ReplacementUnsafe, unsafe_without(catalogue, old)?));
    departure::take_out(Activity::Replacing, cluster, catalogue, (slot, old), refusal)
}

/// Everyone else has to answer, and every partition to have a leader.
fn unsafe_without(catalogue: &Catalogue, member: &Member) -> Option<String> {
    let others = catalogue.members.iter().filter(|other| other.id != member.id);
    let silent: Vec<String> = others
        .filter(|other| other.health != Health::Alive)
        .map(|other| format!("{} ({})", other.id, other.name))
        .collect();
    if !silent.is_empty() {
        let silent = silent.join(", ");
        return Some(format!(
            "member {} is not replaced while others do not answer: {silent}. Bring them back first",
            member.id
        ));
    }
    (catalogue.leaderless > 0).then(|| {
        format!(
            "member {} is not replaced while {} partitions have no leader",
            member.id, catalogue.leaderless
        )
    })
}
