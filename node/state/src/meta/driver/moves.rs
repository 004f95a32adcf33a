//! Foundings, and moves from their beginning to their end.

use std::collections::BTreeSet;

use super::leaders::successor;
use super::{LeaderView, Observed};
use crate::ids::{MemberId, PartitionId, ReplicaId};
use crate::meta::catalogue::{
    Catalogue, Founding, Health, Member, MemberState, Move, MoveReason, MoveStep, Replica, ReplicaRole,
};
use crate::meta::command::Command;

/// One step, with nothing left to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Propose(Command),
    AddLearner {
        partition: PartitionId,
        replica: ReplicaId,
        member: MemberId,
    },
    /// Drops a learner that no move brings any more.
    RemoveLearner {
        partition: PartitionId,
        replica: ReplicaId,
    },
    ReplaceVoters {
        partition: PartitionId,
        voters: BTreeSet<ReplicaId>,
        expected_membership_log_id: String,
    },
    TransferLeader {
        partition: PartitionId,
        to: ReplicaId,
    },
    /// Nothing can be done for this move now.
    Wait {
        id: u64,
        reason: String,
    },
}

/// What to do now for foundings and moves.
pub fn next_step(catalogue: &Catalogue, observed: &Observed) -> Vec<Action> {
    let view = |partition: PartitionId| observed.get(&partition).and_then(Option::as_ref);
    let mut actions = Vec::new();
    for partition in catalogue.partitions.values() {
        if partition.founding != Founding::Founded && view(partition.id).is_some() {
            actions.push(Action::Propose(Command::MarkFounded {
                partition: partition.id,
            }));
        }
    }
    for row in moves_at(catalogue, MoveStep::Learning) {
        actions.push(step_of_move(catalogue, row, view(row.partition)));
    }
    actions.extend(drop_moves(catalogue));
    actions.extend(begin_moves(catalogue, &view));
    actions.extend(stray_learners(catalogue, observed));
    actions
}

/// Learners that came after their move was put back, as when an older meta leader's request was late.
///
/// A replica id that this catalogue has not seen given may belong to a newer leader's move and is left alone.
fn stray_learners(catalogue: &Catalogue, observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    for (id, view) in observed {
        let Some((view, partition)) = view.as_ref().zip(catalogue.partitions.get(id)) else {
            continue;
        };
        let belongs = |replica: &ReplicaId| match partition.replicas.get(replica).map(|placed| placed.role) {
            Some(ReplicaRole::Learner | ReplicaRole::Voter) => true,
            Some(ReplicaRole::Retiring) => false,
            None => *replica >= catalogue.counters.next_replica,
        };
        let stray = view
            .learners
            .iter()
            .filter(|replica| !view.joint && !belongs(replica))
            .map(|replica| Action::RemoveLearner {
                partition: *id,
                replica: *replica,
            });
        actions.extend(stray);
    }
    actions
}

/// Planned moves that are pointless by now: what they were to take away is gone, or their target leaves. A departure is kept
/// until another target is found for it.
fn drop_moves(catalogue: &Catalogue) -> impl Iterator<Item = Action> {
    let leaves = |member: &MemberId| catalogue.members.get(member).is_none_or(|row| !may_arrive(row));
    let departs = |member: &MemberId| catalogue.is_departing(*member);
    let lost = moves_at(catalogue, MoveStep::Planned).filter(move |row| {
        let is_gone = |from: &MemberId| catalogue.replica_on(row.partition, *from).is_none();
        let has_lost_target = row.to.as_ref().is_some_and(leaves) && !row.from.as_ref().is_some_and(departs);
        has_lost_target || row.from.as_ref().is_some_and(is_gone)
    });
    lost.map(|row| {
        Action::Propose(Command::AdvanceMove {
            id: row.id,
            from: MoveStep::Planned,
            to: None,
        })
    })
}

/// Does not leave; may be silent for now.
fn may_arrive(target: &Member) -> bool {
    target.state == MemberState::Active && !target.gone
}

/// Planned moves, the most urgent first: those of the partitions that are nearest to losing their majority.
fn planned_by_urgency<'a>(
    catalogue: &'a Catalogue,
    view: &dyn Fn(PartitionId) -> Option<&'a LeaderView>,
) -> Vec<&'a Move> {
    let mut planned: Vec<_> = moves_at(catalogue, MoveStep::Planned).collect();
    let spare = |row: &Move| view(row.partition).map_or(i64::MAX, LeaderView::spare_voters);
    planned.sort_by_key(|row| (spare(row), row.reason, row.id));
    planned
}

/// Begins planned moves up to the limit, only in partitions that could lose a member now.
fn begin_moves<'a>(catalogue: &'a Catalogue, view: &dyn Fn(PartitionId) -> Option<&'a LeaderView>) -> Vec<Action> {
    let limit = catalogue
        .settings
        .as_ref()
        .map_or(0, |settings| settings.max_parallel_moves as usize);
    let mut under_way: BTreeSet<PartitionId> = moves_at(catalogue, MoveStep::Learning)
        .map(|row| row.partition)
        .collect();
    let mut actions = Vec::new();
    for row in planned_by_urgency(catalogue, view) {
        if under_way.len() >= limit {
            break;
        }
        if under_way.contains(&row.partition) || why_not_begin(catalogue, row, view(row.partition)).is_some() {
            continue;
        }
        under_way.insert(row.partition);
        actions.push(Action::Propose(Command::AdvanceMove {
            id: row.id,
            from: MoveStep::Planned,
            to: Some(MoveStep::Learning),
        }));
    }
    actions
}

/// Why a planned move does not begin; none where it can.
pub fn why_not_begin(catalogue: &Catalogue, row: &Move, view: Option<&LeaderView>) -> Option<String> {
    let Some(view) = view else {
        return Some(format!("partition {} has no leader that answers", row.partition));
    };
    let old = row.from.and_then(|member| catalogue.replica_on(row.partition, member));
    if let Some(voter) = view.holds_up(old) {
        return Some(format!("replica {voter} of partition {} is not in sync", row.partition));
    }
    if let Some(reason) = leader_first(catalogue, row, view, old) {
        return Some(reason);
    }
    let holds = |member: MemberId| {
        let partition = catalogue.partitions.get(&row.partition);
        partition.is_some_and(|partition| partition.replicas.values().any(|replica| replica.member == member))
    };
    match row.to.and_then(|to| catalogue.members.get(&to)) {
        Some(target) if !may_arrive(target) => Some(format!("member {} leaves", target.id)),
        Some(target) if target.health != Health::Alive => Some(format!("member {} is not heard from", target.id)),
        Some(target) if holds(target.id) => Some(format!(
            "member {} still deletes an older replica of partition {}",
            target.id, row.partition
        )),
        Some(_) | None => None,
    }
}

/// A member that is drained gives up a partition's leadership before its replica.
fn leader_first(catalogue: &Catalogue, row: &Move, view: &LeaderView, old: Option<ReplicaId>) -> Option<String> {
    let leads = row.reason == MoveReason::Drain && old == Some(view.replica);
    (leads && successor(catalogue, view).is_some()).then(|| {
        let (partition, leader) = (row.partition, view.member);
        format!("partition {partition} gets another leader than member {leader} first")
    })
}

fn moves_at(catalogue: &Catalogue, step: MoveStep) -> impl Iterator<Item = &Move> {
    catalogue.moves.values().filter(move |row| row.step == step)
}

fn step_of_move(catalogue: &Catalogue, row: &Move, view: Option<&LeaderView>) -> Action {
    let wait = |reason: String| Action::Wait { id: row.id, reason };
    let Some(view) = view else {
        return wait(format!("partition {} has no leader that answers", row.partition));
    };
    let old = row.from.and_then(|member| catalogue.replica_on(row.partition, member));
    if view.joint {
        let reason = format!("a membership change of partition {} is being committed", row.partition);
        return finish_change(row, view, old).unwrap_or_else(|| wait(reason));
    }
    if is_done(view, row.replica, old) {
        return Action::Propose(Command::AdvanceMove {
            id: row.id,
            from: MoveStep::Learning,
            to: None,
        });
    }
    let Some((replica, member)) = row.replica.zip(row.to) else {
        return promote(catalogue, row, view, old);
    };
    let target = catalogue.members.get(&member);
    let may_arrive = target.is_some_and(Member::may_be_target) && !gives_way(catalogue, row, view, old);
    if !view.voters.contains(&replica) && !may_arrive {
        return give_up(row, view, replica);
    }
    teach(row, view, replica, member).unwrap_or_else(|| promote(catalogue, row, view, old))
}

/// A move that waits for a voter that is lost for good gives way to that one's replacement: a partition has one move at a
/// time, and either would wait for the other.
fn gives_way(catalogue: &Catalogue, row: &Move, view: &LeaderView, old: Option<ReplicaId>) -> bool {
    let partition = catalogue.partitions.get(&row.partition);
    let lost = view.holds_up(old).and_then(|replica| partition?.replicas.get(&replica));
    let gone = |placed: &Replica| catalogue.members.get(&placed.member).is_some_and(|member| member.gone);
    lost.is_some_and(|placed| {
        let mut planned = moves_at(catalogue, MoveStep::Planned);
        gone(placed) && planned.any(|other| other.partition == row.partition && other.from == Some(placed.member))
    })
}

/// A target that has failed, or leaves, does not keep one of the few moves that may be under way: the group drops the new replica, and
/// then the move waits, not begun, for the target or for another plan.
fn give_up(row: &Move, view: &LeaderView, replica: ReplicaId) -> Action {
    if view.learners.contains(&replica) {
        return Action::RemoveLearner {
            partition: row.partition,
            replica,
        };
    }
    Action::Propose(Command::AdvanceMove {
        id: row.id,
        from: MoveStep::Learning,
        to: Some(MoveStep::Planned),
    })
}

/// The committed membership has the new replica as a voter, and not the old one.
fn is_done(view: &LeaderView, new: Option<ReplicaId>, old: Option<ReplicaId>) -> bool {
    new.is_none_or(|new| view.voters.contains(&new))
        && old.is_none_or(|old| !view.voters.contains(&old) && !view.learners.contains(&old))
}

/// What the new replica still needs before it can vote.
fn teach(row: &Move, view: &LeaderView, replica: ReplicaId, member: MemberId) -> Option<Action> {
    if view.voters.contains(&replica) {
        return None;
    }
    if !view.learners.contains(&replica) {
        return Some(Action::AddLearner {
            partition: row.partition,
            replica,
            member,
        });
    }
    if view.is_in_sync(replica) {
        return None;
    }
    let reason = match view.lag(replica) {
        Some(lag) => format!(
            "replica {replica} of partition {} is {lag} entries behind",
            row.partition
        ),
        None => format!(
            "replica {replica} of partition {} has not answered its leader yet",
            row.partition
        ),
    };
    Some(Action::Wait { id: row.id, reason })
}

/// One joint change; first the leader steps aside where it is the one to go, and while any other voter lags nothing is changed.
fn promote(catalogue: &Catalogue, row: &Move, view: &LeaderView, old: Option<ReplicaId>) -> Action {
    if let Some(lagging) = view.holds_up(old) {
        let reason = format!("replica {lagging} of partition {} is not in sync", row.partition);
        return Action::Wait { id: row.id, reason };
    }
    if old == Some(view.replica)
        && let Some(to) = successor(catalogue, view).or_else(|| any_other_voter(view))
    {
        return Action::TransferLeader {
            partition: row.partition,
            to,
        };
    }
    replace_voters(row, view, old)
}

fn any_other_voter(view: &LeaderView) -> Option<ReplicaId> {
    let others = view.voters.iter().copied().filter(|voter| *voter != view.replica);
    others.max_by_key(|voter| view.matched.get(voter))
}

/// Asks again for a joint change that has begun.
///
/// A leader that is lost between the two entries of a joint change leaves its group joint, and no later leader ends that by
/// itself. Asking while the first request is still at work does no harm: the group refuses it by the membership log id.
fn finish_change(row: &Move, view: &LeaderView, old: Option<ReplicaId>) -> Option<Action> {
    let begun = row.replica.is_none_or(|new| view.voters.contains(&new));
    begun.then(|| replace_voters(row, view, old))
}

fn replace_voters(row: &Move, view: &LeaderView, old: Option<ReplicaId>) -> Action {
    let staying = view.voters.iter().copied().filter(|voter| Some(*voter) != old);
    Action::ReplaceVoters {
        partition: row.partition,
        voters: staying.chain(row.replica).collect(),
        expected_membership_log_id: view.membership_log_id.clone(),
    }
}
