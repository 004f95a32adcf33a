//! The settings of failure detection: each changes when a silent member is suspected, or counts as failed.

use std::time::Duration;

use kotoba_node::config::MembershipConfig;
use kotoba_proto::v1::MemberHealth;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::settings::Pace;
use crate::wait::run;

const QUICK: MembershipConfig = MembershipConfig {
    heartbeat_interval: Duration::from_millis(200),
    failure_detection_interval: Duration::from_millis(50),
    max_missed_heartbeats: 3,
    failure_timeout: Duration::from_millis(1_500),
    replacement_after: None,
    balance_leaders: false,
};
/// What a member may have been heard of before it was stopped, and what a clock is read apart.
const SLACK: Duration = Duration::from_millis(250);

async fn cluster(membership: MembershipConfig) -> (Cluster, u64) {
    let pace = Pace {
        membership,
        ..Pace::default()
    };
    let cluster = Cluster::with(pace, 3, 1).await;
    let leader = cluster.meta_leader().await;
    (cluster, (1..=3).find(|member| *member != leader).unwrap())
}

async fn health(cluster: &Cluster, member: u64, health: MemberHealth) {
    cluster
        .status_where(&format!("{health:?}"), |status| {
            status
                .members
                .iter()
                .any(|row| row.id == member && row.health() == health)
        })
        .await;
}

/// How long after its end a member is suspected, and how long until it counts as failed.
async fn silence_until(membership: MembershipConfig) -> (Duration, Duration) {
    let (mut cluster, away) = cluster(membership).await;
    let begun = Instant::now();
    cluster.crash(away).await;
    health(&cluster, away, MemberHealth::Suspected).await;
    let suspected = begun.elapsed();
    health(&cluster, away, MemberHealth::Failed).await;
    (suspected, begun.elapsed())
}

#[test]
fn the_heartbeat_interval_and_the_missed_heartbeats_say_when_a_member_is_suspected() {
    run(async {
        let (quick, _) = silence_until(QUICK).await;
        let slow_heart = MembershipConfig {
            heartbeat_interval: Duration::from_secs(2),
            failure_timeout: Duration::from_secs(7),
            ..QUICK
        };
        let (slow, _) = silence_until(slow_heart).await;
        let many_missed = MembershipConfig {
            max_missed_heartbeats: 30,
            failure_timeout: Duration::from_secs(7),
            ..QUICK
        };
        let (patient, _) = silence_until(many_missed).await;
        let expected = Duration::from_secs(6);
        assert!(quick < expected - SLACK, "{quick:?}");
        assert!(
            slow >= expected - SLACK && patient >= expected - SLACK,
            "{slow:?} {patient:?}"
        );
    });
}

#[test]
fn the_failure_timeout_says_when_a_member_counts_as_failed() {
    run(async {
        let (_, quick) = silence_until(QUICK).await;
        let slow = MembershipConfig {
            failure_timeout: Duration::from_secs(6),
            ..QUICK
        };
        let (suspected, slow) = silence_until(slow).await;
        let expected = Duration::from_secs(6);
        assert!(
            quick < expected - SLACK && suspected < expected - SLACK,
            "{quick:?} {suspected:?}"
        );
        assert!(slow >= expected - SLACK, "{slow:?}");
    });
}

/// Two changes of health are an interval apart, though the second silence was long enough well before.
#[test]
fn the_detection_interval_says_how_often_members_are_judged() {
    run(async {
        let interval = Duration::from_secs(4);
        let (mut cluster, away) = cluster(MembershipConfig {
            failure_detection_interval: interval,
            failure_timeout: Duration::from_secs(60),
            ..QUICK
        })
        .await;
        cluster.crash(away).await;
        health(&cluster, away, MemberHealth::Suspected).await;
        let judged = Instant::now();
        cluster.start(away).await;
        health(&cluster, away, MemberHealth::Alive).await;
        let apart = judged.elapsed();
        assert!(apart >= interval - SLACK, "{apart:?}");
    });
}
