//! What a run measures, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::operation::Operation;
use crate::part::Part;
use crate::peer::Programs;

#[derive(Clone, Debug)]
pub struct Settings {
    pub programs: Programs,
    /// Members have folders of their own in it, which are removed.
    pub data_dir: PathBuf,
    pub parts: Vec<Part>,
    pub rounds: u32,
    /// Of each measurement that is one of rates or times.
    pub duration: Duration,
    pub clients: Vec<u16>,
    pub operations: Vec<Operation>,
    pub sizes: Sizes,
}

/// How large what takes its time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub kills: u32,
    pub changes: u32,
    /// Nodes that are there when something is changed.
    pub changed: u64,
    pub idle: Duration,
    pub recovery_mib: u64,
    pub entities: u64,
    pub degree: u64,
    pub load: u64,
}

#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SizeArgs {
    /// Small sizes, to see that everything works: with --rounds 1 --seconds 1 in some minutes; the figures say little then
    #[arg(long)]
    quick: bool,
    /// Failover: how often a leader is killed, in all rounds together [default: 20, quick 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    kills: Option<u32>,
    /// Changes: how often each change is made, in all rounds together [default: 4, quick 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    changes: Option<u32>,
    /// Changes: nodes that there are before [default: 100000, quick 10000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    changed_nodes: Option<u64>,
    /// Idle: how long the members are watched, in seconds [default: 20, quick 3]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    idle_seconds: Option<u64>,
    /// Recovery: text that a member has before it is killed, in MiB [default: 1024, quick 32]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    recovery_mib: Option<u64>,
    /// Growth: most entities that there are, by powers of ten from 10,000 [default: 1000000, quick 10000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    entities: Option<u64>,
    /// Growth: most edges that one node has, by powers of ten from 10 [default: 1000000, quick 1000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    degree: Option<u64>,
    /// Load: rows of the file [default: 10000000, quick 200000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(100_000..=100_000_000))]
    load_rows: Option<u64>,
}

impl SizeArgs {
    pub fn sizes(self) -> Sizes {
        let Sizes {
            kills,
            changes,
            changed,
            idle,
            recovery_mib,
            entities,
            degree,
            load,
        } = if self.quick { Sizes::QUICK } else { Sizes::WHOLE };
        Sizes {
            kills: self.kills.unwrap_or(kills),
            changes: self.changes.unwrap_or(changes),
            changed: self.changed_nodes.unwrap_or(changed),
            idle: self.idle_seconds.map_or(idle, Duration::from_secs),
            recovery_mib: self.recovery_mib.unwrap_or(recovery_mib),
            entities: self.entities.unwrap_or(entities),
            degree: self.degree.unwrap_or(degree),
            load: self.load_rows.unwrap_or(load),
        }
    }
}

impl Sizes {
    const WHOLE: Sizes = Sizes {
        kills: 20,
        changes: 4,
        changed: 100_000,
        idle: Duration::from_secs(20),
        recovery_mib: 1_024,
        entities: 1_000_000,
        degree: 1_000_000,
        load: 10_000_000,
    };

    const QUICK: Sizes = Sizes {
        kills: 2,
        changes: 1,
        changed: 10_000,
        idle: Duration::from_secs(3),
        recovery_mib: 32,
        entities: 10_000,
        degree: 1_000,
        load: 200_000,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_is_given_wins_over_quick() {
        let args = SizeArgs {
            quick: true,
            kills: Some(7),
            ..SizeArgs::default()
        };
        let expected = Sizes {
            kills: 7,
            ..Sizes::QUICK
        };
        assert_eq!(args.sizes(), expected);
        assert_eq!(SizeArgs::default().sizes(), Sizes::WHOLE);
    }
}
