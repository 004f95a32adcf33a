//! How this module takes its short locks, and how it makes a rename durable.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks for a few instructions, never across an await. A poisoned lock means that an index may be half changed: crash.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds one of these locks")
}

/// As [`lock`], with others who read.
pub fn read<T>(shared: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    shared.read().expect("nothing panics while it holds one of these locks")
}

/// As [`lock`], alone.
pub fn write<T>(shared: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    shared
        .write()
        .expect("nothing panics while it holds one of these locks")
}

/// Makes the names in a directory durable: a rename is not, before this.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
