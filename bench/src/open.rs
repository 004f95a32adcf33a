//! Creates that are due at a fixed rate, below what the members could do.

use std::sync::Arc;

use anyhow::Result;

use crate::measure::{Drive, sample};
use crate::operation::Operation;
use crate::peer::kotoba::{Cluster, Shape};
use crate::plot::{Lines, Plot};
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

/// Of the closed loop whose rate is the whole.
const CLIENTS: u16 = 64;
/// Creates under way at once: more than are due during any stall but the longest.
const UNDER_WAY: u16 = 512;
const PERCENT: [u32; 3] = [25, 50, 75];

const P50: &str = "p50 ms";
const P99: &str = "p99 ms";

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut table = Table::new(
        ["operation", "% of the rate"],
        &["due a second", "answered a second", P50, P99, "CPU µs", "errors"],
    );
    for round in 0..settings.rounds {
        eprintln!("  round {} of {}", round + 1, settings.rounds);
        one_round(settings, &mut table).await?;
    }
    let about = format!(
        "Creates in three members. The whole rate is that of {CLIENTS} clients who each send when they have been answered; then \
         so many percent of it are due a second, whether or not earlier ones were answered, at most {UNDER_WAY} under way, and \
         their times count from when they were due."
    );
    let lines = [P50, P99].map(|column| {
        (
            column.to_owned(),
            table.lines(column).remove("create").unwrap_or_default(),
        )
    });
    Ok(Report::new("Open loop", &about).table(&table).plot(Plot {
        name: "open".to_owned(),
        title: "creates due at a fixed rate".to_owned(),
        x: "% of the closed loop's rate",
        y: "ms",
        lines: Lines::from(lines),
    }))
}

async fn one_round(settings: &Settings, table: &mut Table) -> Result<()> {
    let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, Shape::default()).await?;
    let processes = &cluster.members.processes;
    let closed = Arc::new(cluster.client(Operation::Create, CLIENTS)?);
    let whole = sample(&closed, Drive::closed(CLIENTS), processes, settings).await?;
    eprintln!("  closed loop: {:.0}/s", whole.per_s);
    let open = Arc::new(cluster.client(Operation::Create, UNDER_WAY)?);
    for percent in PERCENT {
        let due = ((whole.per_s * f64::from(percent) / 100.0) as u32).max(1);
        let how = Drive {
            rate_per_s: Some(due),
            ..Drive::closed(UNDER_WAY)
        };
        let sample = sample(&open, how, processes, settings).await?;
        eprintln!(
            "  {due}/s due: p50 {:.2} ms, p99 {:.2} ms",
            sample.p50_ms, sample.p99_ms
        );
        let values = [
            due.into(),
            sample.per_s,
            sample.p50_ms,
            sample.p99_ms,
            sample.cpu_us,
            sample.errors as f64,
        ];
        table.enter("create", percent.into(), values);
    }
    Ok(())
}
