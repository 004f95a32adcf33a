//! How creates and strong reads change as something grows: one file for each thing that grows.

mod clients;
mod degree;
mod entities;
mod members;
mod values;

use std::sync::Arc;

use anyhow::Result;

use crate::measure::{Drive, sample};
use crate::operation::Operation;
use crate::peer::kotoba::Cluster;
use crate::plot::Plot;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const COLUMNS: &[&str] = &["a second", "p50 ms", "p99 ms", "CPU µs", "errors"];
/// What is drawn, and as what its file is named.
const DRAWN: [(&str, &str); 3] = [("a second", "rate"), ("p99 ms", "p99"), ("CPU µs", "cpu")];
const CLIENTS: u16 = 64;

/// How creates and reads change with one thing.
struct Growth {
    /// As what files are named.
    name: &'static str,
    heading: &'static str,
    about: String,
    /// What is counted on the axis.
    axis: &'static str,
    table: Table,
}

pub async fn measure(settings: &Settings) -> Result<Report> {
    let about = "Creates and strong reads of single nodes, in three members with 16 partitions unless said otherwise. \
                 Processor time is that of all members, for one operation. What bends a curve was looked up in a run that \
                 was watched (decision 119): context switches of the members, flushes and bytes of the disk, and idle \
                 processors, each half second, from /proc.";
    let mut report = Report::new("Growth", about);
    report = members::measure(settings).await?.onto(report);
    report = clients::measure(settings).await?.onto(report);
    report = values::measure(settings).await?.onto(report);
    report = entities::measure(settings).await?.onto(report);
    degree::measure(settings, report).await
}

impl Growth {
    fn new(name: &'static str, heading: &'static str, axis: &'static str, about: String) -> Self {
        Growth {
            name,
            heading,
            about,
            axis,
            table: Table::new(["operation", axis], COLUMNS),
        }
    }

    /// Reads first: what creates leave behind would be read more slowly.
    async fn point(&mut self, settings: &Settings, cluster: &Cluster, point: u64, clients: u16) -> Result<()> {
        for operation in [Operation::Read, Operation::Create] {
            let client = Arc::new(cluster.client(operation, clients)?);
            let how = Drive::closed(clients);
            let sample = sample(&client, how, &cluster.members.processes, settings).await?;
            eprintln!(
                "  {point} {}, {operation}: {:.0}/s, p99 {:.2} ms, CPU {:.0} µs",
                self.axis, sample.per_s, sample.p99_ms, sample.cpu_us
            );
            let errors = sample.errors as f64;
            let values = [sample.per_s, sample.p50_ms, sample.p99_ms, sample.cpu_us, errors];
            self.table.enter(&operation.to_string(), point, values);
        }
        Ok(())
    }

    fn onto(self, report: Report) -> Report {
        let report = report.heading(self.heading, &self.about).table(&self.table);
        DRAWN.into_iter().fold(report, |report, (column, file)| {
            report.plot(Plot {
                name: format!("growth-{}-{file}", self.name),
                title: self.heading.to_lowercase(),
                x: self.axis,
                y: column,
                lines: self.table.lines(column),
            })
        })
    }
}
