//! After the cluster id is latched: take members out that are not wanted, take new ones in one by one, then let the
//! database move partitions to them.
//!
//! A pod that comes back with its disk is the same member and needs nothing from here. A pod that comes back with
//! an empty disk is not taken in silently: its old member still counts in every quorum it was part of.

use std::collections::BTreeMap;

use super::{
    Activity, ClaimStep, JoinStep, Next, Occupant, Places, PodStep, Predicate, Step, candidate, departure, occupant,
    replacement, roll, volumes,
};
use crate::crd::{Health, MemberState, ReclaimPolicy, ReplacementMode};
use crate::names::REPLACE_ANNOTATION;
use crate::observe::{Catalogue, Database, Member, Observed};
use crate::validate::ValidatedCluster;

pub(super) fn next(cluster: &ValidatedCluster, observed: &Observed, cluster_id: &str, slots: u32) -> Next {
    if let Some(conflict) = identity_conflict(cluster, observed, cluster_id) {
        return conflict;
    }
    match &observed.database {
        Database::NotAsked => silent(cluster, observed, "no pod with a member of this cluster answers"),
        Database::Silent(why) => silent(cluster, observed, why),
        Database::Answered(catalogue) if !catalogue.linearizable => Next::wait(
            unfinished(cluster, observed),
            Predicate::NoQuorum,
            "the meta group has no leader that a majority follows; nothing is changed until it has".into(),
        ),
        Database::Answered(catalogue) => {
            let places = Places::of(&cluster.name, observed, catalogue);
            change(cluster, observed, catalogue, &places, slots)
        }
    }
}

/// What is wrong first, then what is asked for. A change that waits for a person does not keep pods from being made anew.
fn change(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
    slots: u32,
) -> Next {
    let change = departure::keep(cluster, observed, catalogue, places)
        .or_else(|| replacement::next(cluster, observed, catalogue, places))
        .or_else(|| departure::next(cluster, observed, catalogue, places, slots))
        .unwrap_or_else(|| grow(cluster, observed, catalogue, places, slots));
    let is_refused = change.waits.as_ref().is_some_and(|wait| wait.predicate.needs_person());
    let roll = || roll::next(cluster, observed, catalogue, places, slots).filter(|roll| roll.step.is_some());
    match is_refused {
        true => roll().unwrap_or(change),
        false => change,
    }
}

/// Two disks that claim to be one member, or a disk of another cluster: no step is safe before a person has looked.
pub(super) fn identity_conflict(cluster: &ValidatedCluster, observed: &Observed, cluster_id: &str) -> Option<Next> {
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for (slot, identity) in observed.identities() {
        let Some(membership) = &identity.membership else {
            continue;
        };
        let pod = cluster.name.pod(slot);
        if membership.cluster_id != cluster_id {
            let message = format!(
                "the disk of pod {pod} belongs to cluster {}, not to {cluster_id}: put the right volume back, or delete \
                 the claim {} and the pod to give the slot an empty disk",
                membership.cluster_id,
                cluster.name.claim(slot)
            );
            return Some(Next::wait(Activity::AtRest, Predicate::ClusterIdMismatch, message));
        }
        if let Some(other) = seen.insert(membership.member_id, slot) {
            let message = format!(
                "pods {} and {pod} both run member {}: one disk is a copy of the other; stop one of them and remove its claim",
                cluster.name.pod(other),
                membership.member_id
            );
            return Some(Next::wait(Activity::AtRest, Predicate::DuplicateMemberId, message));
        }
    }
    None
}

fn silent(cluster: &ValidatedCluster, observed: &Observed, why: &str) -> Next {
    let message = format!("the database does not answer: {why}");
    Next::wait(unfinished(cluster, observed), Predicate::DatabaseSilent, message)
}

/// What was going on, as far as the last status tells, while the database cannot.
fn unfinished(cluster: &ValidatedCluster, observed: &Observed) -> Activity {
    let known = super::known_slots(cluster, observed);
    if known.iter().any(|slot| *slot >= cluster.replicas) {
        Activity::ScalingIn
    } else if u32::try_from(known.len()).is_ok_and(|known| known < cluster.replicas) {
        Activity::ScalingOut
    } else {
        Activity::AtRest
    }
}

/// The wanted slots by who is in them.
#[derive(Default)]
struct Census<'a> {
    empty: Vec<u32>,
    nobody: Vec<String>,
    lost: Vec<(u32, &'a Member)>,
    removed: Vec<(u32, u64)>,
    members: Vec<&'a Member>,
}

fn census<'a>(
    cluster: &ValidatedCluster,
    observed: &'a Observed,
    cluster_id: &str,
    catalogue: &'a Catalogue,
) -> Census<'a> {
    let mut census = Census::default();
    for slot in 0..cluster.replicas {
        match occupant(&cluster.name, cluster_id, observed, catalogue, slot) {
            Occupant::Newcomer(_) | Occupant::Unfinished(..) => census.empty.push(slot),
            Occupant::Nobody(why) => census.nobody.push(format!("{} {why}", cluster.name.pod(slot))),
            Occupant::Lost(member) => census.lost.push((slot, member)),
            Occupant::Member(member) => census.members.push(member),
            Occupant::Removed(member_id) => census.removed.push((slot, member_id)),
            // Foreign disks were refused before; an unlisted member is on its way in, and is left alone.
            Occupant::Unlisted(_) | Occupant::Foreign(_) => {}
        }
    }
    census
}

fn grow(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
    slots: u32,
) -> Next {
    let census = census(cluster, observed, &catalogue.cluster_id, catalogue);
    if let Some(slot) = census.empty.first() {
        return join(cluster, observed, catalogue, *slot, None);
    }
    if let Some((slot, member_id)) = census.removed.first() {
        return removed_disk(cluster, observed, catalogue, places, (*slot, *member_id));
    }
    if !census.nobody.is_empty() {
        let message = format!("waiting for new pods: {}", census.nobody.join("; "));
        return Next::wait(Activity::ScalingOut, Predicate::PodsStarting, message);
    }
    if let Some(member) = catalogue
        .members
        .iter()
        .find(|member| member.state == MemberState::Joining)
    {
        let message = format!("member {} ({}) is joining", member.id, member.name);
        return Next::wait(Activity::ScalingOut, Predicate::MemberJoining, message);
    }
    if let Some(next) = volumes::template(cluster, observed, slots) {
        return next;
    }
    let roll = roll::next(cluster, observed, catalogue, places, slots);
    // A lost volume is what a person has to hear of, not the pods that wait because of it.
    if let Some(next) = roll.filter(|roll| roll.step.is_some() || census.lost.is_empty()) {
        return next;
    }
    if let Some(member) = census
        .members
        .iter()
        .find(|member| member.state == MemberState::Draining && !departure::is_own(observed, member))
    {
        return drained_by_hand(member);
    }
    rebalance(catalogue, &census).unwrap_or_else(|| match census.lost.first() {
        Some((slot, member)) => lost_volume(cluster, observed, *slot, member),
        None => Next::rest(),
    })
}

/// The disk of a member that was removed, in a slot that is wanted again. It can never join: it is emptied by policy,
/// or by a person.
fn removed_disk(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
    (slot, member_id): (u32, u64),
) -> Next {
    let disk = observed.process(slot).identity().map(|identity| &identity.disk_id);
    let is_used = catalogue.members.iter().any(|member| Some(&member.disk_id) == disk);
    // Where a member is at home, whose disk is elsewhere or lost or this very one, a person has to look.
    let policy = match places.at(slot) {
        [] if !is_used => cluster.reclaim.on_scale_in,
        [..] => ReclaimPolicy::Retain,
    };
    let (pod, claim) = (cluster.name.pod(slot), cluster.name.claim(slot));
    let seen = observed.slots.get(&slot);
    let claimed = seen.and_then(|seen| seen.claim.as_ref());
    match (policy, claimed, seen.and_then(|seen| seen.pod.as_ref())) {
        (ReclaimPolicy::Delete, Some(claim), _) if !claim.deleting => {
            Next::step(Activity::ScalingOut, Step::DeleteClaim(ClaimStep::of(slot, claim)))
        }
        // Kubernetes keeps a claim that a pod uses; the pod that is made next gets a new one.
        (_, Some(claim), Some(pod)) if claim.deleting && !pod.deleting => Next::step(
            Activity::ScalingOut,
            Step::DeletePod(PodStep {
                slot,
                uid: pod.uid.clone(),
            }),
        ),
        (ReclaimPolicy::Delete, _, _) => {
            let message = format!("pod {pod} is made anew, with an empty disk");
            Next::wait(Activity::ScalingOut, Predicate::PodsStarting, message)
        }
        (ReclaimPolicy::Retain, _, _) => {
            let message = format!(
                "the disk of pod {pod} is that of member {member_id}, which was removed: nothing can use it any more. \
                 Delete the claim {claim} to give the pod an empty disk, or set spec.storage.reclaim.onScaleIn to Delete"
            );
            Next::wait(Activity::ScalingOut, Predicate::RemovedDisk, message)
        }
    }
}

/// It is the person's drain: to end as they like.
fn drained_by_hand(member: &Member) -> Next {
    let message = format!(
        "member {} ({}) is drained, and not by the operator: cancel the drain to keep the member, or remove it, then its \
         pod gets an empty disk as spec.storage.reclaim says",
        member.id, member.name
    );
    Next::wait(Activity::AtRest, Predicate::DrainedByHand, message)
}

/// One at a time: each join is a change of the meta group, and the next waits until the last one is complete.
pub(super) fn join(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    slot: u32,
    replaces: Option<u64>,
) -> Next {
    let activity = match replaces {
        None => Activity::ScalingOut,
        Some(_) => Activity::Replacing,
    };
    let pod = cluster.name.pod(slot);
    let mut joining = catalogue
        .members
        .iter()
        .filter(|member| member.state == MemberState::Joining);
    if let Some(other) = joining.find(|member| member.name != pod) {
        let message = format!("{pod} joins when member {} ({}) has joined", other.id, other.name);
        return Next::wait(activity, Predicate::MemberJoining, message);
    }
    let Some(candidate) = candidate(cluster, observed, slot) else {
        let message = format!("{pod} has no Kubernetes node that could be read");
        return Next::wait(activity, Predicate::PodsStarting, message);
    };
    let through = catalogue.answered_by;
    Next::step(
        activity,
        Step::Join(JoinStep {
            through,
            slot,
            replaces,
            candidate,
        }),
    )
}

/// The database moves; it is only told to begin, and only when every member can take part.
fn rebalance(catalogue: &Catalogue, census: &Census<'_>) -> Option<Next> {
    let state = &catalogue.rebalance;
    if state.moves_open > 0 {
        let mut message = format!("{} moves are open, {} finished", state.moves_open, state.moves_finished);
        if !state.waiting_for.is_empty() {
            message = format!("{message}; {}", state.waiting_for);
        }
        return Some(Next::wait(Activity::Rebalancing, Predicate::MovesOpen, message));
    }
    if state.balanced || !census.lost.is_empty() {
        return None;
    }
    let fit = |member: &Member| member.state == MemberState::Active && member.health == Health::Alive;
    if let Some(down) = catalogue.members.iter().find(|member| !fit(member)) {
        let message = format!(
            "partitions are not balanced; they are moved when member {} ({}) is active and alive, it is {:?} and {:?}",
            down.id, down.name, down.state, down.health
        );
        return Some(Next::wait(Activity::Rebalancing, Predicate::MembersDown, message));
    }
    let through = catalogue.answered_by;
    Some(Next::step(Activity::Rebalancing, Step::Rebalance { through }))
}

fn lost_volume(cluster: &ValidatedCluster, observed: &Observed, slot: u32, member: &Member) -> Next {
    let (pod, id) = (cluster.name.pod(slot), member.id);
    let otherwise = match cluster.replacement.mode {
        ReplacementMode::Manual => format!(
            "or, if the data is gone, set the annotation {REPLACE_ANNOTATION}: \"{id}\" and the empty disk takes its place"
        ),
        ReplacementMode::Automatic => {
            let after = i64::from(cluster.replacement.after_seconds);
            let lost_for = replacement::lost_for(cluster, observed, slot, member).map_or(0, |lost| lost.as_secs());
            format!("else the empty disk takes its place in {} s", after - lost_for)
        }
    };
    let message = format!(
        "pod {pod} has an empty disk, but member {id} with {} partition copies lived there: put its volume back, {otherwise}",
        member.replicas
    );
    Next::wait(Activity::AtRest, Predicate::LostVolume, message)
}
