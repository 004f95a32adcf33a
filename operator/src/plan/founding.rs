//! Before the cluster id is latched: found the database once, and only where no disk has ever belonged to one.
//!
//! The database is never left to found itself: a seed that decides by "my disk is empty" founds a second
//! cluster when its volume is lost (openraft#1535, bitnami/charts#901).

use super::{Activity, BootstrapStep, Candidate, Next, Predicate, Step, candidate};
use crate::observe::{Observed, Process};
use crate::validate::ValidatedCluster;

/// The pod that is asked. Any would do; a fixed one makes a repeated call reach the same process.
const SEED_SLOT: u32 = 0;

pub(super) fn next(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Next {
    if let Some(wait) = foreign_data(cluster, observed) {
        return wait;
    }
    if observed
        .identities()
        .any(|(_, identity)| identity.belongs_to(&cluster.uid))
    {
        return Next {
            activity: Activity::Bootstrapping,
            step: None,
            waits: None,
            latch: Some(cluster.uid.clone()),
        };
    }
    match first_members(cluster, observed, slots) {
        Ok(members) => found(cluster, observed, members),
        Err(missing) => Next::wait(
            Activity::Bootstrapping,
            Predicate::PodsStarting,
            format!(
                "the database is founded when all {slots} pods answer: {}",
                missing.join("; ")
            ),
        ),
    }
}

/// A disk that was in use before this cluster was founded, by whoever.
fn foreign_data(cluster: &ValidatedCluster, observed: &Observed) -> Option<Next> {
    let founding_began = observed
        .recorded
        .bootstrap
        .as_ref()
        .is_some_and(|record| record.cluster_id == cluster.uid);
    let (slot, owner) = observed.identities().find_map(|(slot, identity)| {
        let membership = identity.membership.as_ref()?;
        let expected = founding_began && membership.cluster_id == cluster.uid;
        (!expected).then_some((slot, &membership.cluster_id))
    })?;
    let pod = cluster.name.pod(slot);
    let message = if *owner == cluster.uid {
        format!(
            "the disk of pod {pod} says that this cluster was founded, but its status has no record of it: restore \
             status.bootstrap, or delete this cluster and its volume claims to start empty"
        )
    } else {
        format!(
            "the disk of pod {pod} already holds a member of cluster {owner}: to use that data, restore the \
             KotobaCluster it belongs to; to start empty, delete this cluster and its volume claims, or make it under \
             another name"
        )
    };
    Some(Next::wait(Activity::Bootstrapping, Predicate::ForeignData, message))
}

/// Every slot as a first member, so that the first membership already has its full voter set; or who is missing.
fn first_members(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Result<Vec<Candidate>, Vec<String>> {
    let mut members = Vec::new();
    let mut missing = Vec::new();
    for slot in 0..slots {
        match candidate(cluster, observed, slot) {
            Some(member) => members.push(member),
            None => missing.push(format!("{} {}", cluster.name.pod(slot), why_missing(observed, slot))),
        }
    }
    if missing.is_empty() { Ok(members) } else { Err(missing) }
}

fn why_missing(observed: &Observed, slot: u32) -> &str {
    match observed.process(slot) {
        Process::NoPod => "has no pod yet",
        Process::Silent(why) => why,
        Process::Answered(_) => "has no Kubernetes node that could be read",
    }
}

fn found(cluster: &ValidatedCluster, observed: &Observed, members: Vec<Candidate>) -> Next {
    let seed_pod_uid = observed
        .pod(SEED_SLOT)
        .map(|pod| pod.uid.clone())
        .expect("every slot is a candidate, and a candidate has a pod");
    let recorded = observed
        .recorded
        .bootstrap
        .as_ref()
        .is_some_and(|record| record.seed_pod_uid == seed_pod_uid && record.cluster_id == cluster.uid);
    let step = BootstrapStep {
        cluster_id: cluster.uid.clone(),
        seed_slot: SEED_SLOT,
        seed_pod_uid,
        recorded,
        members,
        replication_factor: cluster.replication_factor,
        partition_count: cluster.partition_count,
    };
    Next::step(Activity::Bootstrapping, Step::Bootstrap(step))
}
