//! The file system under a data directory; a narrow door, so that tests can fill it on purpose.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// What a file system says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What this user may still write.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The file system, or something that stands for it in a test. All calls block.
pub trait Volume: Send + Sync + 'static {
    fn room(&self, directory: &Path) -> io::Result<Room>;
    /// The bytes that a ballast holds; 0 where there is none.
    fn held(&self, ballast: &Path) -> io::Result<u64>;
    /// Allocates a ballast of so many bytes, blocks and all.
    fn hold(&self, ballast: &Path, bytes: u64) -> io::Result<()>;
    /// Gives up the ballast, if there is one.
    fn release(&self, ballast: &Path) -> io::Result<()>;
}

/// A real one.
pub struct FileSystem;

impl Volume for FileSystem {
    fn room(&self, directory: &Path) -> io::Result<Room> {
        let stat = statvfs(directory)?;
        Ok(Room {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn held(&self, ballast: &Path) -> io::Result<u64> {
        match fs::metadata(ballast) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn hold(&self, ballast: &Path, bytes: u64) -> io::Result<()> {
        let file = File::create(ballast)?;
        Ok(fallocate(&file, FallocateFlags::empty(), 0, bytes)?)
    }

    fn release(&self, ballast: &Path) -> io::Result<()> {
        match fs::remove_file(ballast) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ballast_takes_room_until_it_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ballast");
        let room = FileSystem.room(directory.path()).unwrap();
        assert!(room.free_bytes > 0 && room.free_bytes <= room.total_bytes);
        assert_eq!(FileSystem.held(&path).unwrap(), 0);
        FileSystem.hold(&path, 1 << 20).unwrap();
        assert_eq!(FileSystem.held(&path).unwrap(), 1 << 20);
        FileSystem.release(&path).unwrap();
        FileSystem.release(&path).unwrap();
        assert_eq!(FileSystem.held(&path).unwrap(), 0);
    }
}
