//! The operations that are measured, each with a check that its answer is right.

use kotoba_proto::v1::{Direction, GetNodes, Traverse};
use kotoba_proto::{ClusterError, KotobaCluster};
use rand::Rng;

use super::graph::Graph;

const STEPS: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Write,
    Read,
    Traverse,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Write => "write",
            Kind::Read => "read",
            Kind::Traverse => "traverse",
        }
    }
}

/// How often each kind comes: parts of their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix {
    write: u32,
    read: u32,
    traverse: u32,
}

impl Mix {
    pub(super) const WRITE: Mix = Mix::of(1, 0, 0);
    pub(super) const READ: Mix = Mix::of(0, 1, 0);
    pub(super) const TRAVERSE: Mix = Mix::of(0, 0, 1);
    pub(super) const MIXED: Mix = Mix::of(2, 7, 1);

    const fn of(write: u32, read: u32, traverse: u32) -> Self {
        Mix { write, read, traverse }
    }

    /// Whether there has to be something to read.
    pub(super) fn reads(self) -> bool {
        self.read + self.traverse > 0
    }

    /// The kind that a number stands for, equal parts of all numbers for each.
    fn kind(self, number: u32) -> Kind {
        let number = number % (self.write + self.read + self.traverse);
        match (number < self.write, number < self.write + self.read) {
            (true, _) => Kind::Write,
            (false, true) => Kind::Read,
            (false, false) => Kind::Traverse,
        }
    }
}

/// What all clients of a measurement share.
pub(super) struct Work {
    pub cluster: KotobaCluster,
    pub graph: Graph,
    /// Nodes to read.
    pub ids: Vec<u64>,
    pub mix: Mix,
}

impl kotoba_drive::Work for Work {
    type Kind = Kind;
    type Error = ClusterError;

    fn draw(&self) -> Kind {
        self.mix.kind(rand::rng().random_range(0..u32::MAX))
    }

    async fn once(&self, _client: usize, kind: Kind) -> Result<(), ClusterError> {
        match kind {
            Kind::Write => self.cluster.execute_operation(self.graph.node()).await.map(|_| ()),
            Kind::Read => {
                let ids = vec![self.any_node()];
                let rows = self.cluster.fetch_rows(GetNodes { ids }).await?;
                expect(rows.len() == 1, "a node that was created was not found")
            }
            Kind::Traverse => {
                let traverse = Traverse {
                    start: vec![self.any_node()],
                    direction: Direction::Out.into(),
                    min_depth: 1,
                    max_depth: STEPS,
                    ..Traverse::default()
                };
                self.cluster.fetch_rows(traverse).await.map(|_| ())
            }
        }
    }
}

impl Work {
    fn any_node(&self) -> u64 {
        self.ids[rand::rng().random_range(0..self.ids.len())]
    }
}

fn expect(holds: bool, wrong: &str) -> Result<(), ClusterError> {
    match holds {
        true => Ok(()),
        false => Err(ClusterError::Protocol(wrong.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_mix_has_its_parts() {
        let mut counts = BTreeMap::new();
        for number in 0..100 {
            *counts.entry(Mix::MIXED.kind(number)).or_insert(0) += 1;
        }
        assert_eq!(
            counts,
            [(Kind::Write, 20), (Kind::Read, 70), (Kind::Traverse, 10)].into()
        );
        assert_eq!(Mix::TRAVERSE.kind(17), Kind::Traverse);
        assert!(!Mix::WRITE.reads() && Mix::MIXED.reads());
    }
}
