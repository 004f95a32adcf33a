//! More members, each of which holds less of it.

use anyhow::Result;

use super::{CLIENTS, Growth};
use crate::peer::kotoba::{Cluster, Shape};
use crate::settings::Settings;

const MEMBERS: [usize; 4] = [1, 3, 5, 9];

pub async fn measure(settings: &Settings) -> Result<Growth> {
    let about = format!(
        "{CLIENTS} clients; three replicas of each partition where there are three members. All members are on this machine and \
         share its processors and its disk.\n\n\
         What bends the curves: from three members on creates keep the two cores busy (98 %) while a sync of the log takes 0.3 \
         ms, so the rate falls as a create costs more. Three members do three times what one does, and speak to each other: 6 \
         context switches a create in place of 1. Five and nine do no more than three, but each has a log of its own, so that \
         a sync takes 3.2 and 2.4 entries in place of 4.6, and a create 8 and 11 context switches. A read is answered by one \
         member, but takes 0.9 context switches with nine members in place of 0.2 with one."
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
