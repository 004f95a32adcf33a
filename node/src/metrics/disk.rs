//! The file system under the data directory.

use std::path::Path;

use prometheus_client::registry::Registry;
use tracing::debug;

use super::{as_gauge, gauge};

/// Leaves them out where the file system does not tell.
pub(super) fn register(registry: &mut Registry, data_dir: &Path) {
    let found = match rustix::fs::statvfs(data_dir) {
        Ok(found) => found,
        Err(error) => return debug!(%error, "the file system of the data directory does not tell its size"),
    };
    let bytes = |blocks: u64| as_gauge(blocks.saturating_mul(found.f_frsize));
    gauge(
        registry,
        "disk_size_bytes",
        "Size of the file system that the data directory is on",
        bytes(found.f_blocks),
    );
    gauge(
        registry,
        "disk_free_bytes",
        "Bytes of it that this process may still write",
        bytes(found.f_bavail),
    );
}
