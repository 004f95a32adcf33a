//! Pods that are made from an older recipe are made anew, or given other CPU and memory where they run, one at a time,
//! those that are broken first.
//!
//! The StatefulSet does not do it (`OnDelete`), because it cannot see whether the database can spare a pod. Here a pod
//! that serves is stopped only when every other pod is ready and has been for a while, every other member answers, and
//! every partition has a leader and all its copies. So an image that does not start stops the roll at the first pod; and
//! editing it back heals that pod at once, because one that is broken is spared by nobody.

use super::{Activity, Drift, Next, Places, PodStep, Predicate, ResizeStep, Step, drift};
use crate::crd::{Health, MemberState};
use crate::observe::{Catalogue, Database, Observed, Pod, Process};
use crate::validate::ValidatedCluster;

/// Seconds that a pod has to start in, where nobody serves, before it is stopped for a newer recipe.
const PATIENCE_S: i32 = 60;

/// An outdated pod that does nothing for the database; it may go at once, whatever else is going on.
pub(super) fn broken(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Option<Next> {
    let nobody_serves = observed
        .slots
        .values()
        .all(|seen| seen.pod.as_ref().is_none_or(|pod| !pod.ready))
        && match &observed.database {
            Database::NotAsked | Database::Silent(_) => true,
            Database::Answered(_) => false,
        };
    // A process that runs may only be slow: it has its time, and so has each that was started before the next is stopped.
    let patience = i64::from(cluster.update.min_ready_seconds.max(PATIENCE_S));
    let mut pods = observed.slots.values().filter_map(|seen| seen.pod.as_ref());
    let had_time = pods.all(|pod| {
        let age = pod.created.map(|created| observed.now.duration_since(created));
        !pod.running || age.is_some_and(|age| age.as_secs() >= patience)
    });
    // Whose disks these are is for a person to say first.
    if observed
        .identities()
        .any(|(_, identity)| identity.is_foreign_to(&cluster.uid))
    {
        return None;
    }
    let mut pods = outdated(cluster, observed, slots).into_iter();
    let (slot, pod, _) = pods.find(|(slot, pod, _)| {
        let is_silent = match observed.process(*slot) {
            Process::NoPod | Process::Silent(_) => true,
            Process::Answered(_) => false,
        };
        !pod.ready && is_silent && (!pod.running || (nobody_serves && had_time))
    })?;
    Some(stop(slot, &pod.uid))
}

/// The next outdated pod, or why it waits; none where all are made from the present template.
pub(super) fn next(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
    slots: u32,
) -> Option<Next> {
    if let Some(next) = resizing(cluster, observed, slots) {
        return Some(next);
    }
    let outdated = outdated(cluster, observed, slots);
    let leads = |slot: u32| {
        let mut here = places.at(slot).iter();
        here.any(|member| catalogue.leader_member_id == Some(member.id))
    };
    // The highest first, as the StatefulSet would; the leader of the meta group last, so that it moves once.
    let (slot, pod, drift) = outdated
        .into_iter()
        .min_by_key(|(slot, pod, _)| (pod.ready, leads(*slot), u32::MAX - slot))?;
    Some(match why_not(cluster, observed, catalogue, places, slots, slot) {
        Some((predicate, message)) => Next::wait(Activity::Rolling, predicate, message),
        None => renew(observed, slot, &pod.uid, &drift),
    })
}

fn stop(slot: u32, uid: &str) -> Next {
    let uid = uid.to_owned();
    Next::step(Activity::Rolling, Step::DeletePod(PodStep { slot, uid }))
}

fn renew(observed: &Observed, slot: u32, uid: &str, drift: &Drift) -> Next {
    let recipe = observed.stateful_set.as_ref().and_then(|set| set.present_recipe());
    match (drift, recipe) {
        (Drift::Compute, Some(recipe)) => {
            let (uid, compute) = (uid.to_owned(), recipe.compute.clone());
            Next::step(Activity::Rolling, Step::ResizePod(ResizeStep { slot, uid, compute }))
        }
        (Drift::Compute | Drift::Template | Drift::Fits | Drift::Resizing(_), _) => stop(slot, uid),
    }
}

/// A pod that was given other CPU and memory, which it does not have yet. The next one waits: what cannot be had may be
/// the same for all.
fn resizing(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Option<Next> {
    let mut pods = (0..slots).rev().filter(|_| !cluster.update.paused);
    let (slot, told) = pods.find_map(|slot| match drift(observed, slot)? {
        Drift::Resizing(told) => Some((slot, told)),
        Drift::Fits | Drift::Compute | Drift::Template => None,
    })?;
    let message = format!(
        "{} is given other CPU and memory where it runs, and Kubernetes has yet to do it: {told}. If there is no room, make \
         room on its Kubernetes node, set spec.resources back, or delete the pod, and another node may take it",
        cluster.name.pod(slot)
    );
    Some(Next::wait(Activity::Rolling, Predicate::ResizePending, message))
}

/// Pods that are not as they would be made now, and how they differ; none until the controller has seen the last change.
fn outdated<'a>(cluster: &ValidatedCluster, observed: &'a Observed, slots: u32) -> Vec<(u32, &'a Pod, Drift)> {
    if cluster.update.paused {
        return Vec::new();
    }
    let pods = (0..slots).rev();
    let pods = pods.filter_map(|slot| Some((slot, observed.pod(slot)?, drift(observed, slot)?)));
    pods.filter(|(_, _, drift)| match drift {
        Drift::Compute | Drift::Template => true,
        Drift::Fits | Drift::Resizing(_) => false,
    })
    .collect()
}

fn why_not(
    cluster: &ValidatedCluster,
    observed: &Observed,
    catalogue: &Catalogue,
    places: &Places<'_>,
    slots: u32,
    slot: u32,
) -> Option<(Predicate, String)> {
    let pod = cluster.name.pod(slot);
    let how = match drift(observed, slot) {
        Some(Drift::Compute) => "gets other CPU and memory",
        Some(Drift::Fits | Drift::Resizing(_) | Drift::Template) | None => "is made anew",
    };
    let waits = |predicate, why: String| Some((predicate, format!("{pod} {how} when {why}")));
    if let Some(other) = (0..slots).find(|other| *other != slot && !is_ready(observed, *other)) {
        let trouble = observed.pod(other).and_then(|pod| pod.trouble.clone());
        let trouble = trouble.map_or(String::new(), |trouble| format!(" ({trouble})"));
        let other = cluster.name.pod(other);
        return waits(Predicate::PodNotReady, format!("{other} is ready{trouble}"));
    }
    let here = places.at(slot);
    let others = || {
        catalogue
            .members
            .iter()
            .filter(|member| !here.iter().any(|own| own.id == member.id))
    };
    if let Some(down) = others().find(|member| member.health != Health::Alive) {
        return waits(
            Predicate::MembersDown,
            format!("member {} ({}) answers", down.id, down.name),
        );
    }
    if let Some(joining) = others().find(|member| member.state == MemberState::Joining) {
        return waits(Predicate::MemberJoining, format!("member {} has joined", joining.id));
    }
    if catalogue.rebalance.moves_open > 0 {
        let open = catalogue.rebalance.moves_open;
        return waits(Predicate::MovesOpen, format!("the {open} open moves have ended"));
    }
    let serves = is_ready(observed, slot);
    if serves && (catalogue.leaderless > 0 || catalogue.under_replicated > 0) {
        let why = format!(
            "every partition has a leader and all its copies in step: {} have no leader, {} lack a copy",
            catalogue.leaderless, catalogue.under_replicated
        );
        return waits(Predicate::NotInSync, why);
    }
    min_ready(cluster, observed, slots, slot).and_then(|why| waits(Predicate::MinReadySeconds, why))
}

fn is_ready(observed: &Observed, slot: u32) -> bool {
    observed.pod(slot).is_some_and(|pod| pod.ready)
}

/// A pod that has only just become ready may yet show that its version is no good.
fn min_ready(cluster: &ValidatedCluster, observed: &Observed, slots: u32, slot: u32) -> Option<String> {
    let others = (0..slots).filter(|other| *other != slot);
    let (last, since) = others
        .filter_map(|other| Some((other, observed.pod(other)?.ready_since?)))
        .max_by_key(|(_, since)| *since)?;
    let wanted = i64::from(cluster.update.min_ready_seconds);
    let ready_for = observed.now.duration_since(since).as_secs();
    (ready_for < wanted).then(|| format!("{} has been ready for {wanted} s", cluster.name.pod(last)))
}
