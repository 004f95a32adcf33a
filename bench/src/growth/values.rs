//! Larger nodes.

use anyhow::Result;

use super::Growth;
use crate::operation::LOADED;
use crate::peer::kotoba::{Cluster, Shape};
use crate::settings::Settings;

/// A whole node may take 1 MiB: its text a little less.
const BYTES: [usize; 5] = [64, 1 << 10, 16 << 10, 128 << 10, (1 << 20) - 1_024];
/// Of a large value many clients would only wait for the disk.
const CLIENTS: u16 = 16;
/// Of all that is loaded to be read.
const LOADED_BYTES: usize = 64 << 20;

pub async fn measure(settings: &Settings) -> Result<Growth> {
    let about = format!(
        "{CLIENTS} clients; nodes with one text of so many bytes.\n\n\
         What bends the curves: up to 1 KiB a create takes the same flushes (0.23) and context switches (4) whatever its \
         size; above, bytes count, for each is written to three logs and to three states, which brought six to thirteen \
         times a node's size to the disk. From 16 KiB on the processors are busy first (95 %), with 1 MiB for 17 µs a \
         KiB. A read of 16 KiB costs twice one of 64 bytes, and one of 1 MiB, sent in writes of 16 KiB, 40 times."
    );
    let mut growth = Growth::new("values", "By the size of a node", "bytes", about);
    for _ in 0..settings.rounds {
        for bytes in BYTES {
            let shape = Shape {
                loaded: LOADED.min((LOADED_BYTES / bytes) as u64),
                value_bytes: bytes,
                ..Shape::default()
            };
            let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
            growth.point(settings, &cluster, bytes as u64, CLIENTS).await?;
        }
    }
    Ok(growth)
}
