//! More clients at once.

use anyhow::Result;

use super::Growth;
use crate::peer::kotoba::{Cluster, Shape};
use crate::settings::Settings;

const CLIENTS: [u16; 6] = [1, 4, 16, 64, 256, 1_024];

pub async fn measure(settings: &Settings) -> Result<Growth> {
    let about = "Each client sends when it has been answered.\n\n\
                 What bends the curves: creates that come together share syncs, messages and wake-ups. Alone, a create \
                 takes 3 flushes, one on each member, and 43 context switches, and the processors are idle for a quarter \
                 of the time; of 64 clients 0.07 and 1.3, of 1,024 clients 0.03 and 0.4. Beyond 256 the processors are \
                 busy (97 %), and more clients gain hardly more than a longer wait. A read takes 2.7 context switches \
                 alone and 0.2 to 0.3 from 64 clients on, where the processors are busy (95 %). Reads of 256 and 1,024 \
                 clients are dearer for what is measured before them: checkpoints of those creates go on meanwhile, 0.8 \
                 and 0.3 KB to the disk for each read."
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
