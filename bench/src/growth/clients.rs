//! More clients at once.

use anyhow::Result;

use super::Growth;
use crate::peer::kotoba::{Cluster, Shape};
use crate::settings::Settings;

const CLIENTS: [u16; 6] = [1, 4, 16, 64, 256, 1_024];

pub async fn measure(settings: &Settings) -> Result<Growth> {
    let about = "Each client sends when it has been answered.\n\n\
                 What bends the curves: creates that come together share syncs, messages and wake-ups. Alone, a create takes 3 \
                 syncs, one on each member, 32 writes to files and sockets and 62 context switches, and two fifths of its \
                 processor time are the kernel's; of 1,024 clients 17 share a sync, and a create takes 1.6 writes and 1.4 \
                 context switches. From 16 clients on the cores are busy (97 %): more clients gain only what they share, and \
                 beyond 256 hardly more than a longer wait. A read takes 3.2 context switches alone and 0.4 from 64 clients \
                 on. Reads of 1,024 clients are dearer in part for what is measured before them: checkpoints of the creates of \
                 256 clients go on meanwhile (15 % of their samples are in redb, 5 % with 64 clients)."
        .to_owned();
    let mut growth = Growth::new("clients", "By the number of clients", "clients", about);
    for _ in 0..settings.rounds {
        let shape = Shape::default();
        let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
        for clients in CLIENTS {
            growth.point(settings, &cluster, clients.into(), clients).await?;
        }
    }
    Ok(growth)
}
