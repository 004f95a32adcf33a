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
         What bends the curves: all members share two processors, and a create costs more with each, while it waits for \
         syncs and messages: the processors are idle for a third of the time with one member and for a sixth from three \
         on. Three members keep three copies and speak to each other: 1.5 context switches and 0.12 flushes a create in \
         place of 0.4 and 0.03. Five do as much as three (1.4 and 0.08); nine take 2.3 context switches a create and do \
         less. A read is answered by one member, but takes 0.7 context switches with nine members in place of 0.1 with \
         one; from three on the processors are busy (96 %)."
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
