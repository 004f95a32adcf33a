//! A state with its layers, held against a plain map.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kotoba_state::ids::{GroupId, ReplicaId};
use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::store::{Read, StoreError, Write};
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::{FileSettings, ReplicaState, StateView};
use crate::raft::log::{LogStore, ReplicaLogHandle};
use crate::raft::snapshot::{SnapshotData, meta_of};
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, ReplicaKey};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const KEY: ReplicaKey = ReplicaKey {
    group: GroupId::Meta,
    replica: ReplicaId(1),
};

/// Two spaces, so that one may be empty in the file while the other is not.
#[derive(Clone, Debug)]
struct Edit {
    space: u8,
    key: u8,
    value: Option<u8>,
}

impl Edit {
    fn key(&self) -> Vec<u8> {
        vec![self.space, self.key]
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Entries that are applied in one go.
    Apply(Vec<Vec<Edit>>),
    Checkpoint,
    /// Holds on to a view and to what it has to show.
    Pin,
    Reopen,
    /// Replaces the state by its own snapshot.
    Install,
    /// Puts a fresh file in the place of the one in use.
    Rewrite,
}

fn edit() -> impl Strategy<Value = Edit> {
    (1..3_u8, 0..12_u8, proptest::option::weighted(0.6, any::<u8>())).prop_map(|(space, key, value)| Edit {
        space,
        key,
        value,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let entry = proptest::collection::vec(edit(), 0..6);
    prop_oneof![
        8 => proptest::collection::vec(entry, 1..4).prop_map(Step::Apply),
        3 => Just(Step::Checkpoint),
        3 => Just(Step::Pin),
        1 => Just(Step::Reopen),
        1 => Just(Step::Install),
        1 => Just(Step::Rewrite),
    ]
}

/// Does the edits of a command, after looking whether the store shows those before.
struct Editor;

impl StateMachine for Editor {
    fn apply(&self, store: &mut dyn Write, _: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        for edit in command.chunks(4) {
            let key = &edit[..2];
            match edit[2] {
                0 => store.delete(key)?,
                _ => store.put(key, &edit[3..])?,
            }
            assert_eq!(store.get(key)?.is_some(), edit[2] != 0);
            let found = store.scan(key, &[key[0], key[1] + 1])?.count();
            assert_eq!(found, usize::from(edit[2]));
        }
        Ok(Vec::new())
    }
}

fn command(edits: &[Edit]) -> Command {
    let bytes = edits.iter().flat_map(|edit| {
        [
            edit.space,
            edit.key,
            u8::from(edit.value.is_some()),
            edit.value.unwrap_or(0),
        ]
    });
    Command::from(bytes.collect::<Bytes>())
}

struct World {
    directory: tempfile::TempDir,
    log: ReplicaLogHandle,
    state: ReplicaState,
    model: Model,
    next_index: u64,
    pinned: Vec<(StateView, Model)>,
    _store: LogStore,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LogStore::of_a_test(directory.path(), true);
        let log = store.create(KEY).await.unwrap();
        World {
            state: open(&directory, &log),
            directory,
            log,
            model: Model::new(),
            next_index: 0,
            pinned: Vec::new(),
            _store: store,
        }
    }

    fn take(&mut self, step: Step) -> TestCaseResult {
        match step {
            Step::Apply(entries) => self.apply(&entries),
            Step::Checkpoint => self.state.checkpoint().unwrap(),
            Step::Pin => self.pinned.push((self.state.view().unwrap(), self.model.clone())),
            Step::Reopen => {
                // Views are of a file that is to be closed.
                self.pinned.clear();
                self.state.close().unwrap();
                self.state = open(&self.directory, &self.log);
            }
            Step::Install if self.next_index > 0 => {
                let view = self.state.durable_view().unwrap();
                self.state.install(&meta_of(&view), SnapshotData::View(view)).unwrap();
            }
            Step::Install => {}
            Step::Rewrite => assert!(self.state.rewrite().unwrap()),
        }
        same(&self.state.view().unwrap(), &self.model)?;
        self.pinned.iter().try_for_each(|(view, model)| same(view, model))
    }

    fn apply(&mut self, entries: &[Vec<Edit>]) {
        let leader = LeaderId {
            term: 1,
            node_id: ReplicaId(1),
        };
        let first = self.next_index;
        self.next_index += entries.len() as u64;
        let entries: Vec<_> = (first..)
            .zip(entries)
            .map(|(index, edits)| Entry {
                log_id: LogId::new(leader, index),
                payload: Payload::Normal(command(edits)),
            })
            .collect();
        self.state.apply(&entries).unwrap();
    }
}

fn open(directory: &tempfile::TempDir, log: &ReplicaLogHandle) -> ReplicaState {
    let path = directory.path().join("state");
    ReplicaState::open(
        &path,
        KEY,
        FileSettings::of_a_test(),
        Arc::new(Editor),
        log.clone(),
        Arc::default(),
    )
    .unwrap()
}

fn same(view: &StateView, model: &Model) -> TestCaseResult {
    let pairs = |pairs: kotoba_state::store::Pairs<'_>| -> Model {
        let pairs = pairs.map(Result::unwrap);
        pairs.map(|(key, value)| (key.into(), value.into())).collect()
    };
    prop_assert_eq!(&pairs(view.all().unwrap()), model);
    for (from, to) in [
        ([1, 0], [2, 0]),
        ([1, 5], [2, 5]),
        ([2, 3], [9, 9]),
        ([0, 0], [1, 4]),
        ([1, 2], [1, 4]),
    ] {
        let expected: Model = model
            .range(from.to_vec()..to.to_vec())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        prop_assert_eq!(view.is_empty(&from, &to).unwrap(), expected.is_empty());
        prop_assert_eq!(pairs(view.scan(&from, &to).unwrap()), expected.clone());
        // Behind the scan more ranges are in memory than before it.
        if let Some(kept) = view.kept(&from, &to) {
            let first = pairs(Box::new(kept.pairs.iter().cloned().map(Ok)));
            prop_assert!(kept.is_whole || first.len() < expected.len());
            prop_assert!(expected.into_iter().take(first.len()).eq(first));
        }
    }
    for key in (1..3).flat_map(|space| (0..12).map(move |key| vec![space, key])) {
        let found = view.get(&key).unwrap();
        prop_assert_eq!(found.as_deref(), model.get(&key).map(Vec::as_slice));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_was_read_is_in_memory_until_something_is_written_there() {
    let mut world = World::new().await;
    let write = |key| {
        let edit = Edit {
            space: 1,
            key,
            value: Some(key),
        };
        Step::Apply(vec![vec![edit]])
    };
    tokio::task::block_in_place(|| {
        let mut take = |step| {
            if let Step::Apply(entries) = &step {
                let written = entries[0].iter().map(|edit| (edit.key(), vec![edit.key]));
                world.model.extend(written);
            }
            world.take(step).unwrap();
            let view = world.state.view().unwrap();
            let keys = |(from, to): ([u8; 2], [u8; 2])| view.kept(&from, &to).map(|kept| kept.pairs.len());
            // As `same` has read them.
            (keys(([1, 2], [1, 4])), keys(([1, 5], [2, 5])))
        };
        take(write(3));
        take(write(7));
        assert_eq!(take(Step::Checkpoint), (Some(1), Some(1)));
        assert_eq!(take(write(2)), (None, Some(1)), "a memtable has more");
        assert_eq!(take(Step::Checkpoint), (Some(2), Some(1)), "it was read anew");
        assert_eq!(take(write(9)), (Some(2), None));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_state_is_a_plain_map_to_whoever_reads_it(steps in proptest::collection::vec(step(), 1..30)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                if let Step::Apply(entries) = &step {
                    for edit in entries.iter().flatten() {
                        match edit.value {
                            Some(value) => drop(world.model.insert(edit.key(), vec![value])),
                            None => drop(world.model.remove(&edit.key())),
                        }
                    }
                }
                tokio::task::block_in_place(|| world.take(step))?;
            }
            TestCaseResult::Ok(())
        })?;
    }
}
