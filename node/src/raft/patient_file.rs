//! A file whose writes wait for room on a full disk instead of failing: a database that met a failed write is of no use until
//! it is opened again, one that waits goes on by itself.
//!
//! What is on disk when such a write is given up: parts of a transaction that was not committed, as after a loss of power.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

use super::room::DiskRoom;

/// Whether its writes wait; shared with who knows what the file is for.
pub type Patience = Arc<AtomicBool>;

/// The backend of a redb file.
pub struct PatientFile {
    file: FileBackend,
    room: Arc<dyn DiskRoom>,
    patience: Patience,
}

impl PatientFile {
    pub fn new(file: File, room: Arc<dyn DiskRoom>, patience: Patience) -> Result<Self, DatabaseError> {
        Ok(PatientFile {
            file: FileBackend::new(file)?,
            room,
            patience,
        })
    }

    fn with_room(&self, write: impl Fn() -> io::Result<()>) -> io::Result<()> {
        until_it_fits(|| self.waits(), write)
    }

    fn waits(&self) -> bool {
        self.patience.load(Ordering::Relaxed) && self.room.wait()
    }
}

impl fmt::Debug for PatientFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatientFile")
            .field("file", &self.file)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Only what finds no room is done again, as long as there is reason to wait; the same bytes go to the same place.
pub fn until_it_fits<T>(wait: impl Fn() -> bool, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match write() {
            Err(error) if finds_no_room(&error) && wait() => {}
            done => return done,
        }
    }
}

/// Whether a write failed because the disk, or what may be used of it, is full.
fn finds_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl StorageBackend for PatientFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.with_room(|| self.file.set_len(length))
    }

    /// Never done again: after a failed one nobody knows what is on the disk.
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with_room(|| self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A disk that has room again after some waits.
    struct FullFor(AtomicUsize);

    impl DiskRoom for FullFor {
        fn before_write(&self, _: usize) {}

        fn wait(&self) -> bool {
            let left = self.0.load(Ordering::SeqCst);
            self.0.store(left.saturating_sub(1), Ordering::SeqCst);
            left > 0
        }

        fn end_waits(&self) {
            self.0.store(0, Ordering::SeqCst);
        }

        fn takes_entries(&self) -> bool {
            true
        }

        fn takes_snapshots(&self) -> bool {
            true
        }

        fn has_to_spare(&self, _: u64) -> bool {
            true
        }
    }

    fn file(waits: usize, patient: bool) -> PatientFile {
        let room = Arc::new(FullFor(AtomicUsize::new(waits)));
        let patience = Arc::new(AtomicBool::new(patient));
        PatientFile::new(tempfile::tempfile().unwrap(), room, patience).unwrap()
    }

    /// Tries a write that succeeds after so many failures; gives the number of attempts, and how it ended.
    fn attempts(file: &PatientFile, failures: usize, kind: io::ErrorKind) -> (usize, Result<(), io::ErrorKind>) {
        let attempts = AtomicUsize::new(0);
        let write = || match attempts.fetch_add(1, Ordering::SeqCst) < failures {
            true => Err(kind.into()),
            false => Ok(()),
        };
        let ended = file.with_room(write).map_err(|error| error.kind());
        (attempts.into_inner(), ended)
    }

    #[test]
    fn a_write_that_finds_no_room_is_made_again_until_there_is_some() {
        let full = io::ErrorKind::StorageFull;
        assert_eq!(attempts(&file(9, true), 3, full), (4, Ok(())));
        assert_eq!(attempts(&file(9, true), 3, io::ErrorKind::QuotaExceeded), (4, Ok(())));
    }

    #[test]
    fn a_write_fails_where_the_waits_have_ended_or_nothing_waits() {
        let full = io::ErrorKind::StorageFull;
        assert_eq!(attempts(&file(2, true), 9, full), (3, Err(full)));
        assert_eq!(attempts(&file(9, false), 9, full), (1, Err(full)));
    }

    #[test]
    fn any_other_failure_is_final() {
        let other = io::ErrorKind::PermissionDenied;
        assert_eq!(attempts(&file(9, true), 9, other), (1, Err(other)));
    }
}
