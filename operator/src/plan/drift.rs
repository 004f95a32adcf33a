//! How a pod differs from one that would be made now: not at all, in what it can be given where it runs, or in what only
//! another pod has.

use crate::observe::{Observed, Pod, ResizeState};
use crate::recipe::Recipe;

/// What keeps a pod from being as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    Fits,
    /// It was given other CPU and memory, and Kubernetes has yet to do it; what it says of that.
    Resizing(String),
    /// It may be given the wanted CPU and memory where it runs.
    Compute,
    /// Only another pod is as it is wanted.
    Template,
}

/// The drift of the pod in a slot; none while there is no pod, it stops, or the controller of the StatefulSet has not seen
/// the last change.
pub fn drift(observed: &Observed, slot: u32) -> Option<Drift> {
    let wanted = observed.stateful_set.as_ref()?.present_recipe()?;
    let pod = observed.pod(slot).filter(|pod| !pod.deleting)?;
    Some(of(observed, pod, wanted))
}

fn of(observed: &Observed, pod: &Pod, wanted: &Recipe) -> Drift {
    let Some(made) = pod.recipe.as_ref().filter(|made| made.differs_only_in_compute(wanted)) else {
        return Drift::Template;
    };
    // What the operator did not bring about is not its business: an admission plugin would do it to the next pod as well.
    if made.compute == wanted.compute && !pod.resized {
        return Drift::Fits;
    }
    match &pod.resize {
        Some(ResizeState::Infeasible(_)) if pod.compute.holds(&wanted.compute) => return Drift::Template,
        Some(ResizeState::Pending(told)) if pod.compute.holds(&wanted.compute) => return Drift::Resizing(told.clone()),
        // What is told is about what was wanted before.
        Some(ResizeState::Infeasible(_) | ResizeState::Pending(_)) | None => {}
    }
    let keeps = made.compute.may_become(&wanted.compute) || made.compute == wanted.compute;
    if keeps && pod.compute.holds(&wanted.compute) {
        return Drift::Fits;
    }
    let may = keeps && pod.compute.may_become(&wanted.compute);
    match may && observed.resizes_pods && !was_refused(observed, pod) {
        true => Drift::Compute,
        false => Drift::Template,
    }
}

/// Kubernetes said no to this very pod.
fn was_refused(observed: &Observed, pod: &Pod) -> bool {
    let mut recorded = observed.recorded.members.iter();
    recorded.any(|member| member.pod_uid.as_ref() == Some(&pod.uid) && member.resize_refused.is_some())
}
