//! Members inside a program: alone, as a cluster that finds itself, stopped, dropped, and started where they cannot be.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use kotoba_node::config::{AdvertiseSettings, Settings};
use kotoba_node::{ClusterConfig, EmbeddedMember, KotobaCluster, StartError};
use tempfile::TempDir;

use crate::graph::{create_node, find_nodes};
use crate::process::Addresses;
use crate::wait::{PATIENCE, run, until};

const PORT: u16 = 7600;

/// An address of the loopback network that no other member of the tests has.
fn own_address() -> SocketAddr {
    SocketAddr::new(Addresses::any().peer.ip(), PORT)
}

fn config(directory: &Path) -> ClusterConfig {
    ClusterConfig {
        partition_count: 4,
        data_dir: Some(directory.to_owned()),
        ready_within: PATIENCE,
        ..ClusterConfig::default()
    }
}

async fn start(directory: &Path, name: &str, address: SocketAddr, peers: &[SocketAddr]) -> EmbeddedMember {
    let config = ClusterConfig {
        peers: peers.iter().map(ToString::to_string).collect(),
        ..config(&directory.join(name))
    };
    KotobaCluster::new(name, config).start(address).await.unwrap()
}

#[test]
fn a_member_alone_is_a_cluster_that_keeps_its_settings_and_its_data() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let cluster = start(directory.path(), "alone", any, &[]).await;
        let made = cluster.execute_operation(create_node("Kept", [])).await.unwrap();
        let settings = cluster.get_cluster_config().await.unwrap();
        assert_eq!((settings.replication_factor, settings.partition_count), (3, 4));
        let status = cluster.get_status().await.unwrap();
        assert_eq!(status.membership.unwrap().active_nodes, 1);
        assert_eq!(status.members[0].name, "alone");
        cluster.stop().await;
        let cluster = start(directory.path(), "alone", any, &[]).await;
        let nodes = cluster.fetch_rows(find_nodes("Kept", [])).await.unwrap();
        assert_eq!(nodes.into_iter().next().unwrap().into_node().unwrap().id, made.id);
        cluster.stop().await;
    });
}

/// Three members of one cluster, started at the same time.
async fn three(directory: &TempDir) -> Vec<EmbeddedMember> {
    let addresses = [own_address(), own_address(), own_address()];
    let starts = ["node-1", "node-2", "node-3"]
        .iter()
        .zip(addresses)
        .map(|(name, address)| start(directory.path(), name, address, &addresses));
    futures::future::join_all(starts).await
}

#[test]
fn members_that_name_each_other_are_one_cluster_and_outlive_one_of_them() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let mut members = three(&directory).await;
        let made = members[0].execute_operation(create_node("Shared", [])).await.unwrap();
        for member in &members {
            assert_eq!(member.count(find_nodes("Shared", [])).await.unwrap(), 1);
            let status = member.get_status().await.unwrap();
            assert_eq!(status.membership.unwrap().total_nodes, 3);
        }
        drop(members.pop());
        members[1].execute_operation(create_node("Shared", [])).await.unwrap();
        assert_eq!(members[0].count(find_nodes("Shared", [])).await.unwrap(), 2);
        assert!(made.bookmark > 0);
        for member in members {
            member.stop().await;
        }
    });
}

#[test]
fn the_client_of_a_member_outlives_it_as_an_error_and_not_as_a_hang() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let cluster = start(directory.path(), "gone", own_address(), &[]).await;
        let client = cluster.with_options(kotoba_proto::Options {
            deadline: Duration::from_secs(2),
            ..kotoba_proto::Options::default()
        });
        client.check_health().await.unwrap();
        cluster.stop().await;
        let error = client.get_status().await.unwrap_err();
        assert!(error.is_unreachable(), "{error}");
    });
}

#[test]
fn a_dropped_member_gives_its_disk_free() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let address = own_address();
        let cluster = start(directory.path(), "dropped", address, &[]).await;
        cluster.execute_operation(create_node("Kept", [])).await.unwrap();
        drop(cluster);
        let again = until("a free disk and free ports", || async {
            let config = config(&directory.path().join("dropped"));
            KotobaCluster::new("dropped", config).start(address).await
        })
        .await;
        assert_eq!(again.count(find_nodes("Kept", [])).await.unwrap(), 1);
        again.stop().await;
    });
}

fn text_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn a_member_that_cannot_start_says_why_and_leaves_nothing_behind() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let first = start(directory.path(), "first", own_address(), &[]).await;

        let other = config(&directory.path().join("second"));
        let error = KotobaCluster::new("second", other).start(first.peer_address()).await;
        let error = error.err().unwrap();
        assert!(matches!(error, StartError::Start { .. }), "{error:?}");
        assert!(text_of(&error).contains("is the port in use?"), "{}", text_of(&error));

        let same_disk = config(&directory.path().join("first"));
        let error = KotobaCluster::new("third", same_disk).start(own_address()).await;
        let text = text_of(&error.err().unwrap());
        assert!(text.contains("member third") && text.contains("first"), "{text}");

        let lonely = ClusterConfig {
            peers: vec![own_address().to_string()],
            ready_within: Duration::from_millis(300),
            ..config(&directory.path().join("lonely"))
        };
        let address = own_address();
        let error = KotobaCluster::new("lonely", lonely.clone())
            .start(address)
            .await
            .err()
            .unwrap();
        assert!(matches!(error, StartError::NotReady { .. }), "{error:?}");
        assert!(text_of(&error).contains(&lonely.peers[0]), "{error}");
        // Nothing of it runs on: the same disk and ports are free at once.
        let alone = ClusterConfig {
            peers: vec![],
            ready_within: PATIENCE,
            ..lonely
        };
        KotobaCluster::new("lonely", alone)
            .start(address)
            .await
            .unwrap()
            .stop()
            .await;

        first.stop().await;
    });
}

#[test]
fn impossible_settings_are_refused_before_anything_is_opened() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("never");
        let base = config(&data_dir);
        let unnamed = Settings {
            advertise: AdvertiseSettings {
                peer: Some("nonsense".to_owned()),
                client: None,
            },
            ..Settings::default()
        };
        let wrong = [
            (
                ClusterConfig {
                    replication_factor: 8,
                    ..base.clone()
                },
                "replication_factor",
            ),
            (
                ClusterConfig {
                    partition_count: 1_025,
                    ..base.clone()
                },
                "partition_count",
            ),
            (
                ClusterConfig {
                    settings: unnamed,
                    ..base
                },
                "advertise.peer",
            ),
        ];
        for (config, named) in wrong {
            let error = KotobaCluster::new("wrong", config).start(own_address()).await;
            let error = error.err().unwrap();
            assert!(matches!(error, StartError::Settings(_)), "{error:?}");
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(!data_dir.exists());
    });
}
