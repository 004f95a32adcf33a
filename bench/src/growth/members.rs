//! More members, each of which holds less of it.

use anyhow::Result;

use super::{CLIENTS, Growth};
use crate::peer::kotoba::{Cluster, Shape};
use crate::settings::Settings;

const MEMBERS: [usize; 4] = [1, 3, 5, 9];

pub async fn measure(settings: &Settings) -> Result<Growth> {
    let about = format!(
        "{CLIENTS} clients; three replicas of each partition where there are three members. All members are on this machine and \
         share its processors and its disk."
    );
    let mut growth = Growth::new("members", "By the number of members", "members", about);
    for _ in 0..settings.rounds {
        for members in MEMBERS {
            let shape = Shape {
                members,
                ..Shape::default()
            };
            let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
            growth.point(settings, &cluster, members as u64, CLIENTS).await?;
        }
    }
    Ok(growth)
}
