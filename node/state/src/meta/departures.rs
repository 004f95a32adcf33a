//! Where the replicas of members that leave go: zones first, then where placement wants them, then the least loaded.
//!
//! Only what has to go is moved, and only to members that are well now; what else placement wants is left to a rebalance.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Catalogue, Member, Move, MoveReason, MoveStep, ReplicaRole};
use super::command::Answer;
use super::moves;
use crate::ids::{MemberId, PartitionId};
use crate::placement::Placement;

/// One replica's way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    partition: PartitionId,
    from: MemberId,
    to: MemberId,
    /// A move whose target cannot take it any more.
    instead_of: Option<u64>,
}

/// Plans a move for every replica that has to go and can.
pub(super) fn plan(catalogue: &mut Catalogue, now_ms: u64) -> Answer {
    let is_open = !catalogue.moves.is_empty();
    let wanted = catalogue.wanted_placement().unwrap_or_default();
    for departure in to_plan(catalogue, &wanted) {
        departure.instead_of.map(|id| catalogue.moves.remove(&id));
        let reason = moves::reason(catalogue, Some(departure.from));
        moves::add(
            catalogue,
            departure.partition,
            Some(departure.from),
            Some(departure.to),
            reason,
        );
    }
    moves::note_job(catalogue, now_ms, is_open);
    Answer::Planned {
        job: catalogue.rebalance.as_ref().map_or(0, |rebalance| rebalance.job),
        moves: moves::planned(catalogue),
    }
}

impl Catalogue {
    /// Whether planning departures would plan anything.
    pub fn has_departures_to_plan(&self) -> bool {
        // Where exactly is of no account here, and placing takes time.
        !to_plan(self, &Placement::default()).is_empty()
    }
}

/// The replicas that have to go, have no move that can be made, and have a place to go to.
fn to_plan(catalogue: &Catalogue, wanted: &Placement) -> Vec<Departure> {
    let mut loads = loads(catalogue);
    let mut planned: BTreeMap<PartitionId, Vec<(MemberId, MemberId)>> = BTreeMap::new();
    let mut departures = Vec::new();
    for (partition, from, instead_of) in waiting(catalogue) {
        let others = planned.entry(partition).or_default();
        let staying = staying(catalogue, partition, from, instead_of, others);
        let Some(to) = choose(catalogue, partition, &staying, wanted, &loads) else {
            continue;
        };
        others.push((from, to));
        *loads.entry(to).or_default() += 1;
        departures.push(Departure {
            partition,
            from,
            to,
            instead_of,
        });
    }
    departures
}

type Waiting = (PartitionId, MemberId, Option<u64>);

/// Replicas on departing members without a move, or with one to a member that cannot take it.
fn waiting(catalogue: &Catalogue) -> impl Iterator<Item = Waiting> {
    let departing = catalogue.members.values().filter(|member| member.is_departing());
    let places = departing.flat_map(|member| catalogue.partitions.keys().map(|partition| (*partition, member.id)));
    // A learner belongs to a move, which is given up or ends first.
    let votes = |partition: &PartitionId, from: &MemberId| {
        let replica = catalogue.replica_on(*partition, *from)?;
        let role = catalogue.partitions[partition].replicas[&replica].role;
        (role == ReplicaRole::Voter).then_some(replica)
    };
    let on_it = places.filter(move |(partition, from)| votes(partition, from).is_some());
    on_it.filter_map(|(partition, from)| {
        let mut moves = catalogue.moves.values();
        match moves.find(|row| row.partition == partition && row.from == Some(from)) {
            None => Some((partition, from, None)),
            Some(row) if row.step == MoveStep::Planned && !can_go(catalogue, row) => {
                Some((partition, from, Some(row.id)))
            }
            Some(_) => None,
        }
    })
}

/// Its target may be silent for a moment, but has not failed, and does not leave.
fn can_go(catalogue: &Catalogue, row: &Move) -> bool {
    let target = row.to.and_then(|to| catalogue.members.get(&to));
    row.to.is_none() || target.is_some_and(Member::may_be_target)
}

/// Who holds the partition, or will, when the replica that goes is not counted.
fn staying(
    catalogue: &Catalogue,
    partition: PartitionId,
    from: MemberId,
    instead_of: Option<u64>,
    planned: &[(MemberId, MemberId)],
) -> BTreeSet<MemberId> {
    let replicas = catalogue.partitions[&partition].replicas.values();
    let holders = replicas
        .filter(|replica| replica.role != ReplicaRole::Retiring)
        .map(|replica| replica.member);
    let rows = catalogue.moves.values();
    let coming = rows
        .filter(|row| row.partition == partition && Some(row.id) != instead_of)
        .filter_map(|row| row.to);
    let planned = planned.iter().map(|(_, to)| *to);
    holders
        .chain(coming)
        .chain(planned)
        .filter(|member| *member != from)
        .collect()
}

/// Replicas of each member when all open moves have ended.
fn loads(catalogue: &Catalogue) -> BTreeMap<MemberId, usize> {
    let mut loads: BTreeMap<MemberId, usize> = BTreeMap::new();
    for members in catalogue.placement().0.into_values() {
        members
            .into_iter()
            .for_each(|member| *loads.entry(member).or_default() += 1);
    }
    let planned = catalogue.moves.values().filter(|row| row.step == MoveStep::Planned);
    for to in planned.filter_map(|row| row.to) {
        *loads.entry(to).or_default() += 1;
    }
    loads
}

fn choose(
    catalogue: &Catalogue,
    partition: PartitionId,
    staying: &BTreeSet<MemberId>,
    wanted: &Placement,
    loads: &BTreeMap<MemberId, usize>,
) -> Option<MemberId> {
    let zone = |member: &MemberId| catalogue.members.get(member).map(|row| row.zone.as_str());
    // Those that are to go themselves do not keep a zone from being used.
    let remaining = || staying.iter().filter(|member| !catalogue.is_departing(**member));
    let targets = catalogue
        .members
        .values()
        .filter(|member| member.is_well() && !staying.contains(&member.id));
    let cost = |target: &&Member| {
        let crowd = remaining().filter(|member| zone(member) == Some(&target.zone)).count();
        let is_wanted = wanted.0.get(&partition).is_some_and(|set| set.contains(&target.id));
        (
            crowd,
            !is_wanted,
            loads.get(&target.id).copied().unwrap_or(0),
            target.id,
        )
    };
    targets.min_by_key(cost).map(|target| target.id)
}

impl MoveReason {
    pub(super) fn of(member: &Member) -> Self {
        match member.is_departing() {
            true if member.gone => MoveReason::Replace,
            true => MoveReason::Drain,
            false => MoveReason::Balance,
        }
    }
}
