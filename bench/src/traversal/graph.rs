//! A graph with a few nodes of very many edges, the same one in every run.

use std::ops::RangeInclusive;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

pub const NODES: usize = 10_000;
pub const EDGES: usize = 100_000;
/// Edges outwards of the nodes that walks start from; the mean is 10.
pub const MODERATE: RangeInclusive<usize> = 5..=20;
const SEED: u64 = 6;

pub struct Graph {
    /// From and to, by the numbers of nodes.
    pub edges: Vec<(usize, usize)>,
    degrees: Vec<usize>,
}

impl Graph {
    /// A node that many edges leave need not be one that many enter: the ranks are independent.
    pub fn new() -> Self {
        let mut random = StdRng::seed_from_u64(SEED);
        let ends = Zipf::new(NODES);
        let mut node_of_rank: Vec<usize> = (0..NODES).collect();
        node_of_rank.shuffle(&mut random);
        let mut degrees = vec![0; NODES];
        let mut edge = || {
            let (source, target) = (ends.rank(&mut random), node_of_rank[ends.rank(&mut random)]);
            degrees[source] += 1;
            (source, target)
        };
        Graph {
            edges: (0..EDGES).map(|_| edge()).collect(),
            degrees,
        }
    }

    /// Nodes that walks start from.
    pub fn moderate(&self) -> Vec<usize> {
        let degrees = self.degrees.iter().enumerate();
        degrees
            .filter(|(_, degree)| MODERATE.contains(degree))
            .map(|(node, _)| node)
            .collect()
    }

    /// The most edges that leave one node.
    pub fn largest(&self) -> usize {
        self.degrees.iter().copied().max().unwrap_or_default()
    }
}

/// Rank r is drawn with a probability as 1 / (r + 1).
struct Zipf {
    /// Sums of the weights up to each rank.
    sums: Vec<f64>,
}

impl Zipf {
    fn new(ranks: usize) -> Self {
        let weights = (1..=ranks).map(|rank| 1.0 / rank as f64);
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Zipf { sums: sums.collect() }
    }

    fn rank(&self, random: &mut impl Rng) -> usize {
        let most = self.sums.last().copied().unwrap_or_default();
        let drawn = random.random_range(0.0..most);
        self.sums.partition_point(|sum| *sum <= drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_drawn_as_often_as_its_weight() {
        let zipf = Zipf::new(3);
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn = [0; 3];
        for _ in 0..11_000 {
            drawn[zipf.rank(&mut random)] += 1;
        }
        // 6, 3 and 2 of 11.
        for (count, expected) in drawn.iter().zip([6_000_i32, 3_000, 2_000]) {
            assert!((count - expected).abs() < 300, "{drawn:?}");
        }
    }

    #[test]
    fn the_graph_is_always_the_same_and_skewed() {
        let graph = Graph::new();
        assert_eq!(graph.edges, Graph::new().edges);
        assert_eq!((graph.edges.len(), graph.degrees.iter().sum()), (EDGES, EDGES));
        assert!(graph.largest() > 9_000 && graph.moderate().len() > 1_000);
    }
}
