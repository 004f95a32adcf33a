//! Data directories as a crash leaves them.

use std::fs;
use std::path::{Path, PathBuf};

use kotoba_state::ids::GroupId;
use redb::{Database, ReadableTable, TableDefinition};

/// Copies a directory that something may still write for a moment, until the copy is of one point in time.
pub fn copy_crash_image(from: &Path, to: &Path) {
    /// The log's writer thread ends within its half second of patience; each round takes some milliseconds.
    const MAX_ROUNDS: usize = 1_000;
    for _ in 0..MAX_ROUNDS {
        let _ = fs::remove_dir_all(to);
        copy(from, to);
        if same(from, to) {
            return;
        }
    }
    panic!("{} is written all the time after its crash", from.display());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target)),
        }
    }
}

fn same(a: &Path, b: &Path) -> bool {
    let (names, others) = (files(a), files(b));
    names == others
        && names
            .iter()
            .all(|name| fs::read(a.join(name)).ok() == fs::read(b.join(name)).ok())
}

/// All files below a directory, by their paths in it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path().strip_prefix(directory).unwrap().to_owned()),
            }
        }
    }
    found.sort();
    found
}

/// The names in a member's folder of replicas: `group-replica`.
pub fn replica_directories(data_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(data_dir.join("replicas")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The state file in use of the only replica of a group on a disk.
pub fn state_file(data_dir: &Path, group: GroupId) -> PathBuf {
    let prefix = format!("{}-", group.number());
    let replica = replica_directories(data_dir)
        .into_iter()
        .find(|name| name.starts_with(&prefix))
        .unwrap();
    let directory = data_dir.join("replicas").join(replica);
    let generation = fs::read_to_string(directory.join("CURRENT")).unwrap();
    directory.join(format!("{}.redb", generation.trim()))
}

/// Changes one bit of the last value whose key begins so, as a bad disk would, but with a checksum that is right.
pub fn flip_bit(state_file: &Path, key_prefix: &[u8]) {
    const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");
    let database = Database::open(state_file).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut keys = write.open_table(KEYS).unwrap();
        let pairs = keys.iter().unwrap().map(Result::unwrap);
        let mut pairs = pairs.map(|(key, value)| (key.value().to_vec(), value.value().to_vec()));
        let (key, mut value) = pairs.rfind(|(key, _)| key.starts_with(key_prefix)).unwrap();
        *value.last_mut().unwrap() ^= 1;
        keys.insert(key.as_slice(), value.as_slice()).unwrap();
    }
    write.commit().unwrap();
}
