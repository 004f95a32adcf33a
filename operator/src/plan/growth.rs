//! After the cluster id is latched: take new members in one by one, then let the database move partitions to them.
//!
//! A pod that comes back with its disk is the same member and needs nothing from here. A pod that comes back with
//! an empty disk is not taken in silently: its old member still counts in every quorum it was part of.

use std::collections::BTreeMap;

use super::{Activity, JoinStep, Next, Occupant, Predicate, Step, candidate, occupant};
use crate::crd::{Health, MemberState};
use crate::observe::{Catalogue, Database, Member, Observed};
use crate::validate::ValidatedCluster;

pub(super) fn next(cluster: &ValidatedCluster, observed: &Observed, cluster_id: &str, slots: u32) -> Next {
    if let Some(conflict) = identity_conflict(cluster, observed, cluster_id) {
        return conflict;
    }
    if cluster.replicas < slots {
        return scale_in_refused(cluster, slots);
    }
    match &observed.database {
        Database::NotAsked => silent(cluster, observed, "no pod with a member of this cluster answers"),
        Database::Silent(why) => silent(cluster, observed, why),
        Database::Answered(catalogue) if !catalogue.linearizable => Next::wait(
            unfinished_growth(cluster, observed),
            Predicate::NoQuorum,
            "the meta group has no leader that a majority follows; nothing is changed until it has".into(),
        ),
        Database::Answered(catalogue) => grow(cluster, observed, cluster_id, catalogue),
    }
}

/// Two disks that claim to be one member, or a disk of another cluster: no step is safe before a person has looked.
fn identity_conflict(cluster: &ValidatedCluster, observed: &Observed, cluster_id: &str) -> Option<Next> {
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

fn scale_in_refused(cluster: &ValidatedCluster, slots: u32) -> Next {
    let message = format!(
        "spec.replicas is {} and the cluster has {slots} slots; this version cannot remove members. Nothing is removed: \
         set spec.replicas back to {slots}",
        cluster.replicas
    );
    Next::wait(Activity::ScaleInRefused, Predicate::ScaleInRefused, message)
}

fn silent(cluster: &ValidatedCluster, observed: &Observed, why: &str) -> Next {
    let message = format!("the database does not answer: {why}");
    Next::wait(unfinished_growth(cluster, observed), Predicate::DatabaseSilent, message)
}

/// What was going on, as far as the last status tells, while the database cannot.
fn unfinished_growth(cluster: &ValidatedCluster, observed: &Observed) -> Activity {
    let in_members = observed.recorded.members.iter();
    let joined = in_members.filter(|member| member.member_id.is_some()).count();
    if u32::try_from(joined).is_ok_and(|joined| joined < cluster.replicas) {
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
            // Foreign disks were refused before; an unlisted member is on its way out or in, and is left alone.
            Occupant::Unlisted(_) | Occupant::Foreign(_) => {}
        }
    }
    census
}

fn grow(cluster: &ValidatedCluster, observed: &Observed, cluster_id: &str, catalogue: &Catalogue) -> Next {
    let census = census(cluster, observed, cluster_id, catalogue);
    if let Some(slot) = census.empty.first() {
        return join(cluster, observed, catalogue, *slot);
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
    rebalance(catalogue, &census).unwrap_or_else(|| match census.lost.first() {
        Some((slot, member)) => lost_volume(cluster, *slot, member),
        None => Next::rest(),
    })
}

/// One at a time: each join is a change of the meta group, and the next waits until the last one is complete.
fn join(cluster: &ValidatedCluster, observed: &Observed, catalogue: &Catalogue, slot: u32) -> Next {
    let pod = cluster.name.pod(slot);
    let mut joining = catalogue
        .members
        .iter()
        .filter(|member| member.state == MemberState::Joining);
    if let Some(other) = joining.find(|member| member.name != pod) {
        let message = format!("{pod} joins when member {} ({}) has joined", other.id, other.name);
        return Next::wait(Activity::ScalingOut, Predicate::MemberJoining, message);
    }
    let Some(candidate) = candidate(cluster, observed, slot) else {
        let message = format!("{pod} has no Kubernetes node that could be read");
        return Next::wait(Activity::ScalingOut, Predicate::PodsStarting, message);
    };
    let through = catalogue.answered_by;
    Next::step(
        Activity::ScalingOut,
        Step::Join(JoinStep {
            through,
            slot,
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
    let fit = |member: &&Member| member.state == MemberState::Active && member.health == Health::Alive;
    if let Some(down) = census.members.iter().copied().find(|member| !fit(member)) {
        let message = format!(
            "partitions are not balanced; they are moved when member {} ({}) is active and alive, it is {:?} and {:?}",
            down.id, down.name, down.state, down.health
        );
        return Some(Next::wait(Activity::Rebalancing, Predicate::MembersDown, message));
    }
    let through = catalogue.answered_by;
    Some(Next::step(Activity::Rebalancing, Step::Rebalance { through }))
}

fn lost_volume(cluster: &ValidatedCluster, slot: u32, member: &Member) -> Next {
    let message = format!(
        "pod {} has an empty disk, but member {} with {} partition copies lived there: put its volume back, or, if the \
         data is gone, have the database remove member {} and the empty disk will be taken in as a new one",
        cluster.name.pod(slot),
        member.id,
        member.replicas,
        member.id
    );
    Next::wait(Activity::AtRest, Predicate::LostVolume, message)
}
