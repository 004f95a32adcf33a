//! What to do next: pure, and the only place where it is decided. A plan is data with no choices left in it.
//!
//! It is made from observation alone, never from what an earlier plan wanted, so an edit at any moment simply gives
//! another plan. It holds at most one step that changes the database, and says why it waits.

mod founding;
mod growth;
mod occupant;
mod wait;

use std::time::Duration;

use crate::observe::Observed;
use crate::validate::ValidatedCluster;
pub use occupant::{Occupant, occupant};
pub use wait::{Predicate, Wait};

/// After a step its effect is looked for at once, so that ten members join in seconds and not in minutes.
const RECHECK_AFTER_STEP: Duration = Duration::from_secs(1);
/// While something moves. The database is asked; nothing tells the operator of a finished move.
const RECHECK_WHILE_MOVING: Duration = Duration::from_secs(5);
/// At rest. Bounds how old the status can be; watches bring what Kubernetes knows sooner.
const RECHECK_AT_REST: Duration = Duration::from_secs(30);

/// The next pass, spelled out.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Replicas of the StatefulSet.
    ///
    /// Invariant: never below what the StatefulSet has or a known member needs. Only a drained slot may go,
    /// and draining is not in this version.
    pub slots: u32,
    /// Of the disruption budget; none: no budget.
    pub min_available: Option<u32>,
    /// The Kubernetes objects are left as they are, because some of them belong to somebody else.
    pub hold_objects: bool,
    pub activity: Activity,
    pub step: Option<Step>,
    pub waits: Option<Wait>,
    /// The cluster id that is proved now and shall be written for good.
    pub latch: Option<String>,
    pub recheck_after: Duration,
}

/// What the operator is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    AtRest,
    Bootstrapping,
    ScalingOut,
    Rebalancing,
    ScaleInRefused,
}

/// The one thing of a pass that changes the database.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Bootstrap(BootstrapStep),
    Join(JoinStep),
    /// Through the member in this slot.
    Rebalance {
        through: u32,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapStep {
    pub cluster_id: String,
    pub seed_slot: u32,
    pub seed_pod_uid: String,
    /// The record of this very attempt is in the status already.
    pub recorded: bool,
    pub members: Vec<Candidate>,
    pub replication_factor: u32,
    pub partition_count: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct JoinStep {
    /// The slot of the member that is asked to take it in.
    pub through: u32,
    pub slot: u32,
    pub candidate: Candidate,
}

/// A process with an empty disk, as the database is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub name: String,
    pub peer_address: String,
    pub client_address: String,
    pub zone: String,
    pub disk_id: String,
    pub version: String,
}

/// What one of the two phases of a cluster's life wants.
struct Next {
    activity: Activity,
    step: Option<Step>,
    waits: Option<Wait>,
    latch: Option<String>,
}

impl Next {
    fn step(activity: Activity, step: Step) -> Self {
        Next {
            activity,
            step: Some(step),
            waits: None,
            latch: None,
        }
    }

    fn wait(activity: Activity, predicate: Predicate, message: String) -> Self {
        Next {
            activity,
            step: None,
            waits: Some(Wait { predicate, message }),
            latch: None,
        }
    }

    fn rest() -> Self {
        Next {
            activity: Activity::AtRest,
            step: None,
            waits: None,
            latch: None,
        }
    }
}

/// Decides the next pass.
pub fn plan(cluster: &ValidatedCluster, observed: &Observed) -> Plan {
    let slots = slots(cluster, observed);
    let next = next(cluster, observed, slots);
    Plan {
        slots,
        min_available: min_available(cluster, observed, slots, next.step.as_ref()),
        hold_objects: !observed.taken_names.is_empty(),
        recheck_after: recheck_after(&next, observed, slots),
        activity: next.activity,
        step: next.step,
        waits: next.waits,
        latch: next.latch,
    }
}

fn next(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Next {
    if !observed.taken_names.is_empty() {
        let message = format!(
            "{} exists and belongs to something else: remove it, or make the cluster under another name",
            observed.taken_names.join(", ")
        );
        return Next::wait(Activity::AtRest, Predicate::NameTaken, message);
    }
    match &observed.recorded.cluster_id {
        None => founding::next(cluster, observed, slots),
        Some(cluster_id) => growth::next(cluster, observed, cluster_id, slots),
    }
}

/// As many as are wanted, but never fewer than there are: the number in the spec may only raise it.
fn slots(cluster: &ValidatedCluster, observed: &Observed) -> u32 {
    let existing = observed.stateful_set.as_ref().map_or(0, |set| set.replicas);
    let of_members = known_slots(cluster, observed).max().map_or(0, |slot| slot + 1);
    cluster.replicas.max(existing).max(of_members)
}

/// Slots in which a member is known, by the database or, while it is silent, by the last status.
fn known_slots<'a>(cluster: &'a ValidatedCluster, observed: &'a Observed) -> impl Iterator<Item = u32> + 'a {
    let listed = observed.database.catalogue().into_iter().flat_map(|catalogue| {
        let names = catalogue.members.iter().map(|member| member.name.as_str());
        names.filter_map(|name| cluster.name.slot_of(name))
    });
    let silent = observed.database.catalogue().is_none();
    let recorded = observed
        .recorded
        .members
        .iter()
        .filter(move |member| silent && member.member_id.is_some())
        .filter_map(|member| cluster.name.slot_of(&member.slot));
    listed.chain(recorded)
}

/// All members but one: with the usual three copies, any two members may hold a majority of some partition.
///
/// Only members count. A pod that has not joined is never ready, so counting it would forbid every eviction.
fn min_available(cluster: &ValidatedCluster, observed: &Observed, slots: u32, step: Option<&Step>) -> Option<u32> {
    let joining = match step {
        Some(Step::Join(_)) => 1,
        Some(Step::Bootstrap(_) | Step::Rebalance { .. }) | None => 0,
    };
    let known = u32::try_from(known_slots(cluster, observed).count()).expect("the spec allows at most 100 members");
    let members = if known == 0 {
        slots
    } else {
        (known + joining).min(slots)
    };
    (members > 1).then(|| members - 1)
}

fn recheck_after(next: &Next, observed: &Observed, slots: u32) -> Duration {
    if next.step.is_some() || next.latch.is_some() {
        return RECHECK_AFTER_STEP;
    }
    let all_ready = (0..slots).all(|slot| observed.pod(slot).is_some_and(|pod| pod.ready));
    let moving = observed
        .database
        .catalogue()
        .is_none_or(|catalogue| catalogue.rebalance.moves_open > 0);
    match next.activity {
        Activity::AtRest | Activity::ScaleInRefused if all_ready && !moving => RECHECK_AT_REST,
        Activity::AtRest
        | Activity::ScaleInRefused
        | Activity::Bootstrapping
        | Activity::ScalingOut
        | Activity::Rebalancing => RECHECK_WHILE_MOVING,
    }
}

/// The process in a slot as the database is told of it; none while it is not known where its pod runs.
fn candidate(cluster: &ValidatedCluster, observed: &Observed, slot: u32) -> Option<Candidate> {
    let identity = observed.process(slot).identity()?;
    Some(Candidate {
        name: cluster.name.pod(slot),
        peer_address: cluster.name.peer_address(slot),
        client_address: cluster.name.client_address(slot),
        zone: observed.pod(slot)?.zone.clone()?,
        disk_id: identity.disk_id.clone(),
        version: identity.version.clone(),
    })
}
