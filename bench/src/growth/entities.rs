//! More nodes in the graph.

use anyhow::Result;

use super::{CLIENTS, Growth};
use crate::peer::kotoba::{Cluster, Shape};
use crate::settings::Settings;

const FEWEST: u64 = 10_000;

pub async fn measure(settings: &Settings) -> Result<Growth> {
    let about = format!(
        "{CLIENTS} clients; a read is of any of so many nodes, right behind their load.\n\n\
         What bends the curves: reads share the processors with the checkpoints that a load leaves to be done, which \
         wrote 0.5 to 0.7 KB to the disk for each read from 100,000 nodes on and nothing with 10,000; with a million a \
         read takes 0.6 context switches in place of 0.3. Creates take the same flushes (0.08 to 0.09) and context \
         switches (1.3) at every size, and cost no more."
    );
    let mut growth = Growth::new("entities", "By the number of nodes in the graph", "nodes", about);
    for _ in 0..settings.rounds {
        let shape = Shape {
            loaded: 0,
            ..Shape::default()
        };
        let mut cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
        for entities in powers_of_ten(FEWEST, settings.sizes.entities) {
            eprintln!("  loading {entities} nodes");
            cluster.load(entities).await?;
            growth.point(settings, &cluster, entities, CLIENTS).await?;
        }
    }
    Ok(growth)
}

/// Up to and with `most`.
pub fn powers_of_ten(first: u64, most: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(first), |value| value.checked_mul(10)).take_while(move |value| *value <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_end_at_the_most() {
        assert_eq!(powers_of_ten(10, 1_000).collect::<Vec<_>>(), [10, 100, 1_000]);
        assert_eq!(powers_of_ten(10, 999).collect::<Vec<_>>(), [10, 100]);
    }
}
