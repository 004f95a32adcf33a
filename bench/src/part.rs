//! The parts of the measurement, each for itself.

use anyhow::Result;
use clap::ValueEnum;

use crate::report::Report;
use crate::settings::Settings;
use crate::{changes, contention, creates, failover, growth, idle, load, open, partitions, recovery, traversal};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Creates, batches, edges and reads, beside etcd
    Creates,
    /// Updates of nodes that clients have in common
    Contention,
    /// Walks of one to three hops
    Traversal,
    /// What a client sees when a leader is killed
    Failover,
    /// What clients feel when partitions move, a member is drained, all members are rolled
    Changes,
    /// What idle members cost
    Idle,
    /// What a create costs by the number of partitions
    Partitions,
    /// How soon a member with much data serves again after a kill
    Recovery,
    /// Creates that are due at a fixed rate
    Open,
    /// Creates, reads and edges as members, clients, nodes or the graph grow
    Growth,
    /// `kotoba load` of a large file
    Load,
}

impl Part {
    pub const ALL: [Part; 11] = [
        Part::Creates,
        Part::Contention,
        Part::Traversal,
        Part::Failover,
        Part::Changes,
        Part::Idle,
        Part::Partitions,
        Part::Recovery,
        Part::Open,
        Part::Growth,
        Part::Load,
    ];

    pub async fn measure(self, settings: &Settings) -> Result<Report> {
        match self {
            Part::Creates => creates::measure(settings).await,
            Part::Contention => contention::measure(settings).await,
            Part::Traversal => traversal::measure(settings).await,
            Part::Failover => failover::measure(settings).await,
            Part::Changes => changes::measure(settings).await,
            Part::Idle => idle::measure(settings).await,
            Part::Partitions => partitions::measure(settings).await,
            Part::Recovery => recovery::measure(settings).await,
            Part::Open => open::measure(settings).await,
            Part::Growth => growth::measure(settings).await,
            Part::Load => load::measure(settings).await,
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no part is skipped").get_name())
    }
}
