//! The cluster: from the local catalogue, the same at every member; and what only the leader of the meta group sees.

use kotoba_state::meta::{Catalogue, Health, Member, MemberState, MoveStep, events};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{as_gauge, gauge};
use crate::gateway::status;
use crate::member::running::Running;

pub(super) fn register(registry: &mut Registry, running: &Running) {
    let catalogue = running.catalogue.get();
    members(registry, &catalogue);
    moves(registry, &catalogue);
    let replicas = running.partitions.all().len();
    gauge(
        registry,
        "local_replicas",
        "Replicas of partitions on this member",
        as_gauge(replicas),
    );
    let newest = running.meta.view().ok().and_then(|view| events::newest(&view).ok());
    let help = "Events since the founding: the position of the newest";
    registry.register("events", help, ConstCounter::new(newest.unwrap_or(0)));
    let observation = running.observed.borrow().clone();
    if let Some(observation) = observation {
        observed(registry, &status::from_leader(running, &observation));
    }
}

fn members(registry: &mut Registry, catalogue: &Catalogue) {
    let current: Vec<&Member> = catalogue
        .members
        .values()
        .filter(|member| member.state != MemberState::Removed)
        .collect();
    let count = |is: &dyn Fn(&Member) -> bool| current.iter().filter(|member| is(member)).count();
    let (total, active) = (current.len(), count(&|member| member.health == Health::Alive));
    let settings = catalogue.settings.as_ref();
    let rows = [
        ("total_nodes", "Members of the cluster", total),
        ("active_nodes", "Members that are heard from", active),
        (
            "suspected_nodes",
            "Members that are silent",
            count(&|member| member.health == Health::Suspected),
        ),
        (
            "failed_nodes",
            "Members that have been silent for too long",
            count(&|member| member.health == Health::Failed),
        ),
        (
            "joining_nodes",
            "Members that catch up before they hold replicas",
            count(&|member| member.state == MemberState::Joining),
        ),
        (
            "draining_nodes",
            "Members that are drained",
            count(&|member| member.state == MemberState::Draining),
        ),
        (
            "gone_nodes",
            "Members whose replicas are placed elsewhere, as they failed for too long",
            count(&|member| member.gone),
        ),
        (
            "meta_voters",
            "Members that vote in the meta group",
            count(&|member| member.meta_voter),
        ),
        ("partitions", "Partitions of the cluster", catalogue.partitions.len()),
        (
            "diverged_replicas",
            "Replicas whose state is not that of their group, or is damaged, and that are not mended yet",
            catalogue.diverged.len(),
        ),
        (
            "replication_factor",
            "Replicas that each partition is to have",
            settings.map_or(0, |settings| settings.replication_factor as usize),
        ),
    ];
    for (name, help, value) in rows {
        gauge(registry, name, help, as_gauge(value));
    }
    let score = if total == 0 { 0.0 } else { active as f64 / total as f64 };
    registry.register(
        "health_score",
        "Part of the members that are heard from",
        ConstGauge::new(score),
    );
}

fn moves(registry: &mut Registry, catalogue: &Catalogue) {
    let under_way = catalogue
        .moves
        .values()
        .filter(|row| row.step == MoveStep::Learning)
        .count();
    let rows = [
        (
            "moves_open",
            "Moves of replicas that have not ended",
            catalogue.moves.len(),
        ),
        ("moves_under_way", "Moves whose new replica catches up", under_way),
        (
            "balanced",
            "1 when the replicas are where placement wants them",
            usize::from(catalogue.is_balanced()),
        ),
    ];
    for (name, help, value) in rows {
        gauge(registry, name, help, as_gauge(value));
    }
    let finished = ConstCounter::new(catalogue.counters.moves_finished);
    registry.register(
        "moves_finished",
        "Moves of replicas that have ended since the founding",
        finished,
    );
}

fn observed(registry: &mut Registry, status: &kotoba_proto::v1::GetStatusResponse) {
    let replication = status.replication.clone().unwrap_or_default();
    let rows = [
        (
            "replication_healthy",
            "1 when no member has failed and every partition has all its replicas in step; at the meta leader",
            i64::from(replication.is_healthy),
        ),
        (
            "leaderless_partitions",
            "Partitions without a leader; at the meta leader",
            i64::from(replication.leaderless_partitions),
        ),
        (
            "under_replicated_partitions",
            "Partitions with fewer replicas in step than they are to have; at the meta leader",
            i64::from(replication.under_replicated_partitions),
        ),
        (
            "quorum_critical_partitions",
            "Partitions that one more loss stops; at the meta leader",
            as_gauge(replication.quorum_critical_partitions.len()),
        ),
    ];
    for (name, help, value) in rows {
        gauge(registry, name, help, value);
    }
}
