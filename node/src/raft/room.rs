//! What the stores ask of the room on their disk. Whoever opens them knows how much there is.

/// The room on the disk of this member.
pub trait DiskRoom: Send + Sync + 'static {
    /// Comes before so many bytes are written; may make room for them. Blocks for a system call or two.
    fn before_write(&self, bytes: usize);
    /// Comes after a write that met a full disk, which is made again: makes room, or waits a moment for others to. False where
    /// the write is to fail. Blocks.
    fn wait(&self) -> bool;
    /// No write waits from now on: the member ends.
    fn end_waits(&self);
    /// False where entries that others have logged cannot be taken in. The meta group's always are.
    fn takes_entries(&self) -> bool;
    /// False where a whole state cannot be taken in.
    fn takes_snapshots(&self) -> bool;
    /// Whether so many bytes can be written for no other reason than to save room later. Blocks for a system call.
    fn has_to_spare(&self, bytes: u64) -> bool;
}

/// A disk without an end.
impl DiskRoom for () {
    fn before_write(&self, _: usize) {}

    fn wait(&self) -> bool {
        false
    }

    fn end_waits(&self) {}

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
