//! Disks that run full: writes are refused before they get into the log, reads go on, and so do writes when there is room.

use std::sync::atomic::Ordering;

use kotoba_node::space::Level;
use kotoba_proto::v1::{GetStatusResponse, MemberStatus};
use kotoba_proto::{ClusterError, KotobaCluster};

use crate::cluster::Cluster;
use crate::graph::{create_node, find_nodes};
use crate::wait::{ensure, run, until};
use crate::writer::Writer;

/// The first refusal; writes before the members have looked at their disks are applied.
async fn refusal(client: &KotobaCluster) -> String {
    until("a write that is refused", || async {
        match client.execute_operation(create_node("Tried", [])).await {
            Err(error @ ClusterError::DiskFull(_)) => Ok(error.to_string()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

fn full_members(status: &GetStatusResponse) -> Vec<u64> {
    let full = status.members.iter().filter(|member| member.disk_full);
    full.map(|member| member.id).collect()
}

/// What the port of the probes answers.
async fn probe(cluster: &Cluster, member: u64, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = cluster.host(member).addresses.http;
    let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn full_disks_refuse_writes_and_serve_reads_until_there_is_room_again() {
    run(async {
        let cluster = Cluster::of(3).await;
        let writer = Writer::start(cluster.client(), "filling");
        writer.progress(30).await;
        for member in 1..=3 {
            cluster.volume(member).fill();
        }
        let client = cluster.client();
        let refused = refusal(&client).await;
        assert!(refused.contains("MiB left and keeps 100 MiB in reserve"), "{refused}");
        assert!(refused.contains("writes go on by themselves"), "{refused}");

        for _ in 0..20 {
            let answer = client.execute_operation(create_node("Refused", [])).await;
            assert!(matches!(answer, Err(ClusterError::DiskFull(_))), "{answer:?}");
        }

        // Reads, by each member, and what is told of the disks.
        for member in 1..=3 {
            let client = cluster.client_of(member);
            assert!(client.count(find_nodes("Nodefilling", [])).await.unwrap() > 0);
        }
        let status = cluster
            .status_where("three full disks", |status| full_members(status) == [1, 2, 3])
            .await;
        let known = |member: &MemberStatus| member.disk_available_bytes > 0 && member.data_bytes > 0;
        assert!(status.members.iter().all(known), "{status:?}");
        until("a finding for each disk", || async {
            let health = client.check_health().await.map_err(|error| error.to_string())?;
            let names = |member| {
                let disk = format!("the disk of member {member}");
                health.findings.iter().any(|finding| finding.contains(&disk))
            };
            ensure((1..=3).all(names) && !health.is_healthy, || format!("{health:?}"))
        })
        .await;
        let ready = probe(&cluster, 1, "/readyz").await;
        assert!(
            ready.contains("200 OK") && ready.contains("ok, but the disk is full"),
            "{ready}"
        );
        let metrics = probe(&cluster, 1, "/metrics").await;
        assert!(metrics.contains("kotoba_disk_full 1"), "{metrics}");

        for member in 1..=3 {
            cluster.volume(member).empty();
        }
        writer.progress(30).await;
        cluster
            .status_where("room everywhere", |status| full_members(status).is_empty())
            .await;
        assert!(probe(&cluster, 1, "/metrics").await.contains("kotoba_disk_full 0"));
        let ledger = writer.finish().await;
        ledger.check(&client).await;
        assert_eq!(client.count(find_nodes("Refused", [])).await.unwrap(), 0);
        cluster.agree().await;
    });
}

#[test]
fn a_member_with_a_full_disk_gives_its_leaders_away_and_no_write_fails() {
    run(async {
        let cluster = Cluster::of(3).await;
        let leads = |status: &GetStatusResponse| status.members.iter().all(|member| member.leaders > 0);
        cluster.status_where("leaders on every member", leads).await;
        let full = cluster.meta_leader().await;
        let writer = Writer::start(cluster.client(), "moving");
        writer.progress(20).await;
        cluster.volume(full).fill();
        cluster
            .status_where("no leader on a full disk", |status| {
                let member = status.members.iter().find(|member| member.id == full).unwrap();
                full_members(status) == [full] && member.leaders == 0 && status.leader_member_id != full
            })
            .await;
        writer.progress(50).await;
        assert_eq!(writer.failed(), 0, "the others have room for every write");
        cluster.volume(full).empty();
        cluster.status_where("leaders on every member again", leads).await;
        let ledger = writer.finish().await;
        ledger.check(&cluster.client()).await;
        cluster.agree().await;
    });
}

/// The follower writes nothing any more, lags, and comes back, without a restart.
#[test]
fn a_follower_whose_disk_is_exhausted_takes_no_entries_and_catches_up_when_there_is_room() {
    run(async {
        let cluster = Cluster::with(crate::settings::Pace::with_short_log(), 3, 4).await;
        let exhausted = cluster.meta_leader().await;
        let writer = Writer::start(cluster.client(), "lagging");
        writer.progress(20).await;
        cluster.volume(exhausted).exhaust();
        let running = cluster.running(exhausted);
        until("an exhausted disk", || async {
            let level = running.space.reading().level;
            ensure(level == Level::Exhausted, || format!("{level:?}"))
        })
        .await;
        cluster
            .status_where("no leader on an exhausted disk", |status| {
                status
                    .members
                    .iter()
                    .any(|member| member.id == exhausted && member.leaders == 0)
            })
            .await;
        let taken = written_entries(&cluster, exhausted);
        writer.progress(200).await;
        // What a new leader logs to begin with is taken in, and may have been on its way.
        let blanks = written_entries(&cluster, exhausted) - taken;
        assert!(blanks <= 4, "{blanks} entries of partitions are taken in");
        assert_eq!(writer.failed(), 0);
        assert!(!running.stopping.load(Ordering::Relaxed) && cluster.host(exhausted).process.fatal().is_none());
        cluster.volume(exhausted).empty();
        writer.progress(20).await;
        let ledger = writer.finish().await;
        cluster.agree().await;
        ledger.check(&cluster.client_of(exhausted)).await;
    });
}

fn written_entries(cluster: &Cluster, member: u64) -> u64 {
    let partitions = cluster.running(member).partitions.all();
    partitions
        .iter()
        .map(|(_, local)| local.group.observe().last_log_index)
        .sum()
}

#[test]
fn a_majority_of_full_disks_refuses_writes_also_where_the_leader_has_room() {
    run(async {
        let cluster = Cluster::of(3).await;
        let client = cluster.client();
        client.execute_operation(create_node("Kept", [])).await.unwrap();
        for member in [2, 3] {
            cluster.volume(member).fill();
        }
        cluster
            .status_where("all leaders on the member with room", |status| {
                full_members(status) == [2, 3]
                    && status
                        .members
                        .iter()
                        .all(|member| member.id == 1 || member.leaders == 0)
            })
            .await;
        let refused = refusal(&client).await;
        assert!(refused.contains("the disks of members 2, 3 are full"), "{refused}");
        assert_eq!(client.count(find_nodes("Kept", [])).await.unwrap(), 1);
        cluster.volume(3).empty();
        until("a write", || async {
            client.execute_operation(create_node("Kept", [])).await
        })
        .await;
        assert_eq!(client.count(find_nodes("Kept", [])).await.unwrap(), 2);
    });
}
