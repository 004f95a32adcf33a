//! The rules by which the meta leader drives foundings, moves and the meta group's own membership.
//!
//! Pure and without memory: from the catalogue and one observation to actions with no choice left. After a crash of
//! anyone the next leader decides the same from what it sees. A move goes learner, caught up, one joint change that
//! promotes the new replica and drops the old one, and only then retires the old one.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Catalogue, Founding, Health, Member, MemberState, Move, MoveStep, ReplicaRole};
use super::command::Command;
use crate::ids::{MemberId, PartitionId, ReplicaId};
use crate::placement::{Candidate, choose_voters};

/// A replica this close to its leader has caught up.
pub const CAUGHT_UP_ENTRIES: u64 = 1_000;
/// A voter that the leader has not heard from for this long is not counted on.
pub const IN_SYNC_WITHIN_MS: u64 = 3_000;
/// Voters of the meta group; five from nine members on.
const META_VOTERS: usize = 3;
const META_VOTERS_LARGE: usize = 5;
const LARGE_CLUSTER: usize = 9;

/// What a group's leader says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderView {
    pub member: MemberId,
    pub replica: ReplicaId,
    pub term: u64,
    /// While a joint change is under way: of both its sets.
    pub voters: BTreeSet<ReplicaId>,
    pub learners: BTreeSet<ReplicaId>,
    /// A joint change, or an uncommitted one, is under way.
    pub joint: bool,
    pub last_log_index: u64,
    pub membership_log_id: String,
    /// Log index that each other replica has on disk.
    pub matched: BTreeMap<ReplicaId, u64>,
    /// Milliseconds since each other replica was last heard from.
    pub silent_ms: BTreeMap<ReplicaId, u64>,
}

/// The leaders' views; `None` where no leader answered.
pub type Observed = BTreeMap<PartitionId, Option<LeaderView>>;

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

/// A step of the meta group's own membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaAction {
    Propose(Command),
    AddLearner {
        replica: ReplicaId,
        member: MemberId,
    },
    ReplaceVoters {
        voters: BTreeSet<ReplicaId>,
        expected_membership_log_id: String,
    },
}

impl LeaderView {
    /// Entries that a replica has yet to get; none where the leader has not heard of its progress.
    pub fn lag(&self, replica: ReplicaId) -> Option<u64> {
        match replica == self.replica {
            true => Some(0),
            false => self
                .matched
                .get(&replica)
                .map(|matched| self.last_log_index.saturating_sub(*matched)),
        }
    }

    /// Caught up, and heard from a moment ago.
    pub fn is_in_sync(&self, replica: ReplicaId) -> bool {
        let heard = replica == self.replica
            || self
                .silent_ms
                .get(&replica)
                .is_some_and(|silent| *silent <= IN_SYNC_WITHIN_MS);
        heard && self.lag(replica).is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES)
    }

    fn voter_out_of_sync(&self, except: Option<ReplicaId>) -> Option<ReplicaId> {
        self.voters
            .iter()
            .copied()
            .find(|voter| Some(*voter) != except && !self.is_in_sync(*voter))
    }
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
    for row in moves_at(catalogue, MoveStep::Planned) {
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
    // The one that goes may be the one that lags: then the move is the repair.
    let old = row.from.and_then(|member| catalogue.replica_on(row.partition, member));
    if let Some(voter) = view.voter_out_of_sync(old) {
        return Some(format!("replica {voter} of partition {} is not in sync", row.partition));
    }
    let holds = |member: MemberId| {
        let partition = catalogue.partitions.get(&row.partition);
        partition.is_some_and(|partition| partition.replicas.values().any(|replica| replica.member == member))
    };
    match row.to.and_then(|to| catalogue.members.get(&to)) {
        Some(target) if target.health != Health::Alive => Some(format!("member {} is not heard from", target.id)),
        Some(target) if holds(target.id) => Some(format!(
            "member {} still deletes an older replica of partition {}",
            target.id, row.partition
        )),
        Some(_) | None => None,
    }
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
        return promote(row, view, old);
    };
    let target = catalogue.members.get(&member);
    if !view.voters.contains(&replica) && target.is_none_or(|target| target.health == Health::Failed) {
        return give_up(row, view, replica);
    }
    teach(row, view, replica, member).unwrap_or_else(|| promote(row, view, old))
}

/// A target that has failed does not keep one of the few moves that may be under way: the group drops the new replica, and
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
fn promote(row: &Move, view: &LeaderView, old: Option<ReplicaId>) -> Action {
    if let Some(lagging) = view.voter_out_of_sync(old) {
        let reason = format!("replica {lagging} of partition {} is not in sync", row.partition);
        return Action::Wait { id: row.id, reason };
    }
    let successor = || {
        view.voters
            .iter()
            .copied()
            .filter(|voter| Some(*voter) != old)
            .max_by_key(|voter| view.matched.get(voter))
    };
    if old == Some(view.replica)
        && let Some(to) = successor()
    {
        return Action::TransferLeader {
            partition: row.partition,
            to,
        };
    }
    replace_voters(row, view, old)
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

/// The next step of the meta group's own membership, if one is needed; one at a time.
pub fn next_meta_step(catalogue: &Catalogue, meta: &LeaderView) -> Option<MetaAction> {
    if meta.joint {
        return finish_meta_change(catalogue, meta);
    }
    let current = catalogue
        .members
        .values()
        .filter(|member| member.state != MemberState::Removed);
    for member in current.clone() {
        if let Some(action) = take_in(member, meta) {
            return Some(action);
        }
    }
    if let Some(action) = replace_meta_voters(catalogue, meta) {
        return Some(action);
    }
    current
        .into_iter()
        .find(|member| member.meta_voter != meta.voters.contains(&member.meta_replica))
        .map(|member| {
            MetaAction::Propose(Command::SetMetaVoter {
                member: member.id,
                voter: !member.meta_voter,
            })
        })
}

/// A member gets the catalogue first, and is active once it has it.
fn take_in(member: &Member, meta: &LeaderView) -> Option<MetaAction> {
    let replica = member.meta_replica;
    if !meta.voters.contains(&replica) && !meta.learners.contains(&replica) {
        return Some(MetaAction::AddLearner {
            replica,
            member: member.id,
        });
    }
    (member.state == MemberState::Joining && meta.is_in_sync(replica))
        .then_some(MetaAction::Propose(Command::ActivateMember { member: member.id }))
}

fn meta_voter_count(catalogue: &Catalogue) -> usize {
    let active = catalogue
        .members
        .values()
        .filter(|member| member.state == MemberState::Active)
        .count();
    if active >= LARGE_CLUSTER {
        META_VOTERS_LARGE
    } else {
        META_VOTERS
    }
}

/// Asks again for an exchange of voters that a lost leader left half done; see [`finish_change`].
///
/// The catalogue still names the voters of before, and an exchange drops at most one of them.
fn finish_meta_change(catalogue: &Catalogue, meta: &LeaderView) -> Option<MetaAction> {
    let before = || catalogue.members.values().filter(|member| member.meta_voter);
    let old: BTreeSet<ReplicaId> = before().map(|member| member.meta_replica).collect();
    if meta.voters.is_subset(&old) {
        return None;
    }
    let mut voters = meta.voters.clone();
    if voters.len() > meta_voter_count(catalogue) {
        let lost = before()
            .filter(|member| member.meta_replica != meta.replica)
            .min_by_key(|member| {
                (
                    member.health != Health::Failed,
                    meta.is_in_sync(member.meta_replica),
                    member.id,
                )
            });
        lost.inspect(|member| {
            voters.remove(&member.meta_replica);
        });
    }
    Some(MetaAction::ReplaceVoters {
        voters,
        expected_membership_log_id: meta.membership_log_id.clone(),
    })
}

/// Voters that are missing or have failed are replaced by members that are well, one at a time.
fn replace_meta_voters(catalogue: &Catalogue, meta: &LeaderView) -> Option<MetaAction> {
    let well = |member: &&Member| {
        member.state == MemberState::Active && member.health == Health::Alive && meta.is_in_sync(member.meta_replica)
    };
    let count = meta_voter_count(catalogue);
    let candidates: Vec<Candidate> = catalogue
        .members
        .values()
        .filter(well)
        .map(|member| Candidate {
            id: member.id,
            zone: member.zone.clone(),
        })
        .collect();
    let replica_of = |member: &MemberId| catalogue.members[member].meta_replica;
    let is_voter = |member: &&Member| meta.voters.contains(&member.meta_replica);
    let voting: BTreeSet<MemberId> = catalogue
        .members
        .values()
        .filter(is_voter)
        .map(|member| member.id)
        .collect();
    let lost: Option<MemberId> = voting.iter().copied().find(|id| {
        let member = &catalogue.members[id];
        member.health == Health::Failed || member.state == MemberState::Removed
    });
    let wanted = choose_voters(&candidates, &voting, count);
    let coming = wanted.difference(&voting).next()?;
    // A voter is only ever exchanged for a well one, so that the number in sync never falls.
    if lost.is_none() && voting.len() >= count {
        return None;
    }
    let staying = voting.iter().filter(|id| Some(**id) != lost).map(replica_of);
    Some(MetaAction::ReplaceVoters {
        voters: staying.chain([replica_of(coming)]).collect(),
        expected_membership_log_id: meta.membership_log_id.clone(),
    })
}
