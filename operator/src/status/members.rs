//! One summary per slot. What the database cannot tell now is `Unknown`; ids that were once seen stay.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::apply::{Applied, Done, StepOutcome};
use crate::crd::{Health, KotobaClusterStatus, MemberState, MemberSummary};
use crate::observe::{Catalogue, Identity, Member, Observed};
use crate::plan::{Occupant, occupant};
use crate::validate::ValidatedCluster;

/// Characters of what an API server said that are kept.
const MAX_REFUSAL_LENGTH: usize = 250;

pub(super) fn summaries(
    cluster: &ValidatedCluster,
    observed: &Observed,
    slots: u32,
    cluster_id: Option<&str>,
) -> Vec<MemberSummary> {
    (0..slots)
        .map(|slot| summary(cluster, observed, cluster_id, slot))
        .collect()
}

fn summary(cluster: &ValidatedCluster, observed: &Observed, cluster_id: Option<&str>, slot: u32) -> MemberSummary {
    let blank = blank(cluster, observed, slot);
    match (cluster_id, observed.database.catalogue()) {
        (Some(cluster_id), Some(catalogue)) => listed(blank, cluster, observed, (cluster_id, catalogue), slot),
        (Some(_), None) | (None, _) => unlisted(blank, observed, cluster_id, slot),
    }
}

/// What Kubernetes tells of a slot.
fn blank(cluster: &ValidatedCluster, observed: &Observed, slot: u32) -> MemberSummary {
    let pod = observed.pod(slot);
    let name = cluster.name.pod(slot);
    let zone = pod.and_then(|pod| pod.zone.clone()).filter(|zone| !zone.is_empty());
    MemberSummary {
        zone: zone.or_else(|| before(&observed.recorded, &name).and_then(|summary| summary.zone.clone())),
        slot: name,
        member_id: None,
        pod_uid: pod.map(|pod| pod.uid.clone()),
        disk_id: observed
            .process(slot)
            .identity()
            .map(|identity| identity.disk_id.clone()),
        state: MemberState::Pending,
        health: Health::Unknown,
        since: None,
        resize_refused: None,
        replicas: 0,
        leaders: 0,
    }
}

/// Since when each is what it is: from the last status where it says the same.
pub(super) fn date(members: &mut [MemberSummary], before: &[MemberSummary], now: &Time) {
    for member in members {
        let is_same = |before: &&MemberSummary| {
            before.slot == member.slot && before.member_id == member.member_id && before.state == member.state
        };
        let since = before.iter().find(is_same).and_then(|before| before.since.clone());
        member.since = Some(since.unwrap_or_else(|| now.clone()));
    }
}

/// That Kubernetes does not change a pod where it runs is known as long as there is that pod.
pub(super) fn note_refusals(members: &mut [MemberSummary], before: &[MemberSummary], applied: &Applied) {
    for member in members.iter_mut().filter(|member| member.pod_uid.is_some()) {
        let same = before.iter().find(|before| before.pod_uid == member.pod_uid);
        member.resize_refused = same.and_then(|before| before.resize_refused.clone());
    }
    if let StepOutcome::Done(Done::ResizeRefused { slot, why }) = &applied.step {
        let member = usize::try_from(*slot).ok().and_then(|slot| members.get_mut(slot));
        if let Some(member) = member {
            member.resize_refused = Some(why.chars().take(MAX_REFUSAL_LENGTH).collect());
        }
    }
}

fn before<'a>(recorded: &'a KotobaClusterStatus, slot: &str) -> Option<&'a MemberSummary> {
    recorded.members.iter().find(|summary| summary.slot == slot)
}

fn listed(
    blank: MemberSummary,
    cluster: &ValidatedCluster,
    observed: &Observed,
    (cluster_id, catalogue): (&str, &Catalogue),
    slot: u32,
) -> MemberSummary {
    match occupant(&cluster.name, cluster_id, observed, catalogue, slot) {
        Occupant::Nobody(_) => blank,
        Occupant::Newcomer(_) => with_state(blank, MemberState::Unassigned),
        Occupant::Foreign(_) => with_state(blank, MemberState::Foreign),
        Occupant::Removed(member_id) => MemberSummary {
            member_id: Some(id(member_id)),
            state: MemberState::Removed,
            ..blank
        },
        Occupant::Unlisted(member_id) => MemberSummary {
            member_id: Some(id(member_id)),
            state: MemberState::Unknown,
            ..blank
        },
        Occupant::Lost(member) => MemberSummary {
            state: MemberState::Lost,
            ..of_member(blank, member)
        },
        Occupant::Unfinished(_, member) | Occupant::Member(member) => MemberSummary {
            disk_id: Some(member.disk_id.clone()),
            ..of_member(blank, member)
        },
    }
}

fn of_member(blank: MemberSummary, member: &Member) -> MemberSummary {
    MemberSummary {
        member_id: Some(id(member.id)),
        state: member.state,
        health: member.health,
        replicas: i32::try_from(member.replicas).unwrap_or(i32::MAX),
        leaders: i32::try_from(member.leaders).unwrap_or(i32::MAX),
        ..blank
    }
}

fn unlisted(blank: MemberSummary, observed: &Observed, cluster_id: Option<&str>, slot: u32) -> MemberSummary {
    let before = before(&observed.recorded, &blank.slot);
    let member_id = before.and_then(|summary| summary.member_id);
    match (observed.process(slot).identity(), member_id) {
        (Some(identity), _) => of_identity(blank, identity, cluster_id, member_id),
        (None, Some(member_id)) => MemberSummary {
            member_id: Some(member_id),
            disk_id: before.and_then(|summary| summary.disk_id.clone()),
            state: MemberState::Unknown,
            ..blank
        },
        (None, None) => blank,
    }
}

fn of_identity(
    blank: MemberSummary,
    identity: &Identity,
    cluster_id: Option<&str>,
    member_id: Option<i64>,
) -> MemberSummary {
    match &identity.membership {
        None if member_id.is_some() => MemberSummary {
            member_id,
            state: MemberState::Unknown,
            ..blank
        },
        None => with_state(blank, MemberState::Unassigned),
        Some(membership) if cluster_id != Some(membership.cluster_id.as_str()) => {
            with_state(blank, MemberState::Foreign)
        }
        Some(membership) => MemberSummary {
            member_id: Some(id(membership.member_id)),
            state: MemberState::Unknown,
            ..blank
        },
    }
}

fn with_state(blank: MemberSummary, state: MemberState) -> MemberSummary {
    MemberSummary { state, ..blank }
}

/// Ids are small numbers given in order; the API has no unsigned integers.
fn id(member_id: u64) -> i64 {
    i64::try_from(member_id).unwrap_or(i64::MAX)
}
