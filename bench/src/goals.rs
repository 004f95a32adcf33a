//! What is to be reached, each as one number that a run gives.

use serde::{Deserialize, Serialize};

use crate::cell::{Cells, Sample, Subject, median};
use crate::operation::Operation;
use crate::peer::Peer;

/// A goal and what was measured of it; none where the run did not measure it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    pub what: String,
    pub bound: Bound,
    pub measured: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::AtLeast(least) => write!(f, "≥ {least}"),
            Bound::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

type Figure = fn(&Sample) -> f64;

pub fn all(cells: &Cells) -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    use Operation::{Batch, Create, Edge, Read, ReadEventual};
    let rate: Figure = |sample| sample.per_s;
    let cpu: Figure = |sample| sample.cpu_us;
    let p50: Figure = |sample| sample.p50_ms;
    let ours = |operation, clients, figure: Figure| value(cells, Peer::Kotoba, operation, clients, figure);
    let ratio = |operation, clients, figure: Figure| {
        Some(ours(operation, clients, figure)? / value(cells, Peer::Etcd, operation, clients, figure)?)
    };
    let goal = |what: &str, bound, measured| Goal {
        what: what.to_owned(),
        bound,
        measured,
    };
    vec![
        goal(
            "creates a second, 64 clients, of etcd's",
            AtLeast(1.2),
            ratio(Create, 64, rate),
        ),
        goal(
            "creates a second, 256 clients, of etcd's",
            AtLeast(1.2),
            ratio(Create, 256, rate),
        ),
        goal(
            "processor time of a create, 64 clients, of etcd's",
            AtMost(0.6),
            ratio(Create, 64, cpu),
        ),
        goal(
            "processor time of a create, 256 clients, of etcd's",
            AtMost(0.6),
            ratio(Create, 256, cpu),
        ),
        goal(
            "p50 of a create, 1 client, of etcd's",
            AtMost(1.0),
            ratio(Create, 1, p50),
        ),
        goal(
            "flushes of a create, 64 clients",
            AtMost(0.2),
            ours(Create, 64, |sample| sample.flushes),
        ),
        goal(
            "p50 of a strong read, 1 client, of etcd's",
            AtMost(0.5),
            ratio(Read, 1, p50),
        ),
        goal(
            "strong reads a second, 256 clients, of etcd's",
            AtLeast(1.3),
            ratio(Read, 256, rate),
        ),
        goal(
            "eventual reads a second, 256 clients, of etcd's serializable ones",
            AtLeast(1.2),
            ratio(ReadEventual, 256, rate),
        ),
        goal(
            "edges between partitions a second, 64 clients, of our creates",
            AtLeast(0.4),
            ours(Edge, 64, rate)
                .zip(ours(Create, 64, rate))
                .map(|(edges, creates)| edges / creates),
        ),
        goal(
            "records a second in batches of 100, 16 clients",
            AtLeast(10_000.0),
            ours(Batch, 16, rate),
        ),
    ]
}

fn value(cells: &Cells, peer: Peer, operation: Operation, clients: u16, figure: Figure) -> Option<f64> {
    let subject = Subject {
        operation,
        clients,
        peer,
    };
    Some(median(cells.get(&subject)?.iter().map(figure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(per_s: f64) -> Sample {
        Sample {
            per_s,
            p50_ms: 1.0,
            p99_ms: 2.0,
            cpu_us: 100.0,
            flushes: 0.1,
            errors: 0,
        }
    }

    #[test]
    fn a_ratio_is_of_the_medians_and_only_there_where_both_were_measured() {
        let subject = |peer| Subject {
            operation: Operation::Create,
            clients: 64,
            peer,
        };
        let mut cells = Cells::new();
        cells.insert(subject(Peer::Kotoba), [1.0, 30.0, 20.0].map(sample).to_vec());
        let measured = |cells: &Cells| all(cells)[0].measured;
        assert_eq!(measured(&cells), None);
        cells.insert(subject(Peer::Etcd), vec![sample(10.0)]);
        assert_eq!(measured(&cells), Some(2.0));
        assert!(all(&cells)[0].bound.holds(2.0) && !all(&cells)[2].bound.holds(1.0));
    }
}
