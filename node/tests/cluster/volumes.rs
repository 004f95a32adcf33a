//! A file system that a test fills and empties; the files of the member are elsewhere, on a real one.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use kotoba_node::space::{Room, Volume};

const MIB: u64 = 1 << 20;
const TOTAL_BYTES: u64 = 1024 * MIB;
/// What members of these tests keep free; half of it is ballast.
pub const RESERVE_BYTES: u64 = 100 * MIB;

/// The disk of one member, as far as its free space goes.
#[derive(Default)]
pub struct TestVolume {
    taken: AtomicU64,
    ballast: AtomicU64,
}

impl TestVolume {
    /// Somebody takes the last byte that is free now.
    pub fn fill(&self) {
        let ballast = self.ballast.load(Ordering::Relaxed);
        self.taken.store(TOTAL_BYTES - ballast, Ordering::Relaxed);
    }

    /// Nothing is left, not even what the ballast held.
    pub fn exhaust(&self) {
        self.taken.store(TOTAL_BYTES, Ordering::Relaxed);
    }

    pub fn empty(&self) {
        self.taken.store(0, Ordering::Relaxed);
    }
}

impl Volume for TestVolume {
    fn room(&self, _: &Path) -> io::Result<Room> {
        let used = self.taken.load(Ordering::Relaxed) + self.ballast.load(Ordering::Relaxed);
        Ok(Room {
            free_bytes: TOTAL_BYTES.saturating_sub(used),
            total_bytes: 4 * TOTAL_BYTES,
        })
    }

    fn held(&self, _: &Path) -> io::Result<u64> {
        Ok(self.ballast.load(Ordering::Relaxed))
    }

    fn hold(&self, _: &Path, bytes: u64) -> io::Result<()> {
        self.ballast.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn release(&self, _: &Path) -> io::Result<()> {
        self.ballast.store(0, Ordering::Relaxed);
        Ok(())
    }
}
