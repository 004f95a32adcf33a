//! What to do next: pure, and the only place where it is decided. A plan is data with no choices left in it.
//!
//! It is made from observation alone, never from what an earlier plan wanted, so an edit at any moment simply gives
//! another plan. It holds at most one step that changes the database, and says why it waits.

mod departure;
mod drift;
mod founding;
mod growth;
mod marks;
mod occupant;
mod places;
mod replacement;
mod roll;
mod volumes;
mod wait;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::crd::MemberState;
use crate::names::PAUSED_ANNOTATION;
use crate::observe::{Catalogue, Claim, NotedDisk, Observed};
use crate::recipe::Compute;
use crate::validate::ValidatedCluster;
pub use drift::{Drift, drift};
pub use occupant::{Occupant, occupant};
pub use places::{Places, seen_in};
pub use volumes::ClaimGrowth;
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
    /// Pods with a disk that there shall be.
    ///
    /// Invariant: never below what a member needs that is known and not removed; and, while the database does not
    /// answer with a majority behind it, never below what the StatefulSet has.
    pub slots: u32,
    /// Replicas of the StatefulSet: as many as slots, or none while the cluster is suspended.
    pub replicas: u32,
    /// Of the disruption budget.
    pub min_available: u32,
    /// Claims on which their disk is to be noted.
    pub marks: Vec<ClaimMark>,
    /// Claims that are to ask for more.
    pub growth: Vec<ClaimGrowth>,
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
    ScalingIn,
    Replacing,
    Rolling,
    ResizingVolumes,
}

/// The one thing of a pass that is dangerous: it changes the database, or deletes an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Bootstrap(BootstrapStep),
    Join(JoinStep),
    /// Through the member in this slot.
    Rebalance {
        through: u32,
    },
    /// Everything is moved off a member.
    Drain(MemberStep),
    /// The member stays.
    CancelDrain(MemberStep),
    /// A member on which nothing is left, by proof, leaves for ever.
    Remove(MemberStep),
    DeleteClaim(ClaimStep),
    DeletePod(PodStep),
    /// It is given other CPU and memory where it runs.
    ResizePod(ResizeStep),
    /// Deleted around its pods, to be made anew with another claim template.
    RecreateStatefulSet(SetStep),
}

/// About one member, through the member in the slot `through`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStep {
    pub through: u32,
    pub slot: u32,
    pub member_id: u64,
}

/// A claim as it was seen; one that has changed since is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimStep {
    pub slot: u32,
    pub uid: String,
    pub version: String,
}

impl ClaimStep {
    fn of(slot: u32, claim: &Claim) -> Self {
        ClaimStep {
            slot,
            uid: claim.uid.clone(),
            version: claim.version.clone(),
        }
    }
}

/// A pod as it was seen; another one of the same name is not deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodStep {
    pub slot: u32,
    pub uid: String,
}

/// A pod as it was seen, and what it is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeStep {
    pub slot: u32,
    pub uid: String,
    pub compute: Compute,
}

/// A StatefulSet as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetStep {
    pub uid: String,
}

/// What is to be noted on a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMark {
    pub slot: u32,
    pub uid: String,
    pub version: String,
    pub disk: NotedDisk,
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
    /// The member that has lost its disk, and whose slot this is.
    pub replaces: Option<u64>,
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

    fn is_rest(&self) -> bool {
        self.activity == Activity::AtRest && self.step.is_none() && self.waits.is_none() && self.latch.is_none()
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
    let growth = volumes::growth(cluster, observed, slots);
    let mut next = next(cluster, observed, slots);
    if next.is_rest() && !growth.is_empty() {
        next.activity = Activity::ResizingVolumes;
    }
    Plan {
        slots,
        min_available: min_available(cluster, observed, slots, next.step.as_ref()),
        marks: marks::missing(observed),
        growth,
        replicas: if cluster.suspend { 0 } else { slots },
        hold_objects: cluster.paused || !observed.taken_names.is_empty(),
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
    if cluster.paused {
        let message = format!("nothing is changed while the annotation {PAUSED_ANNOTATION} is true");
        return Next::wait(Activity::AtRest, Predicate::Paused, message);
    }
    if cluster.suspend {
        let message = "the pods are stopped and their disks kept; set spec.suspend to false to start them".to_owned();
        return Next::wait(Activity::AtRest, Predicate::Suspended, message);
    }
    if let Some(next) = roll::broken(cluster, observed, slots) {
        return next;
    }
    match &observed.recorded.cluster_id {
        None => founding::next(cluster, observed, slots),
        Some(cluster_id) => growth::next(cluster, observed, cluster_id, slots),
    }
}

/// As many as are wanted, but never fewer than members need. Without the database's word, no fewer than there are.
fn slots(cluster: &ValidatedCluster, observed: &Observed) -> u32 {
    let existing = observed.stateful_set.as_ref().map_or(0, |set| set.replicas);
    let known = known_slots(cluster, observed)
        .into_iter()
        .max()
        .map_or(0, |slot| slot + 1);
    let needed = cluster.replicas.max(known);
    match sure_catalogue(cluster, observed) {
        Some(catalogue) => needed.max(held(observed, catalogue)),
        None => needed.max(existing),
    }
}

/// The catalogue, if something may be taken away on its word.
fn sure_catalogue<'a>(cluster: &ValidatedCluster, observed: &'a Observed) -> Option<&'a Catalogue> {
    let cluster_id = observed.recorded.cluster_id.as_ref()?;
    let sound = growth::identity_conflict(cluster, observed, cluster_id).is_none();
    observed
        .database
        .catalogue()
        .filter(|catalogue| catalogue.linearizable && sound)
}

/// Slots up to the last one whose disk says it is a member that was not removed, listed or not.
fn held(observed: &Observed, catalogue: &Catalogue) -> u32 {
    let holds = |identity: &crate::observe::Identity| {
        let membership = identity.membership.as_ref();
        membership.is_some_and(|membership| !catalogue.was_removed(membership.member_id))
    };
    let held = observed.identities().filter(|(_, identity)| holds(identity));
    held.map(|(slot, _)| slot + 1).max().unwrap_or(0)
}

/// Slots in which a member is known, by the database or, while it is silent, by the last status.
fn known_slots(cluster: &ValidatedCluster, observed: &Observed) -> BTreeSet<u32> {
    match observed.database.catalogue() {
        Some(catalogue) => {
            let places = Places::of(&cluster.name, observed, catalogue);
            (0..places.slots())
                .filter(|slot| !places.at(*slot).is_empty())
                .collect()
        }
        None => {
            let recorded = observed.recorded.members.iter();
            recorded
                .filter(|member| member.member_id.is_some() && member.state != MemberState::Removed)
                .filter_map(|member| cluster.name.slot_of(&member.slot))
                .collect()
        }
    }
}

/// All members but one: with the usual three copies, any two members may hold a majority of some partition.
///
/// Only members count. A pod that has not joined is never ready, so counting it would forbid every eviction.
fn min_available(cluster: &ValidatedCluster, observed: &Observed, slots: u32, step: Option<&Step>) -> u32 {
    let joining = u32::from(matches!(step, Some(Step::Join(_))));
    let known = known_slots(cluster, observed).len();
    let known = u32::try_from(known).expect("the spec allows at most 100 members");
    let members = if known == 0 {
        slots
    } else {
        (known + joining).min(slots)
    };
    members.saturating_sub(1)
}

fn recheck_after(next: &Next, observed: &Observed, slots: u32) -> Duration {
    if next.step.is_some() || next.latch.is_some() {
        return RECHECK_AFTER_STEP;
    }
    let waits_for = next.waits.as_ref().map(|wait| wait.predicate);
    if let Some(Predicate::Paused | Predicate::Suspended) = waits_for {
        return RECHECK_AT_REST;
    }
    let all_ready = (0..slots).all(|slot| observed.pod(slot).is_some_and(|pod| pod.ready));
    let moving = observed
        .database
        .catalogue()
        .is_none_or(|catalogue| catalogue.rebalance.moves_open > 0);
    let needs_person = next.waits.as_ref().is_some_and(|wait| wait.predicate.needs_person());
    match next.activity {
        _ if needs_person && all_ready && !moving => RECHECK_AT_REST,
        Activity::AtRest if all_ready && !moving => RECHECK_AT_REST,
        Activity::AtRest
        | Activity::Bootstrapping
        | Activity::ScalingOut
        | Activity::Rebalancing
        | Activity::ScalingIn
        | Activity::Replacing
        | Activity::Rolling
        | Activity::ResizingVolumes => RECHECK_WHILE_MOVING,
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
