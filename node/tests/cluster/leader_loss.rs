//! The meta group's leader is lost: timestamps go on within seconds, and none is ever given twice.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::graph::{create_node, find_nodes};
use crate::wait::run;
use crate::writer::Writer;

/// Elections here take less than a second; the rest is for a busy machine.
const RESUMED_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn timestamps_go_on_and_stay_unique_when_the_meta_leader_is_killed_again_and_again() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let writers = ["A", "B", "C"].map(|name| Writer::start(cluster.client(), name));
        for _ in 0..3 {
            writers[0].progress(20).await;
            let leader = cluster.meta_leader().await;
            cluster.crash(leader).await;
            let begun = Instant::now();
            writers[0].progress(5).await;
            assert!(begun.elapsed() < RESUMED_WITHIN, "no write for {:?}", begun.elapsed());
            cluster.start(leader).await;
            cluster.ready().await;
        }
        let (mut all, mut alone) = (Vec::new(), Vec::new());
        for writer in writers {
            let ledger = writer.finish().await;
            ledger.check(&cluster.client()).await;
            all.extend(ledger.bookmarks);
            alone.extend(ledger.alone);
        }
        assert!(!alone.is_empty());
        for bookmark in alone {
            // Creations of several writers may share one commit, and so its timestamp.
            let given = all.iter().filter(|other| **other == bookmark).count();
            assert_eq!(given, 1, "timestamp {bookmark} was given to two commits");
        }
        cluster.agree().await;
    });
}

#[test]
fn a_write_that_begins_after_another_was_acknowledged_commits_above_it_through_any_member() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let clients: Vec<_> = (1..=3).map(|member| cluster.client_of(member)).collect();
        let mut newest = 0;
        for round in 0..30 {
            let made = clients[round % 3]
                .execute_operation(create_node("Turn", []))
                .await
                .unwrap();
            assert!(made.bookmark > newest, "{} is not above {newest}", made.bookmark);
            newest = made.bookmark;
        }
        let leader = cluster.meta_leader().await;
        cluster.restart(leader).await;
        let others = (1..=3).filter(|member| *member != leader);
        for member in others {
            let client = cluster.client_of(member);
            let rows = client.execute_query(find_nodes("Turn", [])).await.unwrap();
            assert!(rows.snapshot().0 > newest, "a snapshot went back in time");
            let made = client.execute_operation(create_node("Turn", [])).await.unwrap();
            assert!(made.bookmark > newest);
            newest = made.bookmark;
        }
    });
}
