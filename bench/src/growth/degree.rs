//! More edges on one node.

use std::sync::Arc;

use anyhow::{Context, Result};
use kotoba_drive::Work;
use kotoba_proto::cluster::Search;
use kotoba_proto::v1::{Direction, EdgesOf, Traverse};
use kotoba_proto::{KotobaCluster, Options};
use rand::seq::IndexedRandom;

use super::entities::powers_of_ten;
use crate::measure::{Drive, sample};
use crate::peer::kotoba::{Cluster, Shape, edge, execute};
use crate::plot::Plot;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const FEWEST: u64 = 10;
/// Rows of a page.
const PAGE: u64 = 100;
/// Of a transaction of the load.
const EDGES_AT_ONCE: u64 = 1_000;
const P50: &str = "p50 ms";

/// What is done to the node.
#[derive(Clone, Copy, Debug)]
enum Touch {
    EdgesPage,
    NeighboursPage,
    /// Last: it changes what the others read.
    Add,
}

impl Touch {
    const ALL: [Touch; 3] = [Touch::EdgesPage, Touch::NeighboursPage, Touch::Add];

    fn name(self) -> &'static str {
        match self {
            Touch::EdgesPage => "first page of edges",
            Touch::NeighboursPage => "first page of neighbours",
            Touch::Add => "add an edge",
        }
    }
}

/// One client's doings with the node.
struct Hub {
    cluster: KotobaCluster,
    touch: Touch,
    node: u64,
    others: Vec<u64>,
    /// Rows that a page has at least.
    least: u64,
}

pub async fn measure(settings: &Settings, report: Report) -> Result<Report> {
    let mut table = Table::new(["operation", "edges"], &[P50, "p99 ms", "CPU µs", "errors"]);
    for _ in 0..settings.rounds {
        one_round(settings, &mut table).await?;
    }
    let about = format!(
        "One client. So many edges leave one node before it is measured, and those that the measurement adds itself come on top; \
         a page has {PAGE} rows.\n\n\
         What bends the curves: adding an edge takes 8 flushes and 80 to 90 context switches at every degree, while the \
         processors are idle for a fifth of the time: one client waits for one commit after the other. A page of edges \
         costs the same from 100 edges on, except beside the checkpoints that a load leaves to be done: with a million \
         the processors are idle for 15 % in place of 40. A page of 100 neighbours takes 7 to 15 context switches in \
         place of 3, as leaders are asked how far their followers must be. The edges lead to some 10,000 nodes and lie by \
         those, so with a million a hundred lie between one neighbour and the next, and all are scanned."
    );
    let report = report.heading("By the edges of one node", &about).table(&table);
    Ok(report.plot(Plot {
        name: "growth-degree".to_owned(),
        title: "a node with many edges".to_owned(),
        x: "edges",
        y: P50,
        lines: table.lines(P50),
    }))
}

async fn one_round(settings: &Settings, table: &mut Table) -> Result<()> {
    let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, Shape::default()).await?;
    let (node, others) = cluster.ids.split_first().context("nothing was loaded")?;
    let mut present = 0;
    for degree in powers_of_ten(FEWEST, settings.sizes.degree) {
        eprintln!("  loading {degree} edges of one node");
        grow(&cluster, *node, others, degree - present).await?;
        present = degree;
        for touch in Touch::ALL {
            let hub = Arc::new(Hub {
                cluster: cluster.members.cluster(0, Options::default())?,
                touch,
                node: *node,
                others: others.to_vec(),
                least: degree.min(PAGE),
            });
            let sample = sample(&hub, Drive::closed(1), &cluster.members.processes, settings).await?;
            eprintln!("  {degree} edges, {}: p50 {:.2} ms", touch.name(), sample.p50_ms);
            let values = [sample.p50_ms, sample.p99_ms, sample.cpu_us, sample.errors as f64];
            table.enter(touch.name(), degree, values);
        }
    }
    Ok(())
}

async fn grow(cluster: &Cluster, node: u64, others: &[u64], missing: u64) -> Result<()> {
    let mut others = others.iter().cycle();
    let batches = (0..missing).step_by(usize::try_from(EDGES_AT_ONCE)?).map(|begun| {
        let targets = others.by_ref().take(EDGES_AT_ONCE.min(missing - begun) as usize);
        targets.map(|target| edge(node, *target).into()).collect()
    });
    execute(&cluster.members, batches)
        .await
        .context("adding edges to one node")?;
    Ok(())
}

impl Work for Hub {
    type Kind = ();
    type Error = String;

    fn draw(&self) {}

    async fn once(&self, _: usize, (): ()) -> Result<(), String> {
        match self.touch {
            Touch::Add => {
                let target = *self.others.choose(&mut rand::rng()).ok_or("there is no other node")?;
                let added = self.cluster.execute_operation(edge(self.node, target)).await;
                added.map(|_| ()).map_err(|error| error.to_string())
            }
            Touch::EdgesPage => self.read(edges_of(self.node)).await,
            Touch::NeighboursPage => self.read(neighbours_of(self.node)).await,
        }
    }
}

impl Hub {
    async fn read(&self, search: impl Into<Search>) -> Result<(), String> {
        let rows = self
            .cluster
            .fetch_rows(search)
            .await
            .map_err(|error| error.to_string())?;
        match rows.len() as u64 >= self.least {
            true => Ok(()),
            false => Err(format!("a page of {} rows in place of {}", rows.len(), self.least)),
        }
    }
}

fn edges_of(node: u64) -> EdgesOf {
    EdgesOf {
        node,
        direction: Direction::Out.into(),
        limit: PAGE,
        ..EdgesOf::default()
    }
}

fn neighbours_of(node: u64) -> Traverse {
    Traverse {
        start: vec![node],
        direction: Direction::Out.into(),
        min_depth: 1,
        max_depth: 1,
        limit: PAGE,
        ..Traverse::default()
    }
}
