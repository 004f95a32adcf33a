//! More clients at once.

use anyhow::Result;

use super::Growth;
use crate::peer::kotoba::{Cluster, Shape};
use crate::settings::Settings;

const CLIENTS: [u16; 6] = [1, 4, 16, 64, 256, 1_024];

pub async fn measure(settings: &Settings) -> Result<Growth> {
    let about = "Each client sends when it has been answered.".to_owned();
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
