//! Disks that grow: the claims first, whatever else is going on, because a full disk does not wait; then the template of
//! new ones, which Kubernetes does not let anyone change: the StatefulSet is made anew around its pods.

use super::{Activity, Next, SetStep, Step};
use crate::observe::Observed;
use crate::validate::{ValidatedCluster, quantity_bytes};

/// A claim that is to ask for more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimGrowth {
    pub slot: u32,
    pub uid: String,
    pub size: String,
}

/// Claims that ask for less than is wanted. One that asks for more is left alone: a disk cannot shrink.
pub(super) fn growth(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Vec<ClaimGrowth> {
    let wanted = quantity_bytes(&cluster.storage_size);
    let claims = observed.slots.range(..slots);
    claims
        .filter_map(|(slot, seen)| Some((slot, seen.claim.as_ref()?)))
        .filter(|(_, claim)| !claim.deleting && quantity_bytes(&claim.size) < wanted)
        .map(|(slot, claim)| ClaimGrowth {
            slot: *slot,
            uid: claim.uid.clone(),
            size: cluster.storage_size.clone(),
        })
        .collect()
}

/// The StatefulSet is made anew when every claim there is asks for the new size, so that new ones do as well.
pub(super) fn template(cluster: &ValidatedCluster, observed: &Observed, slots: u32) -> Option<Next> {
    let set = observed.stateful_set.as_ref()?;
    let asked = set.claim_size.as_ref().map(|size| quantity_bytes(size));
    let is_smaller = asked.is_some_and(|asked| asked < quantity_bytes(&cluster.storage_size));
    let step = Step::RecreateStatefulSet(SetStep { uid: set.uid.clone() });
    (is_smaller && growth(cluster, observed, slots).is_empty()).then(|| Next::step(Activity::ResizingVolumes, step))
}
