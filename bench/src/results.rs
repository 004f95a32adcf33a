//! RESULTS.md: what was measured where, against which goals.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cell::{Cells, Sample, Subject, median, spread};
use crate::goals;

/// Writes the page, and all samples beside it for programs.
pub fn write(folder: &Path, about: &[String], cells: &Cells) -> Result<()> {
    std::fs::write(folder.join("RESULTS.md"), page(about, cells)).context("writing RESULTS.md")?;
    let mut lines = String::new();
    for (subject, samples) in cells {
        let line = serde_json::json!({ "subject": subject, "samples": samples });
        writeln!(lines, "{line}").expect("text takes all");
    }
    std::fs::write(folder.join("results.jsonl"), lines).context("writing results.jsonl")
}

fn page(about: &[String], cells: &Cells) -> String {
    let mut page = String::from("# Results\n\nWritten by `make bench`; the plots are in docs/figures.\n\n");
    for line in about {
        writeln!(page, "- {line}").expect("text takes all");
    }
    page.push_str("\n## Goals\n\n| goal | bound | measured | |\n|---|--:|--:|---|\n");
    for goal in goals::all(cells) {
        let (measured, verdict) = match goal.measured {
            Some(value) if goal.bound.holds(value) => (number(value), "reached"),
            Some(value) => (number(value), "**not reached**"),
            None => ("-".to_owned(), "not measured"),
        };
        writeln!(page, "| {} | {} | {measured} | {verdict} |", goal.what, goal.bound).expect("text takes all");
    }
    page.push_str(
        "\n## Figures\n\nProcessor time is that of all members, for one record. Flushes are those of the whole disk.\n\n\
         | operation | clients | peer | records/s | p50 ms | p99 ms | CPU µs | flushes | errors |\n\
         |---|--:|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for (subject, samples) in cells {
        page.push_str(&row(*subject, samples));
    }
    page
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

/// As many digits as say something.
fn number(value: f64) -> String {
    match value {
        large if large >= 100.0 => format!("{large:.0}"),
        small => format!("{small:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;
    use crate::peer::Peer;

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
    fn a_goal_that_was_not_measured_is_not_said_to_be_reached() {
        let page = page(&["machine: a".to_owned()], &Cells::new());
        assert!(page.contains("- machine: a") && page.contains("| not measured |"));
        assert!(!page.contains("| reached |"));
    }
}
