//! A copy of the directory, taken while the member runs, is what a crash leaves: all that was acknowledged is in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kotoba_state::ids::MemberId;

use crate::cluster::{Cluster, GROUP, PATIENCE, deadline, eventually, quick, replica_of, start_member};
use crate::machine::{Map, all};

/// Copies a directory, log first: a state that is older than its log is what a crash leaves, never the reverse.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = from.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// All files below a directory.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = PathBuf::from(path.file_name().unwrap());
        if path.is_dir() {
            files.extend(
                content(&path)
                    .into_iter()
                    .map(|(inner, bytes)| (name.join(inner), bytes)),
            );
        } else {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_crash_before_the_first_checkpoint() {
    let mut settings = quick();
    // Never due: the state file stays as it was created, and only the log has the writes.
    settings.checkpoint_age = PATIENCE * 10;
    settings.partition.snapshot_every_entries = 10_000;
    crash_image_keeps_everything(settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_crash_after_checkpoints_and_purges() {
    crash_image_keeps_everything(quick()).await;
}

async fn crash_image_keeps_everything(settings: kotoba_node::raft::Settings) {
    let mut cluster = Cluster::with(settings.clone());
    cluster.start_group(1).await;
    for round in 0..3 {
        cluster.fill(&format!("round{round}-"), 120).await;
    }
    let group = cluster.group(MemberId(1));
    let before = all(&group.view().unwrap());
    // A copy is no crash where a file changes under it: it counts when the next copy finds the same.
    let directory = cluster.path(MemberId(1));
    let image = directory.with_extension("image");
    let next = directory.with_extension("next");
    copy(&directory, &image);
    eventually("an image taken between writes", || async {
        copy(&directory, &next);
        let is_whole = content(&image) == content(&next);
        if !is_whole {
            std::fs::remove_dir_all(&image).unwrap();
            std::fs::rename(&next, &image).unwrap();
        }
        is_whole.then_some(())
    })
    .await;
    cluster.stop(MemberId(1)).await;

    let reopened = start_member(&image, MemberId(1), settings, &cluster.net).await;
    let group = reopened
        .groups
        .start_replica(GROUP, replica_of(MemberId(1)), Arc::new(Map))
        .await
        .unwrap();
    group.wait_for_recovery(deadline()).await.unwrap();
    assert!(all(&group.view().unwrap()) == before, "an acknowledged write is lost");
    reopened.stop().await;
}
