//! Moves: planned all at once, carried out a few at a time, each one row until it has ended.

use super::apply::Refusal;
use super::catalogue::{Catalogue, Move, MoveReason, MoveStep, Rebalance, Replica, ReplicaRole};
use super::command::{Answer, PlannedMove};
use crate::ids::{MemberId, PartitionId, ReplicaId};

/// Plans what placement asks for beyond the moves under way; moves that have not begun are planned anew.
pub(super) fn plan(catalogue: &mut Catalogue, now_ms: u64) -> Answer {
    let before: Vec<PlannedMove> = planned(catalogue);
    let under_way = catalogue
        .moves
        .values()
        .filter(|open| open.step == MoveStep::Learning)
        .count();
    catalogue.moves.retain(|_, open| open.step == MoveStep::Learning);
    for replacement in catalogue.replacements() {
        let reason = reason(catalogue, replacement.from);
        add(
            catalogue,
            replacement.partition,
            replacement.from,
            replacement.to,
            reason,
        );
    }
    let moves = planned(catalogue);
    let same_job = under_way > 0 || (moves == before && !moves.is_empty());
    note_job(catalogue, now_ms, same_job);
    Answer::Planned {
        job: catalogue.rebalance.as_ref().map_or(0, |rebalance| rebalance.job),
        moves,
    }
}

/// What a move off a member is for.
pub(super) fn reason(catalogue: &Catalogue, from: Option<MemberId>) -> MoveReason {
    let member = from.and_then(|from| catalogue.members.get(&from));
    member.map_or(MoveReason::Balance, MoveReason::of)
}

pub(super) fn add(
    catalogue: &mut Catalogue,
    partition: PartitionId,
    from: Option<MemberId>,
    to: Option<MemberId>,
    reason: MoveReason,
) {
    let id = catalogue.counters.next_move;
    catalogue.counters.next_move += 1;
    let planned = Move {
        id,
        partition,
        from,
        to,
        replica: None,
        step: MoveStep::Planned,
        reason,
    };
    catalogue.moves.insert(id, planned);
}

pub(super) fn planned(catalogue: &Catalogue) -> Vec<PlannedMove> {
    let of_row = |row: &Move| PlannedMove {
        partition: row.partition,
        from: row.from,
        to: row.to,
    };
    catalogue.moves.values().map(of_row).collect()
}

/// A job that is open goes on, with more or fewer moves; a new one is counted only where there is something to do.
pub(super) fn note_job(catalogue: &mut Catalogue, now_ms: u64, same_job: bool) {
    let open = u32::try_from(catalogue.moves.len()).unwrap_or(u32::MAX);
    match &mut catalogue.rebalance {
        Some(rebalance) if same_job => rebalance.moves_planned = rebalance.moves_finished + open,
        Some(_) | None if open == 0 => {}
        Some(_) | None => {
            let job = catalogue.counters.next_job;
            catalogue.counters.next_job += 1;
            catalogue.rebalance = Some(Rebalance {
                job,
                started_at_ms: now_ms,
                moves_planned: open,
                moves_finished: 0,
            });
        }
    }
}

/// Takes a move one step on, if it is where the caller believes it to be.
pub(super) fn advance(
    catalogue: &mut Catalogue,
    id: u64,
    from: MoveStep,
    to: Option<MoveStep>,
) -> Result<Answer, Refusal> {
    let row = catalogue
        .moves
        .get(&id)
        .cloned()
        .ok_or_else(|| format!("there is no move {id}, or it has ended"))?;
    if row.step != from {
        return Err(format!("move {id} is at {:?}, not at {from:?}", row.step));
    }
    match (from, to) {
        (MoveStep::Planned, Some(MoveStep::Learning)) => begin(catalogue, row),
        (MoveStep::Learning, None) => end(catalogue, &row),
        (MoveStep::Learning, Some(MoveStep::Planned)) => put_back(catalogue, row),
        (MoveStep::Planned, None) => {
            catalogue.moves.remove(&id);
            Ok(Answer::Done)
        }
        (MoveStep::Planned, Some(MoveStep::Planned)) | (MoveStep::Learning, Some(MoveStep::Learning)) => {
            Err(format!("a move does not go from {from:?} to {to:?}"))
        }
    }
}

fn begin(catalogue: &mut Catalogue, mut row: Move) -> Result<Answer, Refusal> {
    if catalogue.move_under_way(row.partition).is_some() {
        return Err(format!("partition {} has a move under way", row.partition));
    }
    let under_way = catalogue
        .moves
        .values()
        .filter(|open| open.step == MoveStep::Learning)
        .count();
    let limit = catalogue
        .settings
        .as_ref()
        .map_or(0, |settings| settings.max_parallel_moves as usize);
    if under_way >= limit {
        return Err(format!("{under_way} moves are under way, which is the limit"));
    }
    if let Some(member) = row
        .from
        .filter(|from| catalogue.replica_on(row.partition, *from).is_none())
    {
        return Err(format!(
            "member {member} has no replica of partition {} to give up",
            row.partition
        ));
    }
    if let Some(member) = row.to {
        let replicas = &catalogue.partition_mut(row.partition)?.replicas;
        if replicas.values().any(|replica| replica.member == member) {
            return Err(format!(
                "member {member} still has a replica of partition {}",
                row.partition
            ));
        }
        let id = catalogue.take_replica_id();
        let role = ReplicaRole::Learner;
        catalogue
            .partition_mut(row.partition)?
            .replicas
            .insert(id, Replica { member, role });
        row.replica = Some(id);
    }
    row.step = MoveStep::Learning;
    catalogue.moves.insert(row.id, row);
    Ok(Answer::Done)
}

/// The new replica is given up, its number for good; the move may begin again with another.
fn put_back(catalogue: &mut Catalogue, mut row: Move) -> Result<Answer, Refusal> {
    let replicas = &mut catalogue.partition_mut(row.partition)?.replicas;
    if let Some(new) = row.replica.take().and_then(|id| replicas.get_mut(&id)) {
        new.role = ReplicaRole::Retiring;
    }
    row.step = MoveStep::Planned;
    catalogue.moves.insert(row.id, row);
    catalogue.forget_diverged();
    Ok(Answer::Done)
}

fn end(catalogue: &mut Catalogue, row: &Move) -> Result<Answer, Refusal> {
    let old: Option<ReplicaId> = row.from.and_then(|member| catalogue.replica_on(row.partition, member));
    let replicas = &mut catalogue.partition_mut(row.partition)?.replicas;
    if let Some(new) = row.replica.and_then(|id| replicas.get_mut(&id)) {
        new.role = ReplicaRole::Voter;
    }
    if let Some(old) = old.and_then(|id| replicas.get_mut(&id)) {
        old.role = ReplicaRole::Retiring;
    }
    catalogue.forget_diverged();
    catalogue.moves.remove(&row.id);
    catalogue.counters.moves_finished += 1;
    if let Some(rebalance) = &mut catalogue.rebalance {
        rebalance.moves_finished += 1;
    }
    Ok(Answer::Done)
}
