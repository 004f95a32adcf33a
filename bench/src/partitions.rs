//! What a create costs by the number of partitions.

use std::sync::Arc;

use anyhow::Result;

use crate::measure::{Drive, sample};
use crate::operation::Operation;
use crate::peer::kotoba::{Cluster, Shape};
use crate::plot::Plot;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const PARTITIONS: [u32; 4] = [1, 4, 16, 64];
const CLIENTS: u16 = 64;
const CPU: &str = "CPU µs";

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut table = Table::new(
        ["operation", "partitions"],
        &["a second", "p50 ms", "p99 ms", CPU, "flushes", "errors"],
    );
    for _ in 0..settings.rounds {
        for partitions in PARTITIONS {
            let shape = Shape {
                partitions,
                loaded: 0,
                ..Shape::default()
            };
            let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
            let client = Arc::new(cluster.client(Operation::Create, CLIENTS)?);
            let sample = sample(&client, Drive::closed(CLIENTS), &cluster.members.processes, settings).await?;
            eprintln!(
                "  {partitions} partitions: {:.0}/s, CPU {:.0} µs",
                sample.per_s, sample.cpu_us
            );
            let values = [
                sample.per_s,
                sample.p50_ms,
                sample.p99_ms,
                sample.cpu_us,
                sample.flushes,
                sample.errors as f64,
            ];
            table.enter("create", partitions.into(), values);
        }
    }
    let about = format!(
        "Creates of {CLIENTS} clients in three members. Processor time is that of all members, for one create.\n\n\
         What bends the curve: little. Creates that name no stored node are made in one slot at a time (decision 93), so as \
         many share an entry of the log with 64 partitions as with one; what 64 cost more is about what idle members cost more \
         (see there)."
    );
    Ok(Report::new("Partitions", &about).table(&table).plot(Plot {
        name: "partitions".to_owned(),
        title: format!("processor time of a create, {CLIENTS} clients"),
        x: "partitions",
        y: CPU,
        lines: table.lines(CPU),
    }))
}
