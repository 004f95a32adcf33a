//! The cluster's status: the catalogue beside what the meta leader observes.
//!
//! The leader answers behind a read barrier; where none can be reached, the local copy is given and says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use kotoba_proto::v1::{
    self, CheckHealthResponse, ClusterStats, GetStatusResponse, LeaderStatusRequest, MemberHealth, MemberStatus,
    MoveStatus, PartitionStatus, RebalanceStatus, ReplicaStatus, ReplicationHealth,
};
use kotoba_state::ids::{MemberId, PartitionId};
use kotoba_state::meta::driver::{LeaderView, Observed, is_drained, why_member_waits, why_not_begin};
use kotoba_state::meta::{Catalogue, Health, Member, MemberState, Move, MoveStep, Partition, ReplicaRole};

use crate::catalogue::driver::Observation;
use crate::member::running::Running;
use crate::space::Mib;

/// The status, from the meta leader where it can be reached.
pub async fn gather(running: &Arc<Running>) -> GetStatusResponse {
    let mut status = match running.leader_status().await {
        Some(status) => status,
        None => match ask_leader(running).await {
            Some(status) => status,
            None => from_local(running),
        },
    };
    status.member_id = running.me.0;
    status
}

async fn ask_leader(running: &Running) -> Option<GetStatusResponse> {
    let leader = running.meta_client.leader().filter(|leader| *leader != running.me)?;
    let request = LeaderStatusRequest {
        envelope: running.peers.envelope(leader),
    };
    let answer = running.peers.client(leader).ok()?.leader_status(request).await;
    Some(answer.ok()?.into_inner())
}

/// What the leader of the meta group knows.
pub fn from_leader(running: &Running, observation: &Observation) -> GetStatusResponse {
    let leaders = leaders_of(observation);
    let meta = observation.meta_view();
    let mut status = GetStatusResponse {
        linearizable: true,
        meta_membership_log_id: observation.meta.membership_log_id.clone(),
        ..build(running, &observation.partitions, Some(&meta), &leaders)
    };
    for member in &mut status.members {
        if let Some(answer) = observation.members.get(&MemberId(member.id)) {
            member.disk_available_bytes = answer.disk_available_bytes;
            member.disk_full = answer.disk_full;
            member.data_bytes = answer.data_bytes;
        }
    }
    status
}

/// What this member knows by itself: the places from its catalogue, leaders where it has a replica.
fn from_local(running: &Running) -> GetStatusResponse {
    let mut leaders = BTreeMap::new();
    for (id, local) in running.partitions.all() {
        leaders.extend(local.group.leadership().leader.map(|(_, member)| (id, member)));
    }
    let mut status = build(running, &Observed::new(), None, &leaders);
    let room = running.space.reading();
    for member in status.members.iter_mut().filter(|member| member.id == running.me.0) {
        member.disk_available_bytes = room.available_bytes;
        member.disk_full = room.is_short();
    }
    status
}

fn leaders_of(observation: &Observation) -> BTreeMap<PartitionId, MemberId> {
    let leader = |(id, view): (&PartitionId, &Option<LeaderView>)| Some((*id, view.as_ref()?.member));
    observation.partitions.iter().filter_map(leader).collect()
}

fn build(
    running: &Running,
    observed: &Observed,
    meta: Option<&LeaderView>,
    leaders: &BTreeMap<PartitionId, MemberId>,
) -> GetStatusResponse {
    let catalogue = running.catalogue.get();
    let partitions: Vec<_> = catalogue
        .partitions
        .values()
        .map(|partition| partition_status(partition, &catalogue, observed, leaders))
        .collect();
    GetStatusResponse {
        cluster_id: running.cluster_id.clone(),
        member_id: running.me.0,
        leader_member_id: running.meta_client.leader().map_or(0, |leader| leader.0),
        membership: Some(stats(&catalogue)),
        replication: Some(replication(&catalogue, observed, &partitions)),
        members: catalogue
            .members
            .values()
            .map(|member| member_status(member, &catalogue, observed, meta, leaders))
            .collect(),
        partitions,
        moves: catalogue
            .moves
            .values()
            .map(|row| move_status(row, &catalogue, observed))
            .collect(),
        rebalance: Some(rebalance(&catalogue, observed)),
        linearizable: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        meta_membership_log_id: String::new(),
    }
}

fn member_status(
    member: &Member,
    catalogue: &Catalogue,
    observed: &Observed,
    meta: Option<&LeaderView>,
    leaders: &BTreeMap<PartitionId, MemberId>,
) -> MemberStatus {
    let waiting_for = why_member_waits(catalogue, observed, meta, member);
    MemberStatus {
        id: member.id.0,
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
        zone: member.zone.clone(),
        disk_id: member.disk_id.clone(),
        state: member_state(member.state).into(),
        health: health_of(member.health).into(),
        meta_voter: member.meta_voter,
        replicas: count(catalogue.replicas_on(member.id)),
        leaders: count(leaders.values().filter(|leader| **leader == member.id).count()),
        version: member.version.clone(),
        name: member.name.clone(),
        drained: is_drained(catalogue, observed, meta, member),
        waiting_for: waiting_for.unwrap_or_default(),
        gone: member.gone,
        // Only the member itself knows.
        disk_available_bytes: 0,
        disk_full: false,
        data_bytes: 0,
    }
}

fn partition_status(
    partition: &Partition,
    catalogue: &Catalogue,
    observed: &Observed,
    leaders: &BTreeMap<PartitionId, MemberId>,
) -> PartitionStatus {
    let view = observed.get(&partition.id).and_then(Option::as_ref);
    let replicas = partition.replicas.iter().map(|(id, replica)| ReplicaStatus {
        replica_id: id.0,
        member_id: replica.member.0,
        role: role(replica.role).into(),
        diverged: catalogue.diverged.contains_key(id),
        rebuilding: catalogue.diverged.get(id).is_some_and(|row| row.to_rebuild),
    });
    PartitionStatus {
        id: partition.id.0,
        replicas: replicas.collect(),
        leader_member_id: leaders.get(&partition.id).map_or(0, |member| member.0),
        term: view.map_or(0, |view| view.term),
        last_log_index: view.map_or(0, |view| view.last_log_index),
        voters_in_sync: view.map_or(0, |view| count(in_sync(view))),
    }
}

fn in_sync(view: &LeaderView) -> usize {
    view.voters.iter().filter(|voter| view.is_in_sync(**voter)).count()
}

fn move_status(row: &Move, catalogue: &Catalogue, observed: &Observed) -> MoveStatus {
    let view = observed.get(&row.partition).and_then(Option::as_ref);
    let lag = row.replica.and_then(|replica| view?.lag(replica));
    let step = match row.step {
        MoveStep::Planned => match why_not_begin(catalogue, row, view) {
            None => "waits for its turn".to_owned(),
            Some(reason) => format!("waits: {reason}"),
        },
        MoveStep::Learning => match lag {
            None => "starting the new replica".to_owned(),
            Some(0) => "promoting the new replica".to_owned(),
            Some(entries) => format!("catching up, {entries} entries behind"),
        },
    };
    MoveStatus {
        id: row.id,
        partition: row.partition.0,
        from_member_id: row.from.map_or(0, |member| member.0),
        to_member_id: row.to.map_or(0, |member| member.0),
        step,
        lag_entries: lag.unwrap_or(0),
    }
}

fn rebalance(catalogue: &Catalogue, observed: &Observed) -> RebalanceStatus {
    let planned: Vec<&Move> = catalogue
        .moves
        .values()
        .filter(|row| row.step == MoveStep::Planned)
        .collect();
    let waiting = planned.iter().find_map(|row| {
        let view = observed.get(&row.partition).and_then(Option::as_ref);
        why_not_begin(catalogue, row, view)
    });
    let beyond = catalogue.replacements().len();
    RebalanceStatus {
        balanced: catalogue.is_balanced(),
        moves_open: count(catalogue.moves.len()),
        moves_planned: count(if catalogue.moves.is_empty() {
            beyond
        } else {
            planned.len()
        }),
        moves_finished: catalogue.counters.moves_finished,
        waiting_for: waiting.unwrap_or_default(),
    }
}

fn stats(catalogue: &Catalogue) -> ClusterStats {
    let current: Vec<&Member> = catalogue
        .members
        .values()
        .filter(|member| member.state != MemberState::Removed)
        .collect();
    let with_health = |health: Health| count(current.iter().filter(|member| member.health == health).count());
    let settings = catalogue.settings.as_ref();
    ClusterStats {
        total_nodes: count(current.len()),
        active_nodes: with_health(Health::Alive),
        suspected_nodes: with_health(Health::Suspected),
        failed_nodes: with_health(Health::Failed),
        replication_factor: settings.map_or(0, |settings| settings.replication_factor),
        partition_count: settings.map_or(0, |settings| settings.partition_count),
    }
}

/// Judged only where the leader observes: a local copy knows of no lag, and must not call that health.
fn replication(catalogue: &Catalogue, observed: &Observed, partitions: &[PartitionStatus]) -> ReplicationHealth {
    let factor = catalogue
        .settings
        .as_ref()
        .map_or(1, |settings| settings.replication_factor as usize);
    let views: Vec<&LeaderView> = observed.values().flatten().collect();
    let under = views.iter().filter(|view| in_sync(view) < factor).count();
    let critical = observed.iter().filter_map(|(id, view)| {
        let view = view.as_ref()?;
        let majority = view.voters.len() / 2 + 1;
        (view.voters.len() > 1 && in_sync(view) <= majority).then_some(id.0)
    });
    let leaderless = partitions
        .iter()
        .filter(|partition| partition.leader_member_id == 0)
        .count();
    let failed = catalogue.members.values().filter(|member| is_failed(member)).count();
    let lags = views
        .iter()
        .flat_map(|view| view.voters.iter().filter_map(|voter| view.lag(*voter)));
    ReplicationHealth {
        is_healthy: failed == 0 && leaderless == 0 && under == 0 && !views.is_empty(),
        failed_nodes_count: count(failed),
        under_replicated_partitions: count(under),
        leaderless_partitions: count(leaderless),
        // Three voters of which two are in sync: one more loss stops the partition. All three in sync: two are needed.
        quorum_critical_partitions: critical.collect(),
        max_lag_entries: lags.max().unwrap_or(0),
    }
}

fn is_failed(member: &Member) -> bool {
    member.health == Health::Failed && member.state != MemberState::Removed
}

/// What is not well, one line each, with what to do.
pub fn health(status: &GetStatusResponse) -> CheckHealthResponse {
    let replication = status.replication.clone().unwrap_or_default();
    let mut findings = Vec::new();
    if !status.linearizable {
        findings.push("no leader of the meta group answers: are a majority of the members running?".to_owned());
    }
    for member in &status.members {
        let silent = member.health() == MemberHealth::Failed || member.health() == MemberHealth::Suspected;
        if silent && member.state() != v1::MemberState::Removed {
            findings.push(format!(
                "member {} at {} is {}: is its process running, and its network up?",
                member.id,
                member.peer_address,
                if member.health() == MemberHealth::Failed {
                    "failed"
                } else {
                    "silent"
                },
            ));
        }
        if member.disk_full {
            findings.push(format!(
                "the disk of member {} at {} is full, {} are left: make room on it or enlarge it; it takes no writes before that, and then by itself",
                member.id,
                member.peer_address,
                Mib(member.disk_available_bytes),
            ));
        }
        // A drain under way is no trouble, a member that cannot be replaced is.
        if member.state() == v1::MemberState::Active && !member.waiting_for.is_empty() {
            findings.push(format!("member {} is not replaced: {}", member.id, member.waiting_for));
        }
    }
    for partition in status
        .partitions
        .iter()
        .filter(|partition| partition.leader_member_id == 0)
    {
        findings.push(format!(
            "partition {} has no leader: start the members that hold its replicas",
            partition.id
        ));
    }
    for (partition, replica) in status
        .partitions
        .iter()
        .flat_map(|partition| partition.replicas.iter().map(move |replica| (partition.id, replica)))
        .filter(|(_, replica)| replica.diverged)
    {
        let member = replica.member_id;
        let what_now = match replica.rebuilding {
            true => "it is rebuilt from its leader; if it happens again, replace that member's disk",
            false => "no majority of others is sound to rebuild it from: save what can be read",
        };
        findings.push(format!(
            "the replica of partition {partition} on member {member} has diverged: {what_now}"
        ));
    }
    if !replication.quorum_critical_partitions.is_empty() {
        findings.push(format!(
            "{} partitions would stop with one more loss: bring the missing members back before anything else",
            replication.quorum_critical_partitions.len()
        ));
    }
    CheckHealthResponse {
        is_healthy: replication.is_healthy && status.linearizable && findings.is_empty(),
        failed_nodes_count: replication.failed_nodes_count,
        findings,
    }
}

pub fn member_state(state: MemberState) -> v1::MemberState {
    match state {
        MemberState::Joining => v1::MemberState::Joining,
        MemberState::Active => v1::MemberState::Active,
        MemberState::Draining => v1::MemberState::Draining,
        MemberState::Removed => v1::MemberState::Removed,
    }
}

fn health_of(health: Health) -> MemberHealth {
    match health {
        Health::Alive => MemberHealth::Alive,
        Health::Suspected => MemberHealth::Suspected,
        Health::Failed => MemberHealth::Failed,
    }
}

fn role(role: ReplicaRole) -> v1::ReplicaRole {
    match role {
        ReplicaRole::Learner => v1::ReplicaRole::Learner,
        ReplicaRole::Voter => v1::ReplicaRole::Voter,
        ReplicaRole::Retiring => v1::ReplicaRole::Retiring,
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
