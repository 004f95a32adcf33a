//! RESULTS.md: what was measured where, against which goals. Each part keeps its report in a file of its own beside the page,
//! so that one part can be measured anew and the others stay.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::part::Part;
use crate::report::Report;
use crate::table::number;

/// Keeps the report of a part with its samples and draws its plots; then writes the page anew.
pub fn write(folder: &Path, plots: &Path, part: Part, report: &Report) -> Result<()> {
    let kept = folder.join("results");
    std::fs::create_dir_all(&kept).context("making the folder of the results")?;
    let text = serde_json::to_string_pretty(report).context("writing a report as JSON")?;
    std::fs::write(kept.join(name(part)), text + "\n").context("keeping a report")?;
    report.plots.iter().try_for_each(|plot| plot.write(plots))?;
    std::fs::write(folder.join("RESULTS.md"), page(&read(&kept)?)).context("writing RESULTS.md")
}

/// The reports of all parts that there are.
fn read(kept: &Path) -> Result<Vec<Report>> {
    let mut reports = Vec::new();
    for path in Part::ALL.map(|part| kept.join(name(part))) {
        match std::fs::read(&path) {
            Ok(text) => {
                let report = serde_json::from_slice(&text);
                reports.push(report.with_context(|| format!("{} is no report", path.display()))?);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
    Ok(reports)
}

fn name(part: Part) -> String {
    format!("{part}.json")
}

fn page(reports: &[Report]) -> String {
    let mut page = String::from(
        "# Results\n\nWritten by `make bench`; the plots are in docs/figures, all samples in results/. Figures are medians of the \
         rounds, ± half of their range.\n\n## Goals\n\n| goal | bound | measured | |\n|---|--:|--:|---|\n",
    );
    for goal in reports.iter().flat_map(|report| &report.goals) {
        let (measured, verdict) = match goal.measured {
            Some(value) if goal.bound.holds(value) => (number(value), "reached"),
            Some(value) => (number(value), "**not reached**"),
            None => ("-".to_owned(), "not measured"),
        };
        writeln!(page, "| {} | {} | {measured} | {verdict} |", goal.what, goal.bound).expect("text takes all");
    }
    for report in reports {
        let (title, measured, text) = (&report.title, &report.measured, report.text.trim_end());
        writeln!(page, "\n## {title}\n\n*{measured}*\n\n{text}").expect("text takes all");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goals::Bound;

    fn report(title: &str, measured: Option<f64>) -> Report {
        let mut report = Report::new(title, "Of kills.").goal("gap", Bound::AtMost(1.5), measured);
        report.measured = "2 cores".to_owned();
        report
    }

    #[test]
    fn a_goal_that_was_not_measured_is_not_said_to_be_reached() {
        let page = page(&[report("Failover", None), report("Again", Some(1.25))]);
        assert!(page.contains("\n## Failover\n\n*2 cores*\n\nOf kills.\n"));
        assert!(page.contains("| gap | ≤ 1.5 | - | not measured |"));
        assert!(page.contains("| gap | ≤ 1.5 | 1.25 | reached |"));
    }

    #[test]
    fn a_part_that_is_measured_anew_leaves_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let write = |part, report| write(folder.path(), folder.path(), part, &report).unwrap();
        write(Part::Failover, report("Failover", Some(1.0)));
        write(Part::Traversal, report("Traversal", Some(2.0)));
        write(Part::Failover, report("Failover", Some(f64::NAN)));
        let page = std::fs::read_to_string(folder.path().join("RESULTS.md")).unwrap();
        let expected = [report("Traversal", Some(2.0)), report("Failover", None)];
        assert_eq!(page, super::page(&expected));
    }
}
