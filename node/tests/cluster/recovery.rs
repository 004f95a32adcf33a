//! Crashes: what was acknowledged is there afterwards, whoever was down, and for however long.

use crate::cluster::{Cluster, PARTITIONS};
use crate::settings::Pace;
use crate::wait::run;
use crate::writer::Writer;

#[test]
fn a_member_that_crashed_catches_up_with_what_was_written_meanwhile() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(30).await;
        cluster.crash(2).await;
        writer.progress(60).await;
        cluster.start(2).await;
        writer.progress(30).await;
        cluster.ready().await;
        let ledger = writer.finish().await;
        cluster.agree().await;
        ledger.check(&cluster.client_of(2)).await;
    });
}

#[test]
fn a_member_that_stops_in_order_is_not_missed() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        let writer = Writer::start(cluster.client(), "A");
        for member in 1..=3 {
            writer.progress(20).await;
            cluster.stop(member).await;
            writer.progress(20).await;
            cluster.start(member).await;
            cluster.ready().await;
        }
        let ledger = writer.finish().await;
        cluster.agree().await;
        ledger.check(&cluster.client()).await;
    });
}

#[test]
fn after_a_crash_of_all_members_every_acknowledged_write_is_there() {
    run(async {
        let mut cluster = Cluster::of(3).await;
        for round in ["A", "B"] {
            let writers =
                [round.to_owned() + "1", round.to_owned() + "2"].map(|name| Writer::start(cluster.client(), &name));
            for writer in &writers {
                writer.progress(60).await;
            }
            cluster.crash_all(&[1, 2, 3]).await;
            for member in [3, 1, 2] {
                cluster.start(member).await;
            }
            cluster.ready().await;
            for writer in writers {
                writer.progress(5).await;
                writer.finish().await.check(&cluster.client()).await;
            }
        }
        cluster.agree().await;
    });
}

#[test]
fn a_member_that_was_down_beyond_the_log_comes_back_by_a_snapshot() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_short_log(), 3, PARTITIONS).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(30).await;
        cluster.crash(3).await;
        writer.progress(200).await;
        cluster.start(3).await;
        cluster.ready().await;
        writer.progress(20).await;
        let ledger = writer.finish().await;
        cluster.agree().await;
        let installed = cluster.running(3).groups.counts().snapshots_installed;
        assert!(installed >= 1, "no snapshot was needed: the test proves nothing");
        ledger.check(&cluster.client_of(3)).await;
        cluster.restart(3).await;
        cluster.ready().await;
        cluster.agree().await;
    });
}
