//! The meta group's own membership: who learns, who votes.

use std::collections::BTreeSet;

use super::LeaderView;
use crate::ids::{MemberId, ReplicaId};
use crate::meta::catalogue::{Catalogue, Health, Member, MemberState};
use crate::meta::command::Command;
use crate::placement::{Candidate, choose_voters};

/// Voters of the meta group; five from nine members on.
const META_VOTERS: usize = 3;
const META_VOTERS_LARGE: usize = 5;
const LARGE_CLUSTER: usize = 9;

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
    /// Compare-and-set: of a member that is drained.
    RemoveLearner {
        replica: ReplicaId,
        expected_membership_log_id: String,
    },
    TransferLeader {
        to: ReplicaId,
    },
}

/// The next step of the meta group's own membership, if one is needed; one at a time.
pub fn next_meta_step(catalogue: &Catalogue, meta: &LeaderView) -> Option<MetaAction> {
    if meta.joint {
        return shrink(catalogue, meta).or_else(|| finish_meta_change(catalogue, meta));
    }
    let current = catalogue
        .members
        .values()
        .filter(|member| member.state != MemberState::Removed);
    for member in current.clone() {
        if let Some(action) = take_in(catalogue, member, meta) {
            return Some(action);
        }
    }
    let change = lead_elsewhere(catalogue, meta)
        .or_else(|| replace_meta_voters(catalogue, meta))
        .or_else(|| shrink(catalogue, meta));
    if change.is_some() {
        return change;
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
fn take_in(catalogue: &Catalogue, member: &Member, meta: &LeaderView) -> Option<MetaAction> {
    let replica = member.meta_replica;
    // One that is being removed and has nothing left gets no new copy.
    if member.drain.is_some_and(|drain| drain.then_remove) && catalogue.is_empty_of(member.id) {
        return None;
    }
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

/// Asks again for an exchange of voters that a lost leader left half done, for the reason that moves have to do so.
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
                    !has_ended(catalogue, member),
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

/// Drained or removed: its vote goes to another member.
fn has_ended(catalogue: &Catalogue, member: &Member) -> bool {
    match member.state {
        MemberState::Draining => catalogue.is_empty_of(member.id),
        MemberState::Removed => true,
        MemberState::Joining | MemberState::Active => false,
    }
}

/// A leader that is drained hands over first, so that no vote has to be waited for later.
fn lead_elsewhere(catalogue: &Catalogue, meta: &LeaderView) -> Option<MetaAction> {
    let drains = |member: &Member| member.state == MemberState::Draining && member.meta_replica == meta.replica;
    catalogue.members.values().find(|member| drains(member))?;
    let could_lead = |member: &&Member| {
        let replica = member.meta_replica;
        member.is_well() && meta.voters.contains(&replica) && meta.is_in_sync(replica)
    };
    let successors = catalogue.members.values().filter(could_lead);
    let next = successors.min_by_key(|member| (meta.lag(member.meta_replica), member.id))?;
    Some(MetaAction::TransferLeader { to: next.meta_replica })
}

/// Drops the vote of a member that is drained where nobody is left who could have it, or nobody needs it: the group gets
/// smaller with its cluster. All voters that stay have to be in sync.
fn shrink(catalogue: &Catalogue, meta: &LeaderView) -> Option<MetaAction> {
    let votes = |member: &&Member| meta.voters.contains(&member.meta_replica);
    let ended = |member: &&Member| has_ended(catalogue, member) && member.meta_replica != meta.replica;
    let goes = catalogue
        .members
        .values()
        .find(|member| votes(member) && ended(member))?;
    let may_come = |member: &Member| match member.state {
        MemberState::Joining | MemberState::Active => !meta.voters.contains(&member.meta_replica),
        MemberState::Draining | MemberState::Removed => false,
    };
    let enough = meta.voters.len() > meta_voter_count(catalogue);
    if !enough && catalogue.members.values().any(may_come) {
        return None;
    }
    let staying = meta.voters.iter().copied().filter(|voter| *voter != goes.meta_replica);
    let voters: BTreeSet<ReplicaId> = staying.collect();
    (!voters.is_empty() && voters.iter().all(|voter| meta.is_in_sync(*voter))).then(|| MetaAction::ReplaceVoters {
        voters,
        expected_membership_log_id: meta.membership_log_id.clone(),
    })
}

/// Voters that are missing, have failed or are drained are replaced by members that are well, one at a time.
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
    let failed = |id: &MemberId| catalogue.members[id].health == Health::Failed;
    let ended = |id: &MemberId| has_ended(catalogue, &catalogue.members[id]);
    let mut voters = voting.iter().copied();
    let lost = voters.clone().find(failed).or_else(|| voters.find(ended));
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
