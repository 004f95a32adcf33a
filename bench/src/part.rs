//! The parts of the measurement, each for itself.

use anyhow::Result;
use clap::ValueEnum;

use crate::report::Report;
use crate::settings::Settings;
use crate::{creates, failover, traversal};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Creates, batches, edges and reads, beside etcd
    Creates,
    /// Walks of one to three hops
    Traversal,
    /// What a client sees when a leader is killed
    Failover,
}

impl Part {
    pub const ALL: [Part; 3] = [Part::Creates, Part::Traversal, Part::Failover];

    pub async fn measure(self, settings: &Settings) -> Result<Report> {
        match self {
            Part::Creates => creates::measure(settings).await,
            Part::Traversal => traversal::measure(settings).await,
            Part::Failover => failover::measure(settings).await,
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().expect("no part is skipped").get_name())
    }
}
