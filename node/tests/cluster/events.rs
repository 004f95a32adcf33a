//! Events: what a client that listens at one member is told of the whole cluster.

use std::sync::{Arc, Mutex};

use kotoba_proto::v1::{ClusterEvent, EventKind};
use kotoba_proto::{ClusterError, KotobaCluster};
use kotoba_state::ids::{GroupId, MemberId, PartitionId};
use kotoba_state::meta::events::{KEPT_EVENTS, newest};
use kotoba_state::meta::{Answer, Command, ElectedLeader};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, PARTITIONS};
use crate::settings::Pace;
use crate::wait::{PATIENCE, ensure, run, until};

/// A client that listens until it is dropped.
struct Listener {
    heard: Arc<Mutex<Vec<ClusterEvent>>>,
    task: JoinHandle<()>,
}

impl Listener {
    async fn at(client: &KotobaCluster) -> Self {
        let mut events = client.subscribe_events().await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let notes = heard.clone();
        let task = tokio::spawn(async move {
            while let Ok(event) = events.next().await {
                notes.lock().unwrap().push(event);
            }
        });
        Listener { heard, task }
    }

    /// Waits until these were heard in this order, with any others between them.
    async fn hears(&self, wanted: &[(EventKind, Option<u64>)]) {
        until("events in order", || async {
            let heard = self.heard();
            let mut rest = heard.iter();
            let all = wanted.iter().all(|(kind, member)| {
                rest.any(|event| event.kind() == *kind && member.is_none_or(|member| event.member_id == member))
            });
            if all { Ok(()) } else { Err(heard) }
        })
        .await;
    }

    fn heard(&self) -> Vec<ClusterEvent> {
        self.heard.lock().unwrap().clone()
    }

    fn count(&self, kind: EventKind) -> usize {
        self.heard().iter().filter(|event| event.kind() == kind).count()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[test]
fn a_listener_hears_of_a_member_that_joins_and_of_every_replica_that_moves() {
    run(async {
        let mut cluster = Cluster::with(Pace::default(), 3, 2 * PARTITIONS).await;
        let listeners = [
            Listener::at(&cluster.client_of(1)).await,
            Listener::at(&cluster.client_of(3)).await,
        ];
        let number = cluster.add().await;
        cluster.join(number, 2).await.unwrap();
        listeners[0].hears(&[(EventKind::NodeJoined, Some(number))]).await;
        let moves = cluster.rebalance(2).await;
        assert!(moves > 0);
        for listener in &listeners {
            listener
                .hears(&[
                    (EventKind::NodeJoined, Some(number)),
                    (EventKind::RebalanceStarted, None),
                    (EventKind::PartitionMoved, Some(number)),
                    (EventKind::RebalanceFinished, None),
                ])
                .await;
            assert_eq!(listener.count(EventKind::PartitionMoved), moves);
            assert_eq!(listener.count(EventKind::NodeJoined), 1);
            assert_eq!(listener.count(EventKind::RebalanceStarted), 1);
            assert_eq!(listener.count(EventKind::RebalanceFinished), 1);
        }
    });
}

#[test]
fn a_listener_hears_when_a_member_falls_silent_fails_and_returns() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_quick_detection(), 3, PARTITIONS).await;
        let leader = cluster.meta_leader().await;
        let (silent, listening) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let listener = Listener::at(&cluster.client_of(listening)).await;
        cluster.crash(silent).await;
        let fails = [
            (EventKind::NodeSuspected, Some(silent)),
            (EventKind::NodeFailed, Some(silent)),
        ];
        listener.hears(&fails).await;
        let health = cluster.client_of(listening).check_health().await.unwrap();
        assert!(!health.is_healthy);
        assert_eq!(health.failed_nodes_count, 1);
        cluster.start(silent).await;
        listener
            .hears(&[fails[0], fails[1], (EventKind::NodeRecovered, Some(silent))])
            .await;
        until("a healthy cluster", || async {
            let health = cluster.client_of(listening).check_health().await.unwrap();
            if health.is_healthy { Ok(()) } else { Err(health) }
        })
        .await;
    });
}

#[test]
fn a_listener_hears_who_leads_after_the_meta_leader_is_lost() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_quick_detection(), 3, PARTITIONS).await;
        let leader = cluster.meta_leader().await;
        let listening = leader % 3 + 1;
        let listener = Listener::at(&cluster.client_of(listening)).await;
        cluster.crash(leader).await;
        let next = cluster.meta_leader().await;
        let wanted = [
            (EventKind::LeaderElected, Some(next)),
            (EventKind::NodeSuspected, Some(leader)),
            (EventKind::NodeFailed, Some(leader)),
        ];
        listener.hears(&wanted).await;
    });
}

#[test]
fn a_listener_hears_who_leads_a_partition_after_its_leader_is_killed() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_quick_detection(), 3, PARTITIONS).await;
        let leader = cluster.meta_leader().await;
        let status = cluster
            .status_where("leaders", |status| {
                status.partitions.iter().all(|row| row.leader_member_id != 0)
            })
            .await;
        let mut rows = status.partitions.iter();
        let row = rows.find(|row| row.leader_member_id != leader).unwrap();
        let (partition, lost) = (row.id, row.leader_member_id);
        let listener = Listener::at(&cluster.client_of(leader)).await;
        cluster.crash(lost).await;
        let elected =
            |event: &ClusterEvent| event.kind() == EventKind::LeaderElected && event.partition == Some(partition);
        until("an election told", || async {
            let heard = listener.heard();
            let next = heard.iter().find(|event| elected(event)).map(|event| event.member_id);
            ensure(next.is_some_and(|next| next != lost), || format!("{heard:?}"))
        })
        .await;
    });
}

/// All that one member still knows, up to a position.
async fn known(client: &KotobaCluster, last: u64) -> Vec<ClusterEvent> {
    let mut events = client.subscribe_events_after(0).await.unwrap();
    let mut known: Vec<ClusterEvent> = Vec::new();
    while known.last().is_none_or(|event| event.position < last) {
        known.push(events.next().await.unwrap());
    }
    known
}

#[test]
fn a_listener_that_outlives_every_member_misses_no_event_and_hears_none_twice() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_quick_detection(), 3, PARTITIONS).await;
        let listener = Listener::at(&cluster.client()).await;
        for number in 1..=3 {
            cluster.crash(number).await;
            let failed = (EventKind::NodeFailed, Some(number));
            listener.hears(&[failed]).await;
            cluster.start(number).await;
            listener
                .hears(&[failed, (EventKind::NodeRecovered, Some(number))])
                .await;
        }
        let heard = listener.heard();
        let (first, last) = (heard[0].position, heard.last().unwrap().position);
        assert!(heard.iter().map(|event| event.position).eq(first..=last), "{heard:?}");
        for number in 1..=3 {
            let known = known(&cluster.client_of(number), last).await;
            assert!(known.iter().map(|event| event.position).eq(1..=last), "{known:?}");
            assert_eq!(known[first as usize - 1..], heard, "member {number} tells it otherwise");
            assert!(known.iter().all(|event| event.time_ms > 0));
        }
    });
}

/// Far more groups than the other tests have, so that one command brings many events.
const MANY_PARTITIONS: u32 = 64;

/// Elections that never were, told as fast as the meta group takes them.
async fn tell(cluster: &Cluster, times: u64) {
    let running = cluster.running(1);
    let groups = (0..MANY_PARTITIONS).map(|number| GroupId::Partition(PartitionId(number)));
    for term in 1_000..1_000 + times {
        let leader = |group| ElectedLeader {
            group,
            member: MemberId(1),
            term,
        };
        let leaders = groups.clone().map(leader).collect();
        let answer = running
            .meta_client
            .propose(&Command::NoteLeaders { leaders }, PATIENCE)
            .await;
        assert_eq!(answer.unwrap(), Answer::Done);
    }
}

#[test]
fn a_listener_that_is_too_slow_is_told_what_it_lost_and_hears_the_rest() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 1, MANY_PARTITIONS).await;
        let client = cluster.client_of(1);
        let mut slow = client.subscribe_events_after(0).await.unwrap();
        assert_eq!(slow.next().await.unwrap().position, 1);
        // More than is kept, and than a connection holds on the way.
        tell(&cluster, 1_000).await;
        let newest = newest(&cluster.running(1).meta.view().unwrap()).unwrap();
        let oldest = newest - KEPT_EVENTS + 1;
        let mut last = 1;
        let error = loop {
            match slow.next().await {
                Ok(event) => assert_eq!(event.position, std::mem::replace(&mut last, event.position) + 1),
                Err(error) => break error,
            }
        };
        assert_eq!(error, ClusterError::EventsLost { oldest });
        assert!(last + 1 < oldest, "nothing was lost: {last}");
        for position in oldest..=newest {
            assert_eq!(slow.next().await.unwrap().position, position);
        }
        let mut late = client.subscribe_events_after(1).await.unwrap();
        let error = late.next().await.unwrap_err();
        assert_eq!(error, ClusterError::EventsLost { oldest });
        assert!(error.to_string().contains(&oldest.to_string()), "{error}");
    });
}

#[test]
fn a_cluster_at_rest_has_nothing_to_tell_and_writes_nothing() {
    run(async {
        let cluster = Cluster::with(Pace::default(), 3, PARTITIONS).await;
        let leader = cluster.running(cluster.meta_leader().await);
        let last = || leader.meta.observe().last_log_index;
        until(
            "twenty passes of the driver without an entry in the meta group",
            || async {
                let mut passes = leader.observed.clone();
                let before = last();
                for _ in 0..20 {
                    passes.changed().await.unwrap();
                }
                ensure(last() == before, || format!("entries {before} to {}", last()))
            },
        )
        .await;
    });
}
