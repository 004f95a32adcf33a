//! The file system under the data directory, and the room on it.

use prometheus_client::registry::Registry;

use super::{as_gauge, gauge};
use crate::space::Reading;

pub(super) fn register(registry: &mut Registry, room: Reading) {
    let rows = [
        (
            "disk_size_bytes",
            "Size of the file system that the data directory is on",
            as_gauge(room.total_bytes),
        ),
        (
            "disk_free_bytes",
            "What the data of this member may still take, the ballast included",
            as_gauge(room.available_bytes),
        ),
        (
            "disk_reserve_bytes",
            "What is kept free: with less than that, clients' writes are refused",
            as_gauge(room.reserve_bytes),
        ),
        (
            "disk_full",
            "1 while clients' writes are refused for want of room",
            i64::from(room.is_short()),
        ),
    ];
    for (name, help, value) in rows {
        gauge(registry, name, help, value);
    }
}
