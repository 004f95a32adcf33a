//! Scale-in: the member in the highest slot is drained, proved empty, removed; its pod stops; its disk is reclaimed.
//! Then the next.
//!
//! Where each of them is follows from observation alone: a member that drains, one that is drained, one that is
//! removed, a pod in a slot that nobody needs, a claim without a pod. So an edit back, at any of these, is simply
//! another plan. Before the drain everything that speaks against it is told, and nothing is touched.

use std::collections::BTreeSet;

use super::{Activity, ClaimStep, MemberStep, Next, Occupant, Places, Predicate, Step, occupant};
use crate::crd::{Health, MemberState, ReclaimPolicy, WhenUnsatisfiable};
use crate::observe::{Catalogue, Claim, Member, Observed};
use crate::validate::ValidatedCluster;

/// What the scale-in wants next; none where nothing is left to be taken out.
pub(super) fn next(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
    slots: u32,
) -> Option<Next> {
    pods_stopping(cluster, observed, slots)
        .or_else(|| reclaim(cluster, observed, catalogue, places, slots))
        .or_else(|| {
            let (slot, member) = places.surplus(cluster.replicas).into_iter().next()?;
            let refusal = || why_not(cluster, catalogue, places, member);
            Some(take_out(
                Activity::ScalingIn,
                cluster,
                catalogue,
                (slot, member),
                refusal,
            ))
        })
        .or_else(|| unlisted(cluster, observed, slots))
}

/// A slot that is only kept because its disk says that it is a member, which the database does not know.
fn unlisted(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Option<Next> {
    let mut held = (cluster.replicas..slots).rev();
    let (slot, member_id) = held.find_map(|slot| {
        let membership = observed.process(slot).identity()?.membership.as_ref()?;
        Some((slot, membership.member_id))
    })?;
    let message = format!(
        "the disk of pod {} says it is member {member_id}, which the database does not list. Nothing is removed: if that \
         disk is of no use, delete its claim {} and the pod",
        cluster.name.pod(slot),
        cluster.name.claim(slot)
    );
    Some(Next::wait(Activity::ScalingIn, Predicate::ScaleInRefused, message))
}

/// Drain, wait, remove: the way out of one member, from wherever it is on it.
pub(super) fn take_out(
    activity: Activity,
    cluster: &ValidatedCluster,
    catalogue: &Catalogue,
    (slot, member): (u32, &Member),
    refusal: impl FnOnce() -> Option<(Predicate, String)>,
) -> Next {
    let step = MemberStep {
        through: catalogue.answered_by,
        slot,
        member_id: member.id,
    };
    match member.state {
        MemberState::Draining if member.drained => Next::step(activity, Step::Remove(step)),
        MemberState::Draining => Next::wait(activity, Predicate::Draining, draining(cluster, slot, member)),
        MemberState::Joining
        | MemberState::Active
        | MemberState::Pending
        | MemberState::Unassigned
        | MemberState::Removed
        | MemberState::Lost
        | MemberState::Foreign
        | MemberState::Unknown => match refusal() {
            Some((predicate, message)) => Next::wait(activity, predicate, message),
            None => Next::step(activity, Step::Drain(step)),
        },
    }
}

fn draining(cluster: &ValidatedCluster, slot: u32, member: &Member) -> String {
    let why = match member.waiting_for.is_empty() {
        true => "the database has yet to prove it empty".to_owned(),
        false => member.waiting_for.clone(),
    };
    format!("member {} ({}) is drained: {why}", member.id, cluster.name.pod(slot))
}

/// A drain of the operator's own that is not wanted any more. One that a person asked for is the person's to cancel.
pub(super) fn keep(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
) -> Option<Next> {
    // One that has lost its disk, or was followed in its slot, cannot come back.
    let may_stay = |slot: u32| {
        let is_lost = matches!(
            occupant(&cluster.name, &catalogue.cluster_id, observed, catalogue, slot),
            Occupant::Lost(_)
        );
        places.at(slot).len() == 1 && !is_lost
    };
    let (slot, member) = places
        .staying(cluster.replicas)
        .find(|(slot, member)| member.state == MemberState::Draining && is_own(observed, member) && may_stay(*slot))?;
    let step = MemberStep {
        through: catalogue.answered_by,
        slot,
        member_id: member.id,
    };
    Some(Next::step(Activity::ScalingIn, Step::CancelDrain(step)))
}

/// The operator noted, before it began, that it takes this member out.
pub(super) fn is_own(observed: &Observed, member: &Member) -> bool {
    let mut noted = observed.recorded.leaving.iter();
    noted.any(|id| u64::try_from(*id) == Ok(member.id))
}

/// Why a drain would be wrong, told before anything is touched.
fn why_not(
    cluster: &ValidatedCluster,
    catalogue: &Catalogue,
    places: &Places<'_>,
    member: &Member,
) -> Option<(Predicate, String)> {
    too_few(cluster, catalogue, places)
        .or_else(|| too_full(places, cluster))
        .or_else(|| too_little_room(places, cluster))
        .or_else(|| too_few_zones(cluster, catalogue, places, member))
        .map(|message| (Predicate::ScaleInRefused, message))
        .or_else(|| joining(catalogue, member))
}

fn too_few(cluster: &ValidatedCluster, catalogue: &Catalogue, places: &Places<'_>) -> Option<String> {
    let (wanted, copies) = (cluster.replicas, catalogue.replication_factor);
    if wanted < copies {
        return Some(format!(
            "spec.replicas is {wanted}, and {copies} copies of each partition need {copies} members. Nothing is removed: \
             set spec.replicas to {copies} or more"
        ));
    }
    let failed: Vec<String> = places
        .staying(wanted)
        .filter(|(_, member)| member.health == Health::Failed)
        .map(|(_, member)| format!("{} ({})", member.id, member.name))
        .collect();
    let well = places.staying(wanted).count() - failed.len();
    (u32::try_from(well).is_ok_and(|well| well < copies)).then(|| {
        format!(
            "of the members that would stay {} answer, and {copies} copies of each partition need {copies}; failed: {}. \
             Nothing is removed: bring them back first",
            well,
            failed.join(", ")
        )
    })
}

fn too_full(places: &Places<'_>, cluster: &ValidatedCluster) -> Option<String> {
    let full: Vec<String> = places
        .staying(cluster.replicas)
        .filter(|(_, member)| member.disk_full)
        .map(|(slot, _)| cluster.name.pod(slot))
        .collect();
    (!full.is_empty()).then(|| {
        format!(
            "the disks of {} take no more data, and would have to take that of the members that leave. Nothing is \
             removed: raise spec.storage.size first, or set spec.replicas back",
            full.join(", ")
        )
    })
}

/// Each member that stays takes its share of what those that leave hold.
fn too_little_room(places: &Places<'_>, cluster: &ValidatedCluster) -> Option<String> {
    let leaving = places.surplus(cluster.replicas).into_iter();
    let leaving_bytes: u64 = leaving.map(|(_, member)| member.data_bytes).sum();
    let staying = u64::try_from(places.staying(cluster.replicas).count()).ok()?;
    let share = leaving_bytes.checked_div(staying)?;
    let short: Vec<String> = places
        .staying(cluster.replicas)
        .filter(|(_, member)| (1..share).contains(&member.room_bytes))
        .map(|(slot, member)| format!("{} has room for {}", cluster.name.pod(slot), gib(member.room_bytes)))
        .collect();
    (!short.is_empty()).then(|| {
        format!(
            "the members that leave hold {}, some {} for each that stays, and {}. Nothing is removed: raise \
             spec.storage.size first, or set spec.replicas back",
            gib(leaving_bytes),
            gib(share),
            short.join(", ")
        )
    })
}

fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// Where zones are a rule and not a wish, fewer of them than copies are not accepted.
fn too_few_zones(
    cluster: &ValidatedCluster,
    catalogue: &Catalogue,
    places: &Places<'_>,
    member: &Member,
) -> Option<String> {
    match cluster.topology.when_unsatisfiable {
        WhenUnsatisfiable::ScheduleAnyway => return None,
        WhenUnsatisfiable::DoNotSchedule => {}
    }
    let zones = |members: &mut dyn Iterator<Item = &Member>| -> usize {
        let zones: BTreeSet<&str> = members.map(|member| member.zone.as_str()).collect();
        zones.len().min(catalogue.replication_factor as usize)
    };
    let now = zones(&mut catalogue.members.iter());
    let then = zones(&mut places.staying(cluster.replicas).map(|(_, member)| member));
    (then < now).then(|| {
        format!(
            "without member {} ({}) and others the copies would be in {then} zones, they are in {now}, and \
             spec.topology.whenUnsatisfiable is DoNotSchedule. Nothing is removed: set spec.replicas back, or move the \
             members that stay to other zones",
            member.id, member.name
        )
    })
}

fn joining(catalogue: &Catalogue, member: &Member) -> Option<(Predicate, String)> {
    let mut joining = catalogue
        .members
        .iter()
        .filter(|other| other.state == MemberState::Joining);
    let other = joining.find(|other| other.id != member.id)?;
    let message = format!("member {} ({}) is joining", other.id, other.name);
    Some((Predicate::MemberJoining, message))
}

/// Pods in slots that nobody needs any more. The StatefulSet stops them; they are never stopped by force.
fn pods_stopping(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Option<Next> {
    let (slot, pod) = observed
        .slots
        .range(slots..)
        .rev()
        .find_map(|(slot, seen)| Some((*slot, seen.pod.as_ref()?)))?;
    let name = cluster.name.pod(slot);
    let message = match &pod.trouble {
        Some(trouble) if pod.deleting => format!("pod {name} stops: {trouble}"),
        Some(_) | None => format!("pod {name} stops: nothing of the database is left on it"),
    };
    Some(Next::wait(Activity::ScalingIn, Predicate::PodsStopping, message))
}

/// The claim of a slot whose pod is gone, whose member was removed, or never was one, where the policy says so.
fn reclaim(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
    slots: u32,
) -> Option<Next> {
    match cluster.reclaim.on_scale_in {
        ReclaimPolicy::Retain => return None,
        ReclaimPolicy::Delete => {}
    }
    let set = observed.stateful_set.as_ref()?;
    // A StatefulSet whose controller has not seen the smaller number may make the pod again.
    if set.replicas > slots || !set.seen {
        return None;
    }
    let mut unneeded = observed.slots.range(slots..).rev();
    unneeded.find_map(|(slot, seen)| {
        let claim = seen.claim.as_ref()?;
        let useless = is_useless(claim, catalogue) || never_held_a_member(claim, observed, catalogue);
        let free = seen.pod.is_none() && places.at(*slot).is_empty() && useless;
        free.then(|| Next::step(Activity::ScalingIn, Step::DeleteClaim(ClaimStep::of(*slot, claim))))
    })
}

/// Its disk is noted, and is that of a removed member, or one that never was a member's.
fn is_useless(claim: &Claim, catalogue: &Catalogue) -> bool {
    let Some(noted) = claim.disk.as_ref().filter(|_| !claim.deleting) else {
        return false;
    };
    let is_current = catalogue.members.iter().any(|member| member.disk_id == noted.disk_id);
    let was_member = catalogue.removed.iter().any(|member| member.disk_id == noted.disk_id);
    !is_current && (was_member || noted.member_id.is_none())
}

/// Nobody has seen its disk, which began empty: its pod was stopped before it could be asked. A disk becomes a member's only
/// behind a note of it; and should somebody have taken this one in by hand, it is the one of a member that is seen nowhere else.
fn never_held_a_member(claim: &Claim, observed: &Observed, catalogue: &Catalogue) -> bool {
    let mut seen: BTreeSet<&str> = observed
        .identities()
        .map(|(_, identity)| identity.disk_id.as_str())
        .collect();
    let noted = observed
        .slots
        .values()
        .filter_map(|slot| slot.claim.as_ref()?.disk.as_ref());
    seen.extend(noted.map(|noted| noted.disk_id.as_str()));
    let is_seen = |disk: &str| seen.contains(disk);
    let all_seen = catalogue.members.iter().all(|member| is_seen(&member.disk_id));
    claim.disk.is_none() && claim.began_empty && !claim.deleting && all_seen
}
