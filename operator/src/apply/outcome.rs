//! What a pass really did. The status is derived from this, so that it cannot tell what was only planned.

use crate::crd::Bootstrap;

/// The outcome of the apply step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    pub step: StepOutcome,
    /// The record of a founding that this pass wrote, or found written.
    pub bootstrap: Option<Bootstrap>,
    /// The controller of the StatefulSet has yet to see what this pass changed in it.
    pub set_is_unseen: bool,
    /// What Kubernetes said where it did not enlarge a volume.
    pub growth_refusals: Vec<String>,
}

/// How the one step of the plan went.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StepOutcome {
    /// The plan had none.
    #[default]
    None,
    Done(Done),
    /// It did not work or was not answered; the next pass looks again and decides anew.
    Failed(String),
    /// A rule of the database says no. Nothing was touched, and asking again at once is of no use.
    Refused(String),
}

/// A step that the database confirmed.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    Bootstrapped,
    Joined {
        slot: u32,
        member_id: u64,
    },
    RebalanceStarted {
        moves: usize,
    },
    DrainStarted {
        slot: u32,
        member_id: u64,
    },
    DrainCancelled {
        slot: u32,
        member_id: u64,
    },
    /// The removal is asked for, and maybe done.
    Removing {
        slot: u32,
        member_id: u64,
    },
    ClaimDeleted {
        slot: u32,
    },
    PodDeleted {
        slot: u32,
    },
    /// It has other CPU and memory, or will have them when its Kubernetes node has.
    PodResized {
        slot: u32,
    },
    /// Kubernetes does not change it where it runs.
    ResizeRefused {
        slot: u32,
        why: String,
    },
    StatefulSetDeleted,
}
