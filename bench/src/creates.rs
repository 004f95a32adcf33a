//! Creates, batches, edges and reads of each peer: rounds over peers, operations and numbers of clients; one sample each.
//!
//! In each round each peer is started anew, three members with their data on disk and flushed, and does every operation with
//! every number of clients; the order of the peers changes from round to round. So what the machine does meanwhile meets all.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::cell::{Cells, Sample, Subject, median, spread};
use crate::goals;
use crate::measure::{Drive, sample};
use crate::operation::Operation;
use crate::peer::{Peer, Running};
use crate::plot::{Lines, Plot};
use crate::report::Report;
use crate::settings::Settings;
use crate::table::number;

const ABOUT: &str = "Each is asked through the API that it offers to a program in Rust: KotobaDB through its client, whose calls share a stream, \
etcd through its gRPC methods, call by call. The load generator has the same two cores as the members, so what a client costs counts. \
Processor time is that of all members, for one record. Flushes are those of the whole disk.

| operation | clients | peer | records/s | p50 ms | p99 ms | CPU µs | flushes | errors |
|---|--:|---|--:|--:|--:|--:|--:|--:|";

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut cells = Cells::new();
    for round in 0..settings.rounds {
        let mut peers = settings.programs.peers();
        if round % 2 == 1 {
            peers.reverse();
        }
        for peer in peers {
            eprintln!("  round {} of {}, {}", round + 1, settings.rounds, peer.name());
            one_peer(settings, peer, &mut cells).await?;
        }
    }
    Ok(report(&cells))
}

/// Reads first: what writes leave behind would be read more slowly.
async fn one_peer(settings: &Settings, peer: Peer, cells: &mut Cells) -> Result<()> {
    let running = Running::start(peer, &settings.programs, &settings.data_dir).await?;
    let operations = settings.operations.iter().copied();
    let mut operations: Vec<Operation> = operations.filter(|one| peer.can(*one)).collect();
    operations.sort_by_key(|operation| !operation.is_read());
    for operation in operations {
        for &clients in &settings.clients {
            let how = Drive {
                records: operation.records(),
                ..Drive::closed(clients)
            };
            let client = running.client(operation, clients).await?;
            let sample = sample(&client, how, running.processes(), settings).await?;
            eprintln!(
                "  {operation} with {clients}: {:.0}/s, p50 {:.2} ms",
                sample.per_s, sample.p50_ms
            );
            let subject = Subject {
                operation,
                clients,
                peer,
            };
            cells.entry(subject).or_default().push(sample);
        }
    }
    Ok(())
}

fn report(cells: &Cells) -> Report {
    let mut report = Report::new("Operations", ABOUT);
    report.goals = goals::all(cells);
    for (subject, samples) in cells {
        report.text.push_str(&row(*subject, samples));
        let sample = serde_json::json!({ "subject": subject, "samples": samples });
        report.samples.push(sample);
    }
    let operations: BTreeSet<Operation> = cells.keys().map(|subject| subject.operation).collect();
    report.plots = operations.into_iter().map(|operation| plot(cells, operation)).collect();
    report
}

fn plot(cells: &Cells, operation: Operation) -> Plot {
    let mut lines = Lines::new();
    for (subject, samples) in cells.iter().filter(|(subject, _)| subject.operation == operation) {
        let rate = median(samples.iter().map(|sample| sample.per_s));
        let line = lines.entry(subject.peer.name().to_owned()).or_default();
        line.push((f64::from(subject.clients), rate));
    }
    Plot {
        name: operation.to_string(),
        title: format!("{operation}, three members"),
        x: "clients",
        y: "records a second",
        lines,
    }
}

fn row(subject: Subject, samples: &[Sample]) -> String {
    let middle = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
    let around = spread(samples.iter().map(|sample| sample.per_s)) * 100.0;
    let errors: u64 = samples.iter().map(|sample| sample.errors).sum();
    format!(
        "| {} | {} | {} | {} ± {around:.0} % | {:.2} | {:.2} | {:.0} | {:.3} | {errors} |\n",
        subject.operation,
        subject.clients,
        subject.peer.name(),
        number(middle(|sample| sample.per_s)),
        middle(|sample| sample.p50_ms),
        middle(|sample| sample.p99_ms),
        middle(|sample| sample.cpu_us),
        middle(|sample| sample.flushes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_the_spread_and_all_errors() {
        let sample = |per_s, errors| Sample {
            per_s,
            p50_ms: 1.0,
            p99_ms: 2.0,
            cpu_us: 100.4,
            flushes: 0.125,
            errors,
        };
        let subject = Subject {
            operation: Operation::Read,
            clients: 64,
            peer: Peer::Etcd,
        };
        let row = row(subject, &[sample(900.0, 1), sample(1_100.0, 0), sample(1_000.0, 2)]);
        assert_eq!(
            row,
            "| read | 64 | etcd | 1000 ± 10 % | 1.00 | 2.00 | 100 | 0.125 | 3 |\n"
        );
    }

    #[test]
    fn peers_are_curves_over_the_numbers_of_clients() {
        let subject = |clients, peer| Subject {
            operation: Operation::Read,
            clients,
            peer,
        };
        let sample = |per_s| Sample {
            per_s,
            p50_ms: 1.0,
            p99_ms: 2.0,
            cpu_us: 100.4,
            flushes: f64::NAN,
            errors: 0,
        };
        let cells = Cells::from([
            (subject(1, Peer::Kotoba), vec![sample(5.0)]),
            (subject(1, Peer::Etcd), vec![sample(1.0), sample(3.0)]),
            (subject(16, Peer::Etcd), vec![sample(20.0)]),
        ]);
        let lines = plot(&cells, Operation::Read).lines;
        assert_eq!(lines["etcd"], [(1.0, 2.0), (16.0, 20.0)]);
        assert_eq!(lines["KotobaDB"], [(1.0, 5.0)]);
        assert!(plot(&cells, Operation::Edge).lines.is_empty());
    }
}
