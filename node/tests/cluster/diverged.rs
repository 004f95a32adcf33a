//! Replicas that are damaged on purpose: found, reported, rebuilt from their group, and right again, while clients write.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kotoba_node::config::IntegrityConfig;
use kotoba_proto::v1::EventKind;
use kotoba_state::ids::{GroupId, PartitionId};
use kotoba_state::partition::{digest, digest_by_scan};

use crate::cluster::Cluster;
use crate::disks::{flip_bit, state_file};
use crate::settings::Pace;
use crate::wait::{PATIENCE, ensure, run, until};
use crate::writer::Writer;

const PARTITION: PartitionId = PartitionId(0);
const GROUP: GroupId = GroupId::Partition(PARTITION);
/// First bytes of the keys of versions, and the key of the digest that is kept of them.
const VERSIONS: &[u8] = &[2];
const KEPT_DIGEST: &[u8] = &[1, 4];

/// A log that is long enough for a member that was away: a snapshot in place of entries would mend what was damaged.
fn with_long_log() -> Pace {
    Pace {
        snapshot_every_entries: 20_000,
        kept_entries: 10_000,
        ..Pace::default()
    }
}

fn scrubbing() -> Pace {
    Pace {
        integrity: IntegrityConfig {
            scrub_interval: Some(Duration::from_millis(400)),
            digest_interval: Duration::from_secs(3600),
            ..IntegrityConfig::default()
        },
        ..with_long_log()
    }
}

fn comparing() -> Pace {
    Pace {
        integrity: IntegrityConfig {
            scrub_interval: None,
            digest_interval: Duration::from_millis(200),
            ..IntegrityConfig::default()
        },
        ..with_long_log()
    }
}

/// Damages a member's replica while its process does not run, and starts it again.
async fn damage(cluster: &mut Cluster, member: u64, how: impl FnOnce(&Path)) {
    cluster.stop(member).await;
    how(&state_file(&cluster.data_dir(member), GROUP));
    cluster.start(member).await;
}

/// Damages a member's replica, and waits until it is reported, rebuilt, and holds what its digest says.
async fn found_and_rebuilt_after(cluster: &mut Cluster, member: u64, how: impl FnOnce(&Path)) {
    // Listens before there is anything to be told.
    let mut events = cluster.client_of(1).subscribe_events().await.unwrap();
    damage(cluster, member, how).await;
    let reported = async {
        while let Ok(event) = events.next().await {
            if event.kind() == EventKind::ReplicaDiverged {
                return Some(event);
            }
        }
        None
    };
    let event = tokio::time::timeout(PATIENCE, reported).await.unwrap().unwrap();
    assert_eq!((event.member_id, event.partition), (member, Some(PARTITION.0)));
    until("a sound replica", || async {
        let running = cluster.running(member);
        ensure(running.catalogue.get().diverged.is_empty(), || "diverged".to_owned())?;
        let local = running.partitions.get(PARTITION).ok_or("not served")?;
        let view = local.group.view().map_err(|error| error.to_string())?;
        ensure(digest(&view).unwrap() == digest_by_scan(&view).unwrap(), || {
            "damaged".to_owned()
        })
    })
    .await;
}

#[test]
fn a_value_that_changed_on_disk_is_found_and_its_replica_rebuilt() {
    run(async {
        let mut cluster = Cluster::with(scrubbing(), 3, 1).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(100).await;
        found_and_rebuilt_after(&mut cluster, 3, |file| flip_bit(file, VERSIONS)).await;
        writer.progress(50).await;
        writer.finish().await.check(&cluster.client_of(3)).await;
        cluster.agree().await;
    });
}

#[test]
fn a_replica_whose_digest_differs_from_its_groups_is_found_and_rebuilt() {
    run(async {
        let mut cluster = Cluster::with(comparing(), 3, 1).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(50).await;
        found_and_rebuilt_after(&mut cluster, 3, |file| flip_bit(file, KEPT_DIGEST)).await;
        writer.progress(50).await;
        writer.finish().await.check(&cluster.client_of(3)).await;
        cluster.agree().await;
    });
}

#[test]
fn a_state_file_that_cannot_be_opened_is_rebuilt() {
    run(async {
        let mut cluster = Cluster::with(Pace::with_short_log(), 3, 1).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(100).await;
        found_and_rebuilt_after(&mut cluster, 2, |file| {
            let whole = fs::read(file).unwrap();
            fs::write(file, &whole[..whole.len() / 3]).unwrap();
        })
        .await;
        found_and_rebuilt_after(&mut cluster, 3, |file| fs::write(file, vec![0; 200_000]).unwrap()).await;
        writer.progress(50).await;
        writer.finish().await.check(&cluster.client_of(3)).await;
        cluster.agree().await;
    });
}

#[test]
fn an_only_replica_that_is_damaged_is_reported_and_left_alone() {
    run(async {
        let mut cluster = Cluster::with(scrubbing(), 1, 1).await;
        let writer = Writer::start(cluster.client(), "A");
        writer.progress(30).await;
        writer.finish().await;
        damage(&mut cluster, 1, |file| flip_bit(file, VERSIONS)).await;
        let client = cluster.client();
        until("a finding", || async {
            let health = client.check_health().await.map_err(|error| error.to_string())?;
            let told = health
                .findings
                .iter()
                .any(|finding| finding.contains("no majority of others"));
            ensure(told && !health.is_healthy, || format!("{health:?}"))
        })
        .await;
        // There is nobody to rebuild it from, so it goes on with what it has.
        Writer::start(cluster.client(), "B").progress(10).await;
    });
}
