//! Data directories as a crash leaves them.

use std::fs;
use std::path::{Path, PathBuf};

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
