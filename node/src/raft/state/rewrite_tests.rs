//! A state file is rewritten while the replica goes on, or is left as it was.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use kotoba_state::ids::{GroupId, ReplicaId};
use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::store::{StoreError, Write};
use tempfile::TempDir;

use super::{FileSettings, ReplicaState, StateView};
use crate::raft::log::{LogStore, ReplicaLogHandle};
use crate::raft::snapshot::{SnapshotData, meta_of};
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, ReplicaKey};

const KEY: ReplicaKey = ReplicaKey {
    group: GroupId::Meta,
    replica: ReplicaId(1),
};
const VALUE_BYTES: usize = 2_000;

/// Puts a value under each two bytes of the command, or deletes those at odd entries.
struct Rows;

impl StateMachine for Rows {
    fn apply(&self, store: &mut dyn Write, at: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        for row in command.chunks(2) {
            match at.index % 2 {
                0 => store.put(row, &vec![at.index as u8; VALUE_BYTES])?,
                _ => store.delete(row)?,
            }
        }
        Ok(Vec::new())
    }
}

struct World {
    directory: TempDir,
    log: ReplicaLogHandle,
    state: ReplicaState,
    next: u64,
    _store: LogStore,
}

impl World {
    /// A state of whose file most is empty.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::of_a_test(directory.path(), true);
        let log = store.create(KEY).await.unwrap();
        let mut world = World {
            state: open(&directory.path().join("state"), &log),
            directory,
            log,
            next: 0,
            _store: store,
        };
        world.write(0..4_000);
        world.write(400..4_000);
        world
    }

    /// Puts rows, or deletes them at each second call, durably.
    fn write(&mut self, rows: Range<u16>) {
        write(&self.state, self.next, rows);
        self.next += 1;
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// What a start finds after a loss of power now.
    fn after_a_crash(&self, change: impl Fn(&Path)) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.folder()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        change(copy.path());
        let state = open(copy.path(), &self.log);
        assert_eq!(state.durable_index(), self.state.durable_index());
        let states = files(copy.path()).into_iter().filter(|name| name != "CURRENT");
        assert_eq!(states.count(), 1, "what is not in use is deleted");
        content(&state.view().unwrap())
    }
}

fn write(state: &ReplicaState, index: u64, rows: Range<u16>) {
    let leader = LeaderId {
        term: 1,
        node_id: ReplicaId(1),
    };
    let command: Vec<u8> = rows.flat_map(u16::to_be_bytes).collect();
    let entry = Entry {
        log_id: LogId::new(leader, index),
        payload: Payload::Normal(Command::from(Bytes::from(command))),
    };
    state.apply(&[entry]).unwrap();
    state.checkpoint().unwrap();
}

fn open(path: &Path, log: &ReplicaLogHandle) -> ReplicaState {
    let settings = FileSettings::of_a_test();
    ReplicaState::open(path, KEY, settings, Arc::new(Rows), log.clone(), Arc::default()).unwrap()
}

fn content(view: &StateView) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pairs = view.all().unwrap().map(Result::unwrap);
    pairs.map(|(key, value)| (key.into(), value.into())).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_that_is_mostly_empty_is_rewritten_and_is_full_then() {
    let world = World::new().await;
    let before = content(&world.state.view().unwrap());
    let bytes = world.state.file_bytes();
    assert!(world.state.is_wasteful());
    assert!(world.state.rewrite().unwrap());
    assert!(!world.state.is_wasteful());
    assert!(
        world.state.file_bytes() * 4 < bytes,
        "{} of {bytes}",
        world.state.file_bytes()
    );
    assert_eq!(content(&world.state.view().unwrap()), before);
    assert_eq!(files(&world.folder()), ["2.redb", "CURRENT"]);
}

#[tokio::test]
async fn what_is_written_meanwhile_is_in_the_new_file() {
    let mut world = World::new().await;
    let pinned = world.state.view().unwrap();
    let as_pinned = content(&pinned);
    let (base, applied) = world.state.begin_rewrite().unwrap();
    world.write(10..20);
    let copy = world.state.copy(&base, &applied).unwrap().unwrap();
    world.write(100..200);
    assert!(world.state.catch_up(&copy).unwrap());
    world.write(3_000..3_010);
    drop(base);
    let expected = content(&world.state.view().unwrap());
    assert!(world.state.exchange(copy).unwrap());
    assert_eq!(content(&world.state.view().unwrap()), expected);
    assert_eq!(content(&pinned), as_pinned, "a view of the old file stays good");
    assert_eq!(world.after_a_crash(|_| {}), expected);
    drop(pinned);
    assert_eq!(files(&world.folder()), ["2.redb", "CURRENT"]);
    world.write(0..5);
    world.state.close().unwrap();
    let reopened = open(&world.folder(), &world.log);
    assert_eq!(content(&reopened.view().unwrap()).len(), expected.len() - 5);
}

#[tokio::test]
async fn a_crash_at_any_point_leaves_all_that_was_durable() {
    let mut world = World::new().await;
    let (base, applied) = world.state.begin_rewrite().unwrap();
    world.write(10..20);
    let durable = content(&world.state.view().unwrap());
    let nothing = |_: &Path| {};
    let half = |folder: &Path| {
        let loading = folder.join("2.loading");
        let bytes = std::fs::read(&loading).unwrap();
        std::fs::write(loading, &bytes[..bytes.len() / 2]).unwrap();
    };
    let named = |folder: &Path| std::fs::rename(folder.join("2.loading"), folder.join("2.redb")).unwrap();
    assert_eq!(world.after_a_crash(nothing), durable);
    let copy = world.state.copy(&base, &applied).unwrap().unwrap();
    for change in [&nothing as &dyn Fn(&Path), &half, &named] {
        assert_eq!(world.after_a_crash(change), durable);
    }
    assert!(world.state.catch_up(&copy).unwrap());
    for change in [&nothing as &dyn Fn(&Path), &named] {
        assert_eq!(world.after_a_crash(change), durable);
    }
    assert!(world.state.exchange(copy).unwrap());
    // The old one is still read by the base.
    assert_eq!(files(&world.folder()), ["1.redb", "2.redb", "CURRENT"]);
    assert_eq!(world.after_a_crash(nothing), durable);
    drop(base);
    assert_eq!(world.after_a_crash(nothing), durable);
}

#[tokio::test]
async fn a_snapshot_that_is_installed_meanwhile_stays() {
    let mut world = World::new().await;
    let (base, applied) = world.state.begin_rewrite().unwrap();
    let copy = world.state.copy(&base, &applied).unwrap().unwrap();
    drop(base);
    world.write(0..50);
    let view = world.state.durable_view().unwrap();
    let expected = content(&view);
    world.state.install(&meta_of(&view), SnapshotData::View(view)).unwrap();
    assert!(!world.state.exchange(copy).unwrap());
    assert_eq!(content(&world.state.view().unwrap()), expected);
    assert_eq!(files(&world.folder()), ["3.redb", "CURRENT"]);
    assert_eq!(world.after_a_crash(|_| {}), expected);
}

#[tokio::test]
async fn a_state_that_is_closed_meanwhile_stays_as_it_is() {
    let world = World::new().await;
    let expected = content(&world.state.view().unwrap());
    let (base, applied) = world.state.begin_rewrite().unwrap();
    let copy = world.state.copy(&base, &applied).unwrap().unwrap();
    drop(base);
    world.state.close().unwrap();
    assert!(!world.state.exchange(copy).unwrap());
    assert!(!world.state.rewrite().unwrap(), "nor is it rewritten later");
    assert_eq!(files(&world.folder()), ["1.redb", "CURRENT"]);
    assert_eq!(content(&open(&world.folder(), &world.log).view().unwrap()), expected);
}

#[tokio::test]
async fn a_copy_that_cannot_keep_up_is_given_up() {
    let mut world = World::new().await;
    let (base, applied) = world.state.begin_rewrite().unwrap();
    let copy = world.state.copy(&base, &applied).unwrap().unwrap();
    drop(base);
    for _ in 0..5 {
        world.write(0..6_000);
        world.write(6_000..6_001);
    }
    let expected = content(&world.state.view().unwrap());
    assert!(!world.state.catch_up(&copy).unwrap());
    assert!(!world.state.exchange(copy).unwrap());
    assert_eq!(content(&world.state.view().unwrap()), expected);
    assert_eq!(files(&world.folder()), ["1.redb", "CURRENT"]);
}

#[tokio::test]
async fn views_checkpoints_and_rewrites_at_once_lose_nothing() {
    let world = World::new().await;
    let mut next = world.next;
    let rows = content(&world.state.view().unwrap()).len();
    for round in 0..20_u16 {
        let state = &world.state;
        std::thread::scope(|scope| {
            let rewrite = scope.spawn(|| state.rewrite().unwrap());
            for part in 0..5 {
                let first = 10_000 + round * 10 + part * 2;
                write(state, next, first..first + 2);
                write(state, next + 1, 0..0);
                next += 2;
                assert_eq!(
                    content(&state.view().unwrap()).len(),
                    rows + usize::from(first - 10_000) + 2
                );
            }
            assert!(rewrite.join().unwrap());
        });
    }
    assert_eq!(world.after_a_crash(|_| {}).len(), rows + 200);
}
