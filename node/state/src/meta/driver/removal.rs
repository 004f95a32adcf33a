//! The end of a drain: the proof that nothing is left, the meta group's own vote and copy, and only then the removal.
//!
//! The proof is what the rows of the catalogue say behind a read barrier, and what every group's leader says of its
//! members. The membership of the meta group is changed by compare-and-set on what was observed with it, and the removal
//! itself is checked against the rows again where it is applied.

use super::{LeaderView, MetaAction, Observed, why_not_begin};
use crate::ids::{MemberId, ReplicaId};
use crate::meta::catalogue::{Catalogue, Drain, Health, Member, MemberState, MoveStep, Partition, ReplicaRole};
use crate::meta::command::Command;

/// The next step of the removal of a drained member, if one can be taken.
pub fn next_removal(catalogue: &Catalogue, observed: &Observed, meta: &LeaderView) -> Option<MetaAction> {
    if meta.joint {
        return None;
    }
    let leaving = catalogue.members.values().filter_map(|member| {
        member
            .drain
            .filter(|drain| drain.then_remove)
            .map(|drain| (member, drain))
    });
    leaving
        .filter(|(member, _)| why_not_proven(catalogue, observed, meta, member).is_none())
        .map(|(member, drain)| remove(member, drain, meta))
        .next()
}

fn remove(member: &Member, drain: Drain, meta: &LeaderView) -> MetaAction {
    match meta.learners.contains(&member.meta_replica) {
        true => MetaAction::RemoveLearner {
            replica: member.meta_replica,
            expected_membership_log_id: meta.membership_log_id.clone(),
        },
        false => MetaAction::Propose(Command::RemoveMember {
            member: member.id,
            drain: drain.number,
        }),
    }
}

/// What is left of a member, or what cannot be seen; none where it may be removed.
fn why_not_proven(catalogue: &Catalogue, observed: &Observed, meta: &LeaderView, member: &Member) -> Option<String> {
    if let Some(reason) = why_not_empty(catalogue, observed, member) {
        return Some(reason);
    }
    if meta.voters.contains(&member.meta_replica) || member.meta_voter {
        return Some("it votes in the meta group until another member can".to_owned());
    }
    catalogue
        .partitions
        .values()
        .find_map(|partition| why_not_free_of(observed, partition, member.id))
}

/// The group of a partition is seen, and everyone in it is known and elsewhere.
fn why_not_free_of(observed: &Observed, partition: &Partition, member: MemberId) -> Option<String> {
    let Some(view) = observed.get(&partition.id).and_then(Option::as_ref) else {
        return Some(format!("partition {} has no leader that answers", partition.id));
    };
    let elsewhere = |replica: &ReplicaId| {
        let placed = partition.replicas.get(replica);
        placed.is_some_and(|placed| placed.member != member && placed.role != ReplicaRole::Retiring)
    };
    let mut everyone = view.voters.iter().chain(&view.learners);
    let stray = everyone.find(|replica| !elsewhere(replica));
    stray.map(|replica| format!("replica {replica} of partition {} is not accounted for", partition.id))
}

fn why_not_empty(catalogue: &Catalogue, observed: &Observed, member: &Member) -> Option<String> {
    let leads = observed
        .values()
        .flatten()
        .filter(|view| view.member == member.id)
        .count();
    let (left, retiring) = (catalogue.replicas_on(member.id), catalogue.retiring_on(member.id));
    if left > 0 {
        let waits = waiting_move(catalogue, observed, member.id).map_or(String::new(), |reason| format!("; {reason}"));
        return Some(format!("{left} replicas are left, {leads} of them lead{waits}"));
    }
    (retiring > 0 && member.health != Health::Failed).then(|| format!("it has yet to delete {retiring} replicas"))
}

/// Why one of the moves off a member waits, or why none is planned.
fn waiting_move(catalogue: &Catalogue, observed: &Observed, member: MemberId) -> Option<String> {
    let view = |row: &crate::meta::Move| observed.get(&row.partition).and_then(Option::as_ref);
    let mut rows = catalogue
        .moves
        .values()
        .filter(|row| row.from == Some(member))
        .peekable();
    if rows.peek().is_none() {
        let reason = match catalogue.has_departures_to_plan() {
            true => "their moves are about to be planned",
            false => "no other member can take them now",
        };
        return Some(reason.to_owned());
    }
    rows.filter(|row| row.step == MoveStep::Planned)
        .find_map(|row| why_not_begin(catalogue, row, view(row)))
}

/// Whether nothing is left of a draining member, as the leader of the meta group sees it.
pub fn is_drained(catalogue: &Catalogue, observed: &Observed, meta: Option<&LeaderView>, member: &Member) -> bool {
    let proven = |meta| why_not_proven(catalogue, observed, meta, member).is_none();
    member.state == MemberState::Draining && meta.is_some_and(proven)
}

/// Why a member that leaves, or has failed, is not done; none where nothing is to be waited for.
pub fn why_member_waits(
    catalogue: &Catalogue,
    observed: &Observed,
    meta: Option<&LeaderView>,
    member: &Member,
) -> Option<String> {
    match member.state {
        MemberState::Draining => {
            let then_remove = member.drain.is_some_and(|drain| drain.then_remove);
            let proven = match meta {
                Some(meta) => why_not_proven(catalogue, observed, meta, member),
                None => why_not_empty(catalogue, observed, member),
            };
            proven.or_else(|| then_remove.then(|| "it is being removed".to_owned()))
        }
        MemberState::Active if member.gone && catalogue.replicas_on(member.id) > 0 => {
            why_not_empty(catalogue, observed, member)
        }
        MemberState::Active if member.health == Health::Failed && !member.gone => catalogue.why_needed(member.id),
        MemberState::Joining | MemberState::Active | MemberState::Removed => None,
    }
}
