//! Blocks on the way from one state file to another, and what becomes of those that do not arrive as they were sent.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

use kotoba_state::ids::{GroupId, MemberId, ReplicaId};
use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::store::{Pair, Read, StoreError, Write};
use tempfile::TempDir;

use super::block::{Block, each_block};
use super::{LoadedFile, Loader, SnapshotData};
use crate::raft::log::LogStore;
use crate::raft::state::{FileSettings, ReplicaState, StateError};
use crate::raft::types::{
    Command, Entry, LeaderId, LogId, Membership, Payload, ReplicaKey, SnapshotMeta, StoredMembership,
};

/// Spoils a snapshot on its way.
type Damage<'a> = &'a dyn Fn(&mut Vec<Block>);

/// Writes as many values of 10 kB as the command says.
struct Filler;

impl StateMachine for Filler {
    fn apply(&self, store: &mut dyn Write, at: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        for number in 0..command[0] {
            store.put(&[at.index as u8, number], &vec![number; 10_000])?;
        }
        Ok(Vec::new())
    }
}

/// States of a few replicas over one log.
struct Stores {
    directory: TempDir,
    log: LogStore,
}

impl Stores {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = LogStore::of_a_test(directory.path(), true);
        Stores { directory, log }
    }

    async fn state(&self, replica: u64) -> ReplicaState {
        let key = ReplicaKey {
            group: GroupId::Meta,
            replica: ReplicaId(replica),
        };
        let log = self.log.create(key).await.unwrap();
        let path = self.directory.path().join(replica.to_string());
        ReplicaState::open(
            &path,
            key,
            FileSettings::of_a_test(),
            Arc::new(Filler),
            log,
            Arc::default(),
        )
        .unwrap()
    }

    /// Names of the state files of a replica.
    fn files(&self, replica: u64) -> Vec<String> {
        let path = self.directory.path().join(replica.to_string());
        let names = path
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

fn fill(state: &ReplicaState, index: u64, values: u8) {
    let leader = LeaderId {
        term: 1,
        node_id: ReplicaId(1),
    };
    let log_id = LogId::new(leader, index);
    let payload = Payload::Normal(Command::from(Bytes::from(vec![values])));
    state.apply(&[Entry { log_id, payload }]).unwrap();
}

fn content(state: &ReplicaState) -> Vec<Pair> {
    let view = state.view().unwrap();
    view.scan(&[], &[255; 3]).unwrap().map(Result::unwrap).collect()
}

fn snapshot(state: &ReplicaState) -> (SnapshotMeta, Vec<Block>) {
    let view = state.durable_view().unwrap();
    let voters = vec![BTreeSet::from([ReplicaId(1)])];
    let membership = Membership::new(
        voters,
        [(ReplicaId(1), MemberId(1))]
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>(),
    );
    let meta = SnapshotMeta {
        last_log_id: view.applied().log_id,
        last_membership: StoredMembership::new(view.applied().log_id, membership.unwrap()),
    };
    let mut blocks = Vec::new();
    each_block(&view, |block| {
        blocks.push(block);
        true
    })
    .unwrap();
    (meta, blocks)
}

fn load(mut loader: Loader, blocks: &[Block]) -> Result<LoadedFile, StateError> {
    for block in blocks {
        loader.add(block)?;
    }
    loader.finish()
}

#[tokio::test]
async fn a_snapshot_is_installed_as_it_was_and_the_old_file_goes() {
    let stores = Stores::new();
    let (from, to) = (stores.state(1).await, stores.state(2).await);
    (0..3).for_each(|index| fill(&from, index, 100));
    fill(&to, 0, 7);
    let (meta, blocks) = snapshot(&from);
    assert!(blocks.len() > 3, "{} blocks", blocks.len());
    let loaded = load(to.loader(&meta).unwrap(), &blocks).unwrap();
    let old = to.view().unwrap();
    to.install(&meta, SnapshotData::Loaded(loaded)).unwrap();
    assert!(content(&to) == content(&from));
    assert_eq!((to.durable_index(), *to.watch_applied().borrow()), (2, 2));
    assert_eq!(
        old.scan(&[], &[255]).unwrap().count(),
        7,
        "a view of the old state stays good"
    );
    drop(old);
    assert_eq!(stores.files(2), ["2.redb", "CURRENT"]);

    drop(to);
    let reopened = stores.state(2).await;
    assert!(content(&reopened) == content(&from));
    assert_eq!(reopened.applied().membership, meta.last_membership);
}

#[tokio::test]
async fn a_snapshot_that_is_damaged_changes_nothing() {
    let stores = Stores::new();
    let (from, to) = (stores.state(1).await, stores.state(2).await);
    (0..3).for_each(|index| fill(&from, index, 100));
    fill(&to, 0, 7);
    let before = content(&to);
    let (meta, blocks) = snapshot(&from);
    let last = blocks.len() - 1;

    let flipped = |blocks: &mut Vec<Block>| {
        let mut pairs = blocks[1].pairs.to_vec();
        pairs[1_000] ^= 1;
        blocks[1].pairs = pairs.into();
    };
    let checksum = |blocks: &mut Vec<Block>| blocks[0].checksum = vec![0; 32].into();
    let missing = |blocks: &mut Vec<Block>| drop(blocks.remove(1));
    let repeated = |blocks: &mut Vec<Block>| blocks.insert(1, blocks[1].clone());
    let swapped = |blocks: &mut Vec<Block>| blocks.swap(0, 1);
    let unfinished = |blocks: &mut Vec<Block>| drop(blocks.pop());
    let miscounted = |blocks: &mut Vec<Block>| blocks[last].total_pairs = Some(299);
    let damages: [(&str, Damage<'_>); 7] = [
        ("flipped", &flipped),
        ("checksum", &checksum),
        ("missing", &missing),
        ("repeated", &repeated),
        ("swapped", &swapped),
        ("unfinished", &unfinished),
        ("miscounted", &miscounted),
    ];
    for (name, damage) in damages {
        let mut damaged = blocks.clone();
        damage(&mut damaged);
        let result = load(to.loader(&meta).unwrap(), &damaged);
        assert!(matches!(result, Err(StateError::Snapshot { .. })), "{name}");
        assert!(content(&to) == before, "{name}");
        assert_eq!(stores.files(2), ["1.redb", "CURRENT"], "{name}");
    }
    fill(&to, 1, 1);
}

#[tokio::test]
async fn a_crash_between_loading_and_installing_leaves_the_old_state() {
    let stores = Stores::new();
    let (from, to) = (stores.state(1).await, stores.state(2).await);
    fill(&from, 5, 100);
    fill(&to, 0, 7);
    to.checkpoint().unwrap();
    let before = content(&to);
    let (meta, blocks) = snapshot(&from);
    let loaded = load(to.loader(&meta).unwrap(), &blocks).unwrap();
    assert_eq!(stores.files(2), ["1.redb", "2.loading", "CURRENT"]);
    // A crash runs no destructor: the file stays.
    let path = stores.directory.path().join("2/2.loading");
    let left = std::fs::read(&path).unwrap();
    drop((loaded, to));
    std::fs::write(&path, left).unwrap();

    let reopened = stores.state(2).await;
    assert!(content(&reopened) == before);
    assert_eq!(stores.files(2), ["1.redb", "CURRENT"]);
}

#[tokio::test]
async fn a_snapshot_is_not_installed_under_another_name() {
    let stores = Stores::new();
    let (from, to) = (stores.state(1).await, stores.state(2).await);
    fill(&from, 5, 3);
    let (meta, blocks) = snapshot(&from);
    let loaded = load(to.loader(&meta).unwrap(), &blocks).unwrap();
    let other = SnapshotMeta {
        last_log_id: None,
        ..meta
    };
    let result = to.install(&other, SnapshotData::Loaded(loaded));
    assert!(matches!(result, Err(StateError::Snapshot { .. })));
}
