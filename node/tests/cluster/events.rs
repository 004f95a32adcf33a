//! Events: what a client that listens at one member is told of the whole cluster.

use std::sync::{Arc, Mutex};

use kotoba_proto::KotobaCluster;
use kotoba_proto::v1::{ClusterEvent, EventKind};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, PARTITIONS};
use crate::settings::Pace;
use crate::wait::{run, until};

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
            while let Ok(Some(event)) = events.next().await {
                notes.lock().unwrap().push(event);
            }
        });
        Listener { heard, task }
    }

    /// Waits until these were heard in this order, with any others between them.
    async fn hears(&self, wanted: &[(EventKind, Option<u64>)]) {
        until("events in order", || async {
            let heard = self.heard.lock().unwrap().clone();
            let mut rest = heard.iter();
            let all = wanted.iter().all(|(kind, member)| {
                rest.any(|event| event.kind() == *kind && member.is_none_or(|member| event.member_id == member))
            });
            if all { Ok(()) } else { Err(heard) }
        })
        .await;
    }

    fn count(&self, kind: EventKind) -> usize {
        self.heard
            .lock()
            .unwrap()
            .iter()
            .filter(|event| event.kind() == kind)
            .count()
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
