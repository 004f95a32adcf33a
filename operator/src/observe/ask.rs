//! Asks the processes who they are and one member how the database is, and turns the wire's answers into ours.

use futures::StreamExt;
use kotoba_proto::v1;

use super::{Catalogue, Database, Identity, Member, Membership, Observed, Process, Rebalance, RemovedMember};
use crate::admin::{Admin, Target};
use crate::crd::{Health, MemberState};
use crate::names::ClusterName;

/// Processes of one cluster that are asked at the same time.
const ASKED_AT_ONCE: usize = 8;
/// Members that are tried for a status. One that is cut off from the majority answers from its own copy; more than
/// a few of those say that there is no majority.
const MAX_STATUS_TRIES: usize = 3;

/// Fills in what the processes and the database say.
pub async fn ask_database(admin: &Admin, name: &ClusterName, mut observed: Observed) -> Observed {
    ask_processes(admin, name, &mut observed).await;
    observed.database = match observed.recorded.cluster_id.clone() {
        None => Database::NotAsked,
        Some(cluster_id) => ask_status(admin, name, &observed, &cluster_id).await,
    };
    observed
}

async fn ask_processes(admin: &Admin, name: &ClusterName, observed: &mut Observed) {
    let slots: Vec<u32> = observed.slots.keys().copied().collect();
    let seen: &Observed = observed;
    let asking = slots.into_iter().map(|slot| async move {
        let process = match target(name, seen, slot) {
            Err(process) => process,
            Ok(target) => match admin.who_am_i(&target).await {
                Ok(answer) => process(name, slot, answer),
                Err(error) => Process::Silent(error.to_string()),
            },
        };
        (slot, process)
    });
    let answers: Vec<(u32, Process)> = futures::stream::iter(asking)
        .buffer_unordered(ASKED_AT_ONCE)
        .collect()
        .await;
    for (slot, process) in answers {
        if let Some(seen) = observed.slots.get_mut(&slot) {
            seen.process = process;
        }
    }
}

/// Where the process in a slot is called; or what is to be said of it without a call.
pub fn target(name: &ClusterName, observed: &Observed, slot: u32) -> Result<Target, Process> {
    let Some(pod) = observed.pod(slot) else {
        return Err(Process::NoPod);
    };
    let Some(ip) = &pod.ip else {
        let why = pod.trouble.clone().unwrap_or_else(|| "has no address yet".to_owned());
        return Err(Process::Silent(why));
    };
    Ok(Target {
        namespace: name.namespace.clone(),
        pod: name.pod(slot),
        ip: ip.clone(),
    })
}

/// Checks that the right pod answered: its IP may have been given to another one since it was read
/// (FoundationDB/fdb-kubernetes-operator#1912 lost data by believing a stale address).
fn process(name: &ClusterName, slot: u32, answer: v1::WhoAmIResponse) -> Process {
    if answer.peer_address != name.peer_address(slot) {
        return Process::Silent(format!("its address answers as {:?}", answer.peer_address));
    }
    let membership = match answer.assignment() {
        v1::Assignment::Assigned => Some(Membership {
            cluster_id: answer.cluster_id,
            member_id: answer.member_id,
        }),
        v1::Assignment::Unassigned => None,
        v1::Assignment::Unspecified => {
            return Process::Silent("answers in a form that this operator does not know: upgrade it".to_owned());
        }
    };
    Process::Answered(Identity {
        disk_id: answer.disk_id,
        membership,
        ready: answer.ready,
        version: answer.version,
    })
}

async fn ask_status(admin: &Admin, name: &ClusterName, observed: &Observed, cluster_id: &str) -> Database {
    let mut members: Vec<(u32, bool)> = observed
        .identities()
        .filter(|(_, identity)| identity.belongs_to(cluster_id))
        .map(|(slot, identity)| (slot, identity.ready))
        .collect();
    members.sort_by_key(|(slot, ready)| (!ready, *slot));
    let mut found = Database::NotAsked;
    for (slot, _) in members.into_iter().take(MAX_STATUS_TRIES) {
        let Ok(target) = target(name, observed, slot) else {
            continue;
        };
        match (admin.get_status(&target).await, &found) {
            (Ok(answer), _) if answer.cluster_id == cluster_id => {
                let catalogue = catalogue(slot, answer);
                if catalogue.linearizable {
                    return Database::Answered(catalogue);
                }
                found = Database::Answered(catalogue);
            }
            (_, Database::Answered(_)) => {}
            (Ok(answer), _) => {
                found = Database::Silent(format!("{} answers for cluster {:?}", target.pod, answer.cluster_id));
            }
            (Err(error), _) => found = Database::Silent(error.to_string()),
        }
    }
    found
}

fn catalogue(slot: u32, answer: v1::GetStatusResponse) -> Catalogue {
    let replication = answer.replication.unwrap_or_default();
    let stats = answer.membership.unwrap_or_default();
    let rebalance = answer.rebalance.unwrap_or_default();
    let is_removed = |listed: &&v1::MemberStatus| listed.state() == v1::MemberState::Removed;
    let removed = answer.members.iter().filter(is_removed).map(|listed| RemovedMember {
        id: listed.id,
        disk_id: listed.disk_id.clone(),
    });
    Catalogue {
        removed: removed.collect(),
        replication_factor: stats.replication_factor,
        answered_by: slot,
        cluster_id: answer.cluster_id,
        linearizable: answer.linearizable,
        leader_member_id: (answer.leader_member_id != 0).then_some(answer.leader_member_id),
        members: answer.members.into_iter().filter_map(member).collect(),
        partitions: stats.partition_count,
        under_replicated: replication.under_replicated_partitions,
        leaderless: replication.leaderless_partitions,
        quorum_critical: replication.quorum_critical_partitions,
        rebalance: Rebalance {
            balanced: rebalance.balanced,
            moves_open: rebalance.moves_open,
            moves_planned: rebalance.moves_planned,
            moves_finished: rebalance.moves_finished,
            waiting_for: rebalance.waiting_for,
        },
    }
}

/// A member as listed; none for one that is no member any more.
fn member(listed: v1::MemberStatus) -> Option<Member> {
    let state = match listed.state() {
        v1::MemberState::Joining => MemberState::Joining,
        v1::MemberState::Active => MemberState::Active,
        v1::MemberState::Draining => MemberState::Draining,
        v1::MemberState::Unspecified => MemberState::Unknown,
        v1::MemberState::Removed => return None,
    };
    let health = match listed.health() {
        v1::MemberHealth::Alive => Health::Alive,
        v1::MemberHealth::Suspected => Health::Suspected,
        v1::MemberHealth::Failed => Health::Failed,
        v1::MemberHealth::Unspecified => Health::Unknown,
    };
    Some(Member {
        id: listed.id,
        name: listed.name,
        disk_id: listed.disk_id,
        state,
        health,
        zone: listed.zone,
        replicas: listed.replicas,
        leaders: listed.leaders,
        drained: listed.drained,
        waiting_for: listed.waiting_for,
        disk_full: listed.disk_full,
        data_bytes: listed.data_bytes,
        room_bytes: listed.disk_available_bytes,
    })
}
