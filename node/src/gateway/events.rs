//! Events: what changed from one catalogue to the next, and who leads the meta group.
//!
//! Every member sees every change of the catalogue, so a client may listen at any of them.

use std::sync::Arc;

use kotoba_proto::v1::{ClusterEvent, EventKind};
use kotoba_state::ids::MemberId;
use kotoba_state::meta::{Catalogue, Health, Member, MemberState, Move};
use tokio_util::sync::CancellationToken;

use crate::member::running::Running;

/// Publishes events until cancelled.
pub async fn follow(running: Arc<Running>, cancel: CancellationToken) {
    let mut changes = running.catalogue.watch();
    let mut leadership = running.meta.watch_leadership();
    let mut before = changes.borrow_and_update().clone();
    let mut leader = None;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = changes.changed() => {
                if changed.is_err() { return }
                let after = changes.borrow_and_update().clone();
                for event in differences(&before, &after) {
                    publish(&running, event);
                }
                before = after;
            }
            changed = leadership.changed() => {
                if changed.is_err() { return }
                let now = leadership.borrow_and_update().leader.map(|(_, member)| member);
                if let Some(member) = now.filter(|_| now != leader) {
                    let text = format!("member {member} leads the meta group");
                    publish(&running, event(EventKind::LeaderElected, member, text));
                }
                leader = now.or(leader);
            }
        }
    }
}

fn publish(running: &Running, mut event: ClusterEvent) {
    event.time_ms = running.clock.now_ms();
    // An error says that nobody listens.
    let _ = running.events.send(event);
}

fn event(kind: EventKind, member: MemberId, message: String) -> ClusterEvent {
    ClusterEvent {
        kind: kind.into(),
        member_id: member.0,
        partition: None,
        message,
        time_ms: 0,
    }
}

/// The events between two catalogues, members first, then partitions, then jobs.
fn differences(before: &Catalogue, after: &Catalogue) -> Vec<ClusterEvent> {
    let mut events = Vec::new();
    for member in after.members.values() {
        events.extend(of_member(before.members.get(&member.id), member));
    }
    for row in before.moves.values().filter(|row| !after.moves.contains_key(&row.id)) {
        events.extend(of_ended_move(row, after));
    }
    if before.settings.is_some() && before.settings != after.settings {
        events.push(event(
            EventKind::ConfigChanged,
            MemberId(0),
            "the cluster's settings changed".to_owned(),
        ));
    }
    let (old_job, job) = (before.rebalance.as_ref(), after.rebalance.as_ref());
    if let Some(job) = job.filter(|job| old_job.map(|old| old.job) != Some(job.job)) {
        let text = format!("rebalance {} moves {} replicas", job.job, job.moves_planned);
        events.push(event(EventKind::RebalanceStarted, MemberId(0), text));
    }
    if let Some(job) = job.filter(|_| !before.moves.is_empty() && after.moves.is_empty()) {
        let text = format!("rebalance {} has moved {} replicas", job.job, job.moves_finished);
        events.push(event(EventKind::RebalanceFinished, MemberId(0), text));
    }
    events
}

fn of_member(before: Option<&Member>, after: &Member) -> Vec<ClusterEvent> {
    let mut events = Vec::new();
    let id = after.id;
    let state = before.map(|member| member.state);
    let was_in = matches!(state, Some(MemberState::Active | MemberState::Draining));
    if after.state == MemberState::Active && !was_in {
        events.push(event(
            EventKind::NodeJoined,
            id,
            format!("member {id} at {} is active", after.peer_address),
        ));
    }
    if after.state == MemberState::Removed && state != Some(MemberState::Removed) {
        events.push(event(EventKind::NodeLeft, id, format!("member {id} is removed")));
    }
    if let Some(text) = before.and_then(|before| change_of_plan(before, after)) {
        events.push(event(EventKind::ConfigChanged, id, text));
    }
    let health = before.map_or(Health::Alive, |member| member.health);
    if health != after.health {
        let (kind, text) = match after.health {
            Health::Alive => (EventKind::NodeRecovered, "is heard from again"),
            Health::Suspected => (EventKind::NodeSuspected, "is silent"),
            Health::Failed => (EventKind::NodeFailed, "has been silent for too long"),
        };
        events.push(event(kind, id, format!("member {id} {text}")));
    }
    events
}

/// Drains that begin or are cancelled, and members that count as gone or no longer do.
fn change_of_plan(before: &Member, after: &Member) -> Option<String> {
    let id = after.id;
    match (before.drain, after.drain) {
        (None, Some(drain)) if drain.then_remove => return Some(format!("member {id} is drained, and then removed")),
        (None, Some(_)) => return Some(format!("member {id} is drained")),
        (Some(old), Some(new)) if new.then_remove && !old.then_remove => {
            return Some(format!("member {id} is removed once it is drained"));
        }
        (Some(_), None) if after.state != MemberState::Removed => {
            return Some(format!("the drain of member {id} is cancelled"));
        }
        (Some(_), _) | (None, None) => {}
    }
    match (before.gone, after.gone) {
        (false, true) => Some(format!(
            "member {id} has failed for too long: its replicas are placed elsewhere"
        )),
        (true, false) if after.state == MemberState::Active => {
            Some(format!("member {id} is back: a rebalance gives it replicas again"))
        }
        (true, _) | (false, false) => None,
    }
}

/// A move that ended with its new replica in place; one that was dropped before it began is no event.
fn of_ended_move(row: &Move, after: &Catalogue) -> Option<ClusterEvent> {
    let replica = row.replica?;
    let partition = after.partitions.get(&row.partition)?;
    partition.replicas.contains_key(&replica).then(|| {
        let to = row.to.unwrap_or_default();
        let from = row
            .from
            .map_or("nobody".to_owned(), |member| format!("member {member}"));
        let text = format!("partition {} moved from {from} to member {to}", row.partition);
        ClusterEvent {
            partition: Some(row.partition.0),
            ..event(EventKind::PartitionMoved, to, text)
        }
    })
}

#[cfg(test)]
mod tests {
    use kotoba_state::ids::ReplicaId;
    use kotoba_state::meta::Rebalance;

    use super::*;

    fn member(id: u64, state: MemberState, health: Health) -> Member {
        Member {
            id: MemberId(id),
            disk_id: String::new(),
            peer_address: "m:7600".to_owned(),
            client_address: String::new(),
            zone: String::new(),
            name: String::new(),
            version: String::new(),
            state,
            health,
            health_since_ms: 0,
            meta_replica: ReplicaId(id),
            meta_voter: true,
            drain: None,
            gone: false,
        }
    }

    fn with(members: Vec<Member>) -> Catalogue {
        Catalogue {
            members: members.into_iter().map(|member| (member.id, member)).collect(),
            ..Catalogue::default()
        }
    }

    fn kinds(before: &Catalogue, after: &Catalogue) -> Vec<EventKind> {
        differences(before, after).iter().map(ClusterEvent::kind).collect()
    }

    #[test]
    fn a_member_joins_when_it_is_active_and_not_before() {
        let joining = with(vec![member(1, MemberState::Joining, Health::Alive)]);
        let active = with(vec![member(1, MemberState::Active, Health::Alive)]);
        assert_eq!(kinds(&Catalogue::default(), &joining), []);
        assert_eq!(kinds(&joining, &active), [EventKind::NodeJoined]);
        assert_eq!(kinds(&active, &active), []);
    }

    #[test]
    fn a_drain_is_told_from_its_start_to_its_end() {
        let draining = |then_remove| {
            let drain = kotoba_state::meta::Drain {
                number: 1,
                then_remove,
                before: MemberState::Active,
            };
            let mut row = member(1, MemberState::Draining, Health::Alive);
            row.drain = Some(drain);
            with(vec![row])
        };
        let active = with(vec![member(1, MemberState::Active, Health::Alive)]);
        let removed = with(vec![member(1, MemberState::Removed, Health::Alive)]);
        let changed = [EventKind::ConfigChanged];
        assert_eq!(kinds(&active, &draining(false)), changed);
        assert_eq!(kinds(&draining(false), &active), changed);
        assert_eq!(kinds(&draining(false), &draining(true)), changed);
        assert_eq!(kinds(&draining(true), &draining(true)), []);
        assert_eq!(kinds(&draining(true), &removed), [EventKind::NodeLeft]);
    }

    #[test]
    fn health_is_told_at_each_turn() {
        let with_health = |health| with(vec![member(1, MemberState::Active, health)]);
        let (alive, suspected, failed) = (Health::Alive, Health::Suspected, Health::Failed);
        let turn = |a, b| kinds(&with_health(a), &with_health(b));
        assert_eq!(turn(alive, suspected), [EventKind::NodeSuspected]);
        assert_eq!(turn(suspected, failed), [EventKind::NodeFailed]);
        assert_eq!(turn(failed, alive), [EventKind::NodeRecovered]);
    }

    #[test]
    fn a_rebalance_is_told_from_its_start_to_its_end() {
        let row = Move {
            id: 1,
            partition: kotoba_state::ids::PartitionId(0),
            from: Some(MemberId(1)),
            to: Some(MemberId(2)),
            replica: None,
            step: kotoba_state::meta::MoveStep::Planned,
            reason: kotoba_state::meta::MoveReason::Balance,
        };
        let running = Catalogue {
            moves: [(1, row)].into(),
            rebalance: Some(Rebalance {
                job: 1,
                started_at_ms: 0,
                moves_planned: 1,
                moves_finished: 0,
            }),
            ..Catalogue::default()
        };
        let finished = Catalogue {
            moves: Default::default(),
            ..running.clone()
        };
        assert_eq!(kinds(&Catalogue::default(), &running), [EventKind::RebalanceStarted]);
        assert_eq!(kinds(&running, &finished), [EventKind::RebalanceFinished]);
    }
}
