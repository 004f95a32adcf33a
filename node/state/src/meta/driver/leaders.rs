//! Leaders spread over the members: at most one is transferred per pass, and only where that makes the spread better.
//!
//! The rule remembers nothing. It cannot flap by itself, for every transfer lowers the sum of the squares of what members
//! lead; and it acts on a complete picture only, for a leader that was not seen would look like a member without work.

use std::collections::BTreeMap;

use super::{Action, LeaderView, Observed, Policy};
use crate::ids::{GroupId, MemberId, ReplicaId};
use crate::meta::catalogue::{Catalogue, Member};
use crate::meta::command::ElectedLeader;

/// A successor this close to the leader takes over in a moment; one that is further behind would have the group wait.
const CLOSE_ENTRIES: u64 = 100;
/// A successor was heard from within this time: more than a few heartbeats.
const HEARD_WITHIN_MS: u64 = 1_000;
/// A leader is left alone for so long: elections that come often are no spread to be improved on, and what was transferred
/// is not transferred again at once.
const LED_AT_LEAST_MS: u64 = 3_000;
/// A member that leads so many more than another gives one up.
const UNEVEN: usize = 2;

/// The next transfer that makes the spread of leaders better.
pub fn balance_leaders(catalogue: &Catalogue, observed: &Observed, policy: &Policy) -> Option<Action> {
    if !policy.balance_leaders || observed.len() != catalogue.partitions.len() {
        return None;
    }
    let led = led_by(observed)?;
    let count = |member: MemberId| led.get(&member).copied().unwrap_or(0);
    let transfers = observed.iter().filter_map(|(partition, view)| {
        let view = view.as_ref()?;
        if view.joint || view.led_ms < LED_AT_LEAST_MS || catalogue.move_under_way(*partition).is_some() {
            return None;
        }
        let (member, to) = successors(catalogue, view)
            .filter(|(member, _)| !policy.absent.contains(member))
            .min_by_key(|(member, replica)| (count(*member), view.lag(*replica), *member))?;
        let difference = count(view.member).checked_sub(count(member))?;
        (difference >= UNEVEN).then_some((difference, *partition, to))
    });
    let (_, partition, to) =
        transfers.max_by_key(|(difference, partition, _)| (*difference, std::cmp::Reverse(*partition)))?;
    Some(Action::TransferLeader { partition, to })
}

/// How many partitions each member leads; none where a partition's leader is not known.
fn led_by(observed: &Observed) -> Option<BTreeMap<MemberId, usize>> {
    let mut led = BTreeMap::new();
    for view in observed.values() {
        *led.entry(view.as_ref()?.member).or_default() += 1;
    }
    Some(led)
}

/// Voters that could lead in the leader's place at once, with their members.
pub(super) fn successors<'a>(
    catalogue: &'a Catalogue,
    view: &'a LeaderView,
) -> impl Iterator<Item = (MemberId, ReplicaId)> + 'a {
    let replicas = catalogue.partitions.values().flat_map(|partition| &partition.replicas);
    let voters = replicas.filter(|(replica, _)| **replica != view.replica && view.voters.contains(*replica));
    voters
        .filter(|(_, placed)| catalogue.members.get(&placed.member).is_some_and(Member::is_well))
        .filter(|(replica, _)| is_close(view, **replica))
        .map(|(replica, placed)| (placed.member, *replica))
}

fn is_close(view: &LeaderView, replica: ReplicaId) -> bool {
    let silent = view.silent_ms.get(&replica);
    let lag = view.lag(replica);
    silent.is_some_and(|silent| *silent <= HEARD_WITHIN_MS) && lag.is_some_and(|lag| lag <= CLOSE_ENTRIES)
}

/// The voter with the most of the log among those that could lead.
pub(super) fn successor(catalogue: &Catalogue, view: &LeaderView) -> Option<ReplicaId> {
    let best = successors(catalogue, view).min_by_key(|(member, replica)| (view.lag(*replica), *member));
    best.map(|(_, replica)| replica)
}

/// Leaders in newer terms than the catalogue knows of: none in a cluster at rest, so nothing is logged there.
pub fn elected_leaders(catalogue: &Catalogue, observed: &Observed, meta: &LeaderView) -> Vec<ElectedLeader> {
    let of_partitions = observed
        .iter()
        .filter_map(|(partition, view)| Some((GroupId::Partition(*partition), view.as_ref()?)));
    let seen = of_partitions.chain([(GroupId::Meta, meta)]);
    let newer = seen.filter(|(group, view)| {
        let known = catalogue.leaders.get(group).map_or(0, |leader| leader.term);
        view.term > known && catalogue.members.contains_key(&view.member)
    });
    newer
        .map(|(group, view)| ElectedLeader {
            group,
            member: view.member,
            term: view.term,
        })
        .collect()
}
