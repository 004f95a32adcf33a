//! Members that leave: who counts as gone, what is planned for their replicas, and their leaders first.

use std::collections::BTreeMap;

use super::leaders::successors;
use super::{Action, Observed, Policy};
use crate::ids::MemberId;
use crate::meta::catalogue::{Catalogue, Health, Member, MemberState};
use crate::meta::command::Command;

/// Leaders moved off draining members in one pass: each one's clients wait for a moment.
const MAX_TRANSFERS: usize = 4;

/// A leader counts nobody as gone before it has led for this long: after a power cut of the whole cluster everyone was silent
/// for hours, and is back in a moment.
const LED_BEFORE_MS: u64 = 60_000;

/// What to do now for members that leave.
pub fn next_member_steps(catalogue: &Catalogue, observed: &Observed, policy: &Policy) -> Vec<Action> {
    let mut actions = Vec::new();
    actions.extend(count_as_gone(catalogue, policy));
    if catalogue.has_departures_to_plan() {
        let now_ms = policy.now_ms;
        actions.push(Action::Propose(Command::PlanDepartures { now_ms }));
    }
    actions.extend(leaders_off(catalogue, observed, policy));
    actions
}

/// One at a time: what is lost by a whole zone at once comes back oftener than not.
fn count_as_gone(catalogue: &Catalogue, policy: &Policy) -> Option<Action> {
    let after = policy.replacement_after_ms?;
    if policy.leading_ms < after.min(LED_BEFORE_MS) {
        return None;
    }
    let is_due = |member: &&Member| {
        let for_ms = policy.now_ms.saturating_sub(member.health_since_ms);
        member.state == MemberState::Active && !member.gone && member.health == Health::Failed && for_ms >= after
    };
    let due = catalogue.members.values().filter(is_due);
    let mut spared = due.filter(|member| catalogue.why_needed(member.id).is_none());
    spared
        .next()
        .map(|member| Action::Propose(Command::CountAsGone { member: member.id }))
}

/// Leaders on draining members go to others, spread over those that lead the fewest.
fn leaders_off(catalogue: &Catalogue, observed: &Observed, policy: &Policy) -> Vec<Action> {
    let mut led: BTreeMap<MemberId, usize> = BTreeMap::new();
    for view in observed.values().flatten() {
        *led.entry(view.member).or_default() += 1;
    }
    let mut actions = Vec::new();
    for (partition, view) in observed {
        let Some(view) = view.as_ref().filter(|view| !view.joint) else {
            continue;
        };
        let drains = catalogue
            .members
            .get(&view.member)
            .is_some_and(|member| member.state == MemberState::Draining);
        if !drains || catalogue.move_under_way(*partition).is_some() || actions.len() >= MAX_TRANSFERS {
            continue;
        }
        let count = |member: &MemberId| led.get(member).copied().unwrap_or(0);
        let next = successors(catalogue, view)
            .filter(|(member, _)| !policy.absent.contains(member))
            .min_by_key(|(member, replica)| (count(member), view.lag(*replica), *member));
        if let Some((member, to)) = next {
            *led.entry(member).or_default() += 1;
            actions.push(Action::TransferLeader {
                partition: *partition,
                to,
            });
        }
    }
    actions
}
