//! RESULTS.md: what was measured where, against which goals.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::Report;
use crate::table::number;

/// Writes the page, all samples beside it for programs, and the plots.
pub fn write(folder: &Path, plots: &Path, about: &[String], reports: &[Report]) -> Result<()> {
    std::fs::write(folder.join("RESULTS.md"), page(about, reports)).context("writing RESULTS.md")?;
    let mut lines = String::new();
    for report in reports {
        for sample in &report.samples {
            let line = serde_json::json!({ "part": report.title, "measured": sample });
            writeln!(lines, "{line}").expect("text takes all");
        }
    }
    std::fs::write(folder.join("results.jsonl"), lines).context("writing results.jsonl")?;
    let drawn = reports.iter().flat_map(|report| &report.plots);
    drawn.into_iter().try_for_each(|plot| plot.write(plots))
}

fn page(about: &[String], reports: &[Report]) -> String {
    let mut page = String::from("# Results\n\nWritten by `make bench`; the plots are in docs/figures.\n\n");
    for line in about {
        writeln!(page, "- {line}").expect("text takes all");
    }
    page.push_str("\n## Goals\n\n| goal | bound | measured | |\n|---|--:|--:|---|\n");
    for goal in reports.iter().flat_map(|report| &report.goals) {
        let (measured, verdict) = match goal.measured {
            Some(value) if goal.bound.holds(value) => (number(value), "reached"),
            Some(value) => (number(value), "**not reached**"),
            None => ("-".to_owned(), "not measured"),
        };
        writeln!(page, "| {} | {} | {measured} | {verdict} |", goal.what, goal.bound).expect("text takes all");
    }
    for report in reports {
        writeln!(page, "\n## {}\n\n{}", report.title, report.text.trim_end()).expect("text takes all");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::Bound;

    #[test]
    fn a_goal_that_was_not_measured_is_not_said_to_be_reached() {
        let report = Report::new("Failover", "Of kills.")
            .goal("gap", Bound::AtMost(4.0), None)
            .goal("median", Bound::AtMost(1.5), Some(1.25));
        let page = page(&["machine: a".to_owned()], &[report]);
        assert!(page.contains("- machine: a") && page.contains("\n## Failover\n\nOf kills.\n"));
        assert!(page.contains("| gap | ≤ 4 | - | not measured |"));
        assert!(page.contains("| median | ≤ 1.5 | 1.25 | reached |"));
    }
}
