//! Updates of nodes that clients have in common, beside the same updates of nodes that hardly any two meet at.

use std::sync::Arc;

use anyhow::Result;
use kotoba_drive::Work;
use kotoba_proto::KotobaCluster;
use kotoba_proto::v1::Consistency;

use crate::measure::{Drive, sample};
use crate::operation::{LOADED, SHARED};
use crate::peer::kotoba::{Cluster, Shape, shared, update_two};
use crate::plot::Plot;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const CLIENTS: [u16; 5] = [1, 16, 64, 256, 1_024];
const RATE: &str = "a second";

/// Two of these nodes are changed in one transaction.
struct Updates {
    connections: Vec<KotobaCluster>,
    nodes: Vec<u64>,
}

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut table = Table::new(
        ["two nodes of", "clients"],
        &[RATE, "p50 ms", "p99 ms", "CPU µs", "errors"],
    );
    for _ in 0..settings.rounds {
        let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, Shape::default()).await?;
        for nodes in [shared(&cluster.ids), cluster.ids.clone()] {
            let count = nodes.len();
            for clients in CLIENTS {
                let updates = Arc::new(Updates {
                    connections: cluster.connections(clients, Consistency::Strong)?,
                    nodes: nodes.clone(),
                });
                let sample = sample(&updates, Drive::closed(clients), &cluster.members.processes, settings).await?;
                eprintln!(
                    "  two of {count} nodes, {clients} clients: {:.0}/s, p99 {:.0} ms",
                    sample.per_s, sample.p99_ms
                );
                let errors = sample.errors as f64;
                let values = [sample.per_s, sample.p50_ms, sample.p99_ms, sample.cpu_us, errors];
                table.enter(&count.to_string(), clients.into(), values);
            }
        }
    }
    let about = format!(
        "Two nodes, nearly always of two partitions, are changed in one transaction, in three members with 16 partitions: two of \
         {SHARED}, where clients meet, and two of {LOADED}, where they hardly do. Processor time is that of all members, for one \
         transaction."
    );
    Ok(Report::new("Contention", &about).table(&table).plot(Plot {
        name: "contention".to_owned(),
        title: "updates of two nodes of so many".to_owned(),
        x: "clients",
        y: RATE,
        lines: table.lines(RATE),
    }))
}

impl Work for Updates {
    type Kind = ();
    type Error = String;

    fn draw(&self) {}

    async fn once(&self, client: usize, (): ()) -> Result<(), String> {
        let cluster = &self.connections[client % self.connections.len()];
        let updated = cluster.execute_operations(update_two(&self.nodes)).await;
        updated.map(drop).map_err(|error| error.to_string())
    }
}
