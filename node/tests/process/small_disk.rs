//! A member on a file system that really is full: a small one in memory, mounted for the test.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::future::join_all;
use kotoba_proto::{ClusterError, KotobaCluster, RequestNumber};
use tempfile::TempDir;

use crate::graph::{create_node, find_nodes, get_nodes, nodes};
use crate::member::Member;
use crate::wait::{becomes, run, until};

const SIZE: &str = "size=128m";
const LARGER: &str = "size=256m";
/// Writes at a time, and what each holds.
const WRITERS: usize = 8;
const NODE_BYTES: usize = 200_000;
/// More than fit the disk.
const MOST_WRITES: usize = 2_000;
const MOST_FILLINGS: usize = 20;
/// Much less than fits the disk, and more than the ballast.
const SOME_WRITES: usize = 150;
/// What was applied is written after five seconds.
const CHECKPOINTS_WITHIN: Duration = Duration::from_secs(10);

/// A mounted file system, unmounted when it is dropped.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// None where this user may not mount.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Self::command("mount", &["-t", "tmpfs", "-o", size, "tmpfs"], directory.path());
        if !mounted {
            eprintln!("skipped: this user may not mount a file system of its own");
            return None;
        }
        Some(SmallDisk { directory })
    }

    fn command(program: &str, arguments: &[&str], directory: &Path) -> bool {
        let ended = Command::new(program).args(arguments).arg(directory).output();
        ended.is_ok_and(|output| output.status.success())
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn enlarge(&self) {
        let options = format!("remount,{LARGER}");
        assert!(Self::command("mount", &["-o", &options], self.directory.path()));
    }

    /// Somebody else's file takes everything up to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.directory.path().join("not-ours");
        let mut file = File::create(&path).unwrap();
        let block = vec![7; 1 << 16];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&[7]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Self::command("umount", &["--lazy"], self.directory.path());
    }
}

/// Writes until a write is refused for want of room; gives the ids of what was acknowledged.
async fn write_until_full(client: &KotobaCluster) -> (Vec<u64>, String) {
    let mut written = Vec::new();
    let value = "x".repeat(NODE_BYTES);
    for _ in 0..MOST_WRITES / WRITERS {
        let writes =
            (0..WRITERS).map(|_| client.execute_operation(create_node("Large", [("value", value.as_str().into())])));
        let mut refused = None;
        for answer in join_all(writes).await {
            match answer {
                Ok(outcome) => written.push(outcome.id),
                Err(error @ ClusterError::DiskFull(_)) => refused = Some(error.to_string()),
                Err(error) => panic!("a write on a filling disk was answered: {error}"),
            }
        }
        if let Some(refused) = refused {
            return (written, refused);
        }
    }
    panic!("{MOST_WRITES} writes of {NODE_BYTES} bytes fit {SIZE}");
}

async fn all_there(client: &KotobaCluster, written: &[u64]) {
    for chunk in written.chunks(20) {
        let found = nodes(client.fetch_rows(get_nodes(chunk.iter().copied())).await.unwrap());
        assert_eq!(found.len(), chunk.len(), "acknowledged nodes are lost");
    }
    let count = client.count(find_nodes("Large", [])).await.unwrap();
    assert_eq!(count, written.len() as u64);
}

/// What should tell that the disk is full, and does not.
async fn missing(member: &Member) -> Vec<String> {
    let told = [
        (member.ask(&["status"]), "full: takes no writes"),
        (member.ask(&["health"]), "make room on it or enlarge it"),
        (member.probe("/readyz").await, "ok, but the disk is full"),
        (member.probe("/metrics").await, "kotoba_disk_full 1"),
    ];
    let missing = told.into_iter().filter(|(told, wanted)| !told.contains(wanted));
    missing.map(|(told, _)| told).collect()
}

#[test]
fn a_disk_filled_by_writes_refuses_more_serves_reads_and_takes_writes_again_when_it_is_enlarged() {
    let Some(disk) = SmallDisk::mount(SIZE) else { return };
    run(async {
        let mut member = Member::founded(&disk.data_dir(), "").await;
        let client = member.client();
        let mut written = Vec::new();
        let mut told = Vec::new();
        // What is in memory may take less room than is kept for it: then there is some again when it is on the disk.
        for _ in 0..MOST_FILLINGS {
            let (more, refused) = write_until_full(&client).await;
            written.extend(more);
            assert!(refused.contains("the disk of member 1 is full"), "{refused}");
            assert!(refused.contains("MiB in reserve"), "{refused}");
            all_there(&client, &written).await;
            told = missing(&member).await;
            if told.is_empty() {
                break;
            }
        }
        assert!(told.is_empty(), "{told:?}");

        disk.enlarge();
        let operation = create_node("Large", [("value", "small".into())]);
        let outcome = until("a write", || async {
            client.execute_operation(operation.clone()).await
        })
        .await;
        written.push(outcome.id);
        all_there(&client, &written).await;
        assert!(member.is_running(), "{}", member.log());
    });
}

fn number(filling: u8, write: u64) -> RequestNumber {
    RequestNumber {
        client_id: [filling; 16],
        sequence: write,
        sent_after: None,
    }
}

/// What was acknowledged and is in memory only has no room then, and the ballast is not enough for it.
#[test]
fn a_disk_that_is_filled_before_what_is_in_memory_is_written_stops_no_replica() {
    let Some(disk) = SmallDisk::mount(LARGER) else { return };
    run(async {
        let mut member = Member::founded(&disk.data_dir(), "").await;
        let client = member.client();
        let mut written = Vec::new();
        let mut waits = false;
        // Where all was written before the disk was full, once more.
        for filling in 0..3 {
            let outcome = until("a write", || async {
                client.execute_operation(create_node("Large", [])).await
            })
            .await;
            written.push(outcome.id);
            let value = "x".repeat(NODE_BYTES);
            let large = || vec![create_node("Large", [("value", value.as_str().into())])];
            // Under numbers of their own they lie in all partitions. One partition alone would write its own to the disk at once.
            let writes = (0..SOME_WRITES).map(|write| client.execute_numbered(number(filling, write as u64), large()));
            for answer in join_all(writes).await {
                written.extend(answer.unwrap().iter().map(|outcome| outcome.id));
            }
            let not_ours = disk.fill();
            let told = || member.log().contains("a write waits for room on the disk");
            waits = becomes(told, CHECKPOINTS_WITHIN).await;
            all_there(&client, &written).await;
            fs::remove_file(&not_ours).unwrap();
            if waits {
                break;
            }
        }
        assert!(waits, "{}", member.log());
        let outcome = until("a write", || async {
            client.execute_operation(create_node("Large", [])).await
        })
        .await;
        written.push(outcome.id);
        all_there(&client, &written).await;
        assert!(member.is_running(), "{}", member.log());
        assert!(!member.log().contains("a replica stops"), "{}", member.log());
        member.stop().await;
    });
}

#[test]
fn a_disk_that_somebody_else_fills_to_the_last_byte_stops_writes_only_and_only_for_that_long() {
    let Some(disk) = SmallDisk::mount(SIZE) else { return };
    run(async {
        let mut member = Member::founded(&disk.data_dir(), "").await;
        let client = member.client();
        let mut written = Vec::new();
        for _ in 0..20 {
            let outcome = client.execute_operation(create_node("Large", [])).await.unwrap();
            written.push(outcome.id);
        }
        let not_ours = disk.fill();
        until("a refused write", || async {
            match client.execute_operation(create_node("Tried", [])).await {
                Err(ClusterError::DiskFull(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        all_there(&client, &written).await;
        assert!(member.is_running(), "{}", member.log());

        // It also starts on a full disk, after a crash.
        let (ports, data_dir) = (member.ports, disk.data_dir());
        member.kill();
        fs::metadata(&not_ours).unwrap();
        let mut member = Member::start(ports, &data_dir, "");
        member.ready().await;
        all_there(&client, &written).await;
        let answer = client.execute_operation(create_node("Large", [])).await;
        assert!(matches!(answer, Err(ClusterError::DiskFull(_))), "{answer:?}");

        fs::remove_file(&not_ours).unwrap();
        let outcome = until("a write", || async {
            client.execute_operation(create_node("Large", [])).await
        })
        .await;
        written.push(outcome.id);
        all_there(&client, &written).await;
        assert!(member.is_running(), "{}", member.log());
        member.stop().await;
    });
}
