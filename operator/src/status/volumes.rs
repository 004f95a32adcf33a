//! Whether the volumes are there, are those they should be, and have the size that is wanted.

use super::View;
use super::conditions::listing;
use super::verdict::Verdict;
use crate::crd::MemberState;
use crate::observe::Claim;
use crate::plan::Predicate;
use crate::validate::quantity_bytes;

pub(super) fn healthy(view: &View<'_>) -> Verdict {
    if view.observed.stateful_set.is_none() {
        return Verdict::unknown("NotObserved", "no volume is claimed yet");
    }
    if let Some(lost) = view.members.iter().find(|member| member.state == MemberState::Lost) {
        let what_to_do = view.waits_for(Predicate::LostVolume).map_or_else(
            || format!("pod {} has an empty disk where a member with data was", lost.slot),
            str::to_owned,
        );
        return Verdict::no("LostVolume", what_to_do);
    }
    let unbound = claims_with(view, |claim| claim.is_none_or(|claim| !claim.bound));
    if !unbound.is_empty() {
        return Verdict::no("Unbound", format!("the claims {} have no volume", listing(unbound)));
    }
    sizes(view).unwrap_or_else(|| Verdict::yes("Ok", "all volumes are bound at their size"))
}

/// What is wrong with the sizes of the volumes; none where they are as wanted.
fn sizes(view: &View<'_>) -> Option<Verdict> {
    if let Some(refusal) = view.applied.growth_refusals.first() {
        return Some(Verdict::no("ResizeFailed", refusal.clone()));
    }
    let wanted = quantity_bytes(&view.cluster.storage_size);
    let told = (0..view.plan.slots).find_map(|slot| {
        let claim = view.observed.slots.get(&slot)?.claim.as_ref()?;
        Some((view.cluster.name.claim(slot), claim.resizing.clone()?))
    });
    if let Some((claim, told)) = told {
        let reason = match told.as_str() {
            told if told.starts_with("FileSystemResizePending") => "ResizeNeedsPod",
            told if told.contains("ResizeError") => "ResizeFailed",
            _ => "Resizing",
        };
        return Some(Verdict::no(reason, format!("{claim}: {told}")));
    }
    let is_below = |size: &str| quantity_bytes(size) < wanted;
    let growing = claims_with(view, |claim| {
        claim.is_some_and(|claim| is_below(&claim.size) || claim.capacity.as_deref().is_some_and(is_below))
    });
    if !growing.is_empty() {
        let (growing, size) = (listing(growing), &view.cluster.storage_size);
        return Some(Verdict::no("Resizing", format!("the claims {growing} grow to {size}")));
    }
    let larger = claims_with(view, |claim| {
        claim.is_some_and(|claim| quantity_bytes(&claim.size) > wanted)
    });
    (!larger.is_empty()).then(|| {
        let message = format!(
            "the claims {} ask for more than {}, and a disk cannot be made smaller: set spec.storage.size back; for smaller \
             disks make another cluster and load the data there",
            listing(larger),
            view.cluster.storage_size
        );
        Verdict::no("ShrinkRefused", message)
    })
}

fn claims_with(view: &View<'_>, picks: impl Fn(Option<&Claim>) -> bool) -> Vec<String> {
    let claim = |slot: &u32| view.observed.slots.get(slot).and_then(|slot| slot.claim.as_ref());
    let slots = (0..view.plan.slots).filter(|slot| picks(claim(slot)));
    slots.map(|slot| view.cluster.name.claim(slot)).collect()
}
