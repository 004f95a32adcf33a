//! How far an operation is, and since when it has not moved.
//!
//! Counted is what is left to do, which observation alone tells: what an operation has done is what was left at the last
//! look and is not any more. An edit or a setback gives it more to do, and takes nothing of what was done away.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{View, operation};
use crate::crd::{MemberState, Operation, Progress};
use crate::observe::{Catalogue, Claim, Rebalance};
use crate::plan::Activity;
use crate::validate::quantity_bytes;

/// An operation that has not moved for so long is said to be stalled. Longer than a member may take to start (the startup
/// probe gives it ten minutes) and than the move of one partition should.
const STALLED_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// What is left to do, in the units of the operation; none while that cannot be seen.
pub(super) fn left(view: &View<'_>) -> Option<i32> {
    let set = view.observed.stateful_set.as_ref();
    match view.plan.activity {
        Activity::AtRest => Some(0),
        // Each pod that has to answer, and the founding.
        Activity::Bootstrapping => Some(count(view, |state| state == MemberState::Pending).saturating_add(1)),
        Activity::ResizingVolumes => Some(growing(view)),
        Activity::Rolling => set
            .and_then(|set| set.present_recipe())
            .map(|_| i32::try_from(operation::outdated(view).len()).unwrap_or(i32::MAX)),
        Activity::Rebalancing => view.current().map(|catalogue| moves(&catalogue.rebalance)),
        Activity::ScalingOut => view
            .current()
            .map(|_| count(view, |state| state != MemberState::Active)),
        Activity::ScalingIn => view.current().map(|_| surplus(view)),
        Activity::Replacing => view.current().map(|catalogue| replacing(view, catalogue)),
    }
}

fn moves(rebalance: &Rebalance) -> i32 {
    let left = rebalance.moves_open.saturating_add(rebalance.moves_planned);
    i32::try_from(left).unwrap_or(i32::MAX)
}

/// Wanted slots with a member in such a state.
fn count(view: &View<'_>, picks: impl Fn(MemberState) -> bool) -> i32 {
    let wanted = usize::try_from(view.cluster.replicas).unwrap_or(usize::MAX);
    let members = view.members.iter().take(wanted);
    let missing = wanted.saturating_sub(view.members.len());
    let picked = members.filter(|member| picks(member.state)).count();
    i32::try_from(picked.saturating_add(missing)).unwrap_or(i32::MAX)
}

/// Copies on the members that are not wanted, and each such slot, until its pod is gone.
fn surplus(view: &View<'_>) -> i32 {
    let slots = view.observed.slots.range(view.cluster.replicas..);
    let pods = slots.filter(|(_, slot)| slot.pod.is_some()).count();
    let wanted = usize::try_from(view.cluster.replicas).unwrap_or(usize::MAX);
    let copies: i32 = view.members.iter().skip(wanted).map(|member| member.replicas).sum();
    copies.saturating_add(i32::try_from(pods).unwrap_or(i32::MAX))
}

/// Copies on the members that are taken out, and each of them.
fn replacing(view: &View<'_>, catalogue: &Catalogue) -> i32 {
    let leaving = super::leaving(view);
    let members = catalogue.members.iter();
    let left = members.filter(|member| i64::try_from(member.id).is_ok_and(|id| leaving.contains(&id)));
    let left = left
        .map(|member| member.replicas.saturating_add(1))
        .fold(0, u32::saturating_add);
    i32::try_from(left.max(1)).unwrap_or(i32::MAX)
}

/// Volumes that are not as large as they should be, and the template of new ones.
fn growing(view: &View<'_>) -> i32 {
    let wanted = quantity_bytes(&view.cluster.storage_size);
    let is_below = |claim: &Claim| {
        let below = |size: &str| quantity_bytes(size) < wanted;
        below(&claim.size) || claim.capacity.as_deref().is_some_and(below)
    };
    let claims = view.observed.slots.values().filter_map(|slot| slot.claim.as_ref());
    let below = claims.filter(|claim| is_below(claim)).count();
    i32::try_from(below.saturating_add(1)).unwrap_or(i32::MAX)
}

/// The progress after the one before, of the same operation, with so much left now; and when it last grew.
pub(super) fn since(before: Option<&Operation>, left: Option<i32>, now: &Time) -> (Progress, Time) {
    let told = before.and_then(|before| Some((before.progress?, before.progressed_at.clone()?)));
    let (before, moved_at) = told.unwrap_or_else(|| {
        let total = left.unwrap_or(0);
        (Progress { done: 0, total }, now.clone())
    });
    let Some(left) = left else {
        return (before, moved_at);
    };
    let gone = before.total.saturating_sub(before.done).saturating_sub(left).max(0);
    let done = before.done.saturating_add(gone);
    let progress = Progress {
        done,
        total: done.saturating_add(left),
    };
    (progress, if gone > 0 { now.clone() } else { moved_at })
}

/// Since when nothing has moved, if that is too long.
pub(super) fn stalled(operation: &Operation, now: Timestamp) -> Option<Time> {
    let moved_at = operation.progressed_at.clone()?;
    (now.duration_since(moved_at.0) >= STALLED_AFTER).then_some(moved_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::OperationType;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn operation(done: i32, total: i32, moved_at: i64) -> Operation {
        Operation {
            type_: OperationType::Roll,
            phase: String::new(),
            target: None,
            plan: Vec::new(),
            cancellable: false,
            blocked_by: None,
            started_at: at(0),
            progress: Some(Progress { done, total }),
            progressed_at: Some(at(moved_at)),
            moves_open: 0,
            moves_finished: 0,
        }
    }

    #[test]
    fn what_is_not_left_any_more_is_done_and_dated() {
        assert_eq!(since(None, Some(3), &at(5)), (Progress { done: 0, total: 3 }, at(5)));
        let before = operation(1, 3, 5);
        assert_eq!(
            since(Some(&before), Some(1), &at(9)),
            (Progress { done: 2, total: 3 }, at(9))
        );
        assert_eq!(
            since(Some(&before), Some(2), &at(9)),
            (Progress { done: 1, total: 3 }, at(5))
        );
    }

    #[test]
    fn more_to_do_takes_nothing_of_what_was_done_away() {
        let before = operation(1, 3, 5);
        assert_eq!(
            since(Some(&before), Some(7), &at(9)),
            (Progress { done: 1, total: 8 }, at(5))
        );
        assert_eq!(
            since(Some(&before), None, &at(9)),
            (Progress { done: 1, total: 3 }, at(5))
        );
    }

    #[test]
    fn an_operation_that_has_not_moved_for_ten_minutes_is_stalled() {
        let operation = operation(1, 3, 100);
        assert_eq!(stalled(&operation, at(699).0), None);
        assert_eq!(stalled(&operation, at(700).0), Some(at(100)));
    }
}
