//! Events for a subscriber: read from the local replica of the meta group, page by page, as fast as the subscriber takes them.
//!
//! Every member has the same events at the same positions (`kotoba_state::meta::events`), so a client may listen at any of
//! them. Nothing is buffered for a slow one: what it has not taken when it is no longer kept is lost, and it is told so.

use kotoba_proto::error::{events_lost, status};
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::{ClusterEvent, EventKind};
use kotoba_state::ids::{GroupId, MemberId, PartitionId, ReplicaId};
use kotoba_state::meta::events::{Event, Recorded, read_after};
use kotoba_state::meta::{Diverged, Evidence, Health};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tracing::error;

use crate::raft::Group;

/// Events on their way to one subscriber.
pub const EVENTS_IN_FLIGHT: usize = 64;
/// Events read at a time: a few kilobytes.
const PAGE: usize = 256;

type Sender = mpsc::Sender<Result<ClusterEvent, Status>>;

/// Sends what comes after a position until the subscriber goes away, or is too slow, or the member ends.
pub async fn send(meta: Group, mut newest: watch::Receiver<u64>, mut after: u64, sender: Sender) {
    loop {
        newest.mark_unchanged();
        let page = match page(&meta, after).await {
            Ok(page) => page,
            // An error says that nobody listens any more.
            Err(status) => return drop(sender.send(Err(status)).await),
        };
        if page.is_empty() {
            tokio::select! {
                () = sender.closed() => return,
                changed = newest.changed() => if changed.is_err() { return },
            }
        }
        for recorded in page {
            after = recorded.position;
            if sender.send(Ok(on_the_wire(recorded))).await.is_err() {
                return;
            }
        }
    }
}

async fn page(meta: &Group, after: u64) -> Result<Vec<Recorded>, Status> {
    let unreadable = |cause: &dyn std::fmt::Display| {
        error!(%cause, "the events cannot be read");
        status(Kind::Transient, "this member cannot read the events: ask another")
    };
    let view = meta.view().map_err(|cause| unreadable(&cause))?;
    let read = tokio::task::spawn_blocking(move || read_after(&view, after, PAGE)).await;
    let read = read.map_err(|cause| unreadable(&cause))?;
    let kept = read.map_err(|cause| unreadable(&cause))?;
    kept.map_err(|not_kept| events_lost(after, not_kept.oldest))
}

/// An event in words; nothing but this file words them.
fn on_the_wire(recorded: Recorded) -> ClusterEvent {
    let Recorded {
        position,
        time_ms,
        event,
    } = recorded;
    let (kind, member, partition, message) = worded(event);
    ClusterEvent {
        kind: kind.into(),
        member_id: member.0,
        partition: partition.map(|partition| partition.0),
        message,
        time_ms,
        position,
    }
}

type Worded = (EventKind, MemberId, Option<PartitionId>, String);

fn worded(event: Event) -> Worded {
    use EventKind::*;
    let nobody = MemberId(0);
    let changed = |member: MemberId, text: &str| (ConfigChanged, member, None, format!("member {member} {text}"));
    match event {
        Event::MemberJoined { member, address } => {
            let text = format!("member {member} at {address} is active");
            (NodeJoined, member, None, text)
        }
        Event::MemberRemoved { member } => (NodeLeft, member, None, format!("member {member} is removed")),
        Event::HealthChanged { member, health } => {
            let (kind, text) = match health {
                Health::Alive => (NodeRecovered, "is heard from again"),
                Health::Suspected => (NodeSuspected, "is silent"),
                Health::Failed => (NodeFailed, "has been silent for too long"),
            };
            (kind, member, None, format!("member {member} {text}"))
        }
        Event::DrainBegun {
            member,
            then_remove: true,
        } => changed(member, "is drained, and then removed"),
        Event::DrainBegun { member, .. } => changed(member, "is drained"),
        Event::RemovalAsked { member } => changed(member, "is removed once it is drained"),
        Event::DrainCancelled { member } => changed(member, "is kept: its drain is cancelled"),
        Event::CountedAsGone { member } => {
            changed(member, "has failed for too long: its replicas are placed elsewhere")
        }
        Event::CameBack { member } => changed(member, "is back: a rebalance gives it replicas again"),
        Event::SettingsChanged => (ConfigChanged, nobody, None, "the cluster's settings changed".to_owned()),
        Event::PartitionMoved { partition, from, to } => {
            let to = to.unwrap_or(nobody);
            let from = from.map_or("nobody".to_owned(), |member| format!("member {member}"));
            let text = format!("partition {partition} moved from {from} to member {to}");
            (PartitionMoved, to, Some(partition), text)
        }
        Event::RebalanceStarted { job, moves } => {
            let text = format!("rebalance {job} moves {moves} replicas");
            (RebalanceStarted, nobody, None, text)
        }
        Event::RebalanceFinished { job, moves } => {
            let text = format!("rebalance {job} has moved {moves} replicas");
            (RebalanceFinished, nobody, None, text)
        }
        Event::LeaderElected { group, member, term } => elected(group, member, term),
        Event::ReplicaDiverged {
            replica,
            member,
            diverged,
        } => found_diverged(replica, member, diverged),
        Event::ReplicaRebuilt {
            replica,
            member,
            partition,
        } => {
            let text = format!("replica {replica} of partition {partition} on member {member} is rebuilt");
            (ConfigChanged, member, Some(partition), text)
        }
    }
}

fn found_diverged(replica: ReplicaId, member: MemberId, diverged: Diverged) -> Worded {
    let how = match diverged.evidence {
        Evidence::Scrub => "its disk gives back something else than was written",
        Evidence::Comparison => "a majority of its group has another digest",
    };
    let what_now = match diverged.to_rebuild {
        true => "it is rebuilt",
        false => "no majority of others is sound to rebuild it from",
    };
    let partition = diverged.partition;
    let text =
        format!("replica {replica} of partition {partition} on member {member} has diverged, for {how}; {what_now}");
    (EventKind::ReplicaDiverged, member, Some(partition), text)
}

fn elected(group: GroupId, member: MemberId, term: u64) -> Worded {
    let (led, partition) = match group {
        GroupId::Meta => ("the meta group".to_owned(), None),
        GroupId::Partition(partition) => (group.to_string(), Some(partition)),
    };
    let text = format!("member {member} leads {led} in term {term}");
    (EventKind::LeaderElected, member, partition, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_in_words_with_its_place_and_time() {
        let recorded = Recorded {
            position: 9,
            time_ms: 5,
            event: Event::LeaderElected {
                group: GroupId::Partition(PartitionId(3)),
                member: MemberId(2),
                term: 7,
            },
        };
        let event = on_the_wire(recorded);
        assert_eq!((event.position, event.time_ms, event.member_id), (9, 5, 2));
        assert_eq!((event.kind(), event.partition), (EventKind::LeaderElected, Some(3)));
        assert_eq!(event.message, "member 2 leads partition 3 in term 7");
    }

    #[test]
    fn each_turn_of_a_members_health_has_a_kind_of_its_own() {
        let kind = |health| {
            let member = MemberId(1);
            worded(Event::HealthChanged { member, health }).0
        };
        let kinds = [Health::Alive, Health::Suspected, Health::Failed].map(kind);
        let expected = [
            EventKind::NodeRecovered,
            EventKind::NodeSuspected,
            EventKind::NodeFailed,
        ];
        assert_eq!(kinds, expected);
    }
}
