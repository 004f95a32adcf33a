//! Walks through a graph of skewed degrees, one client after the other, in three members and in one.

mod graph;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use kotoba_drive::Work;
use kotoba_proto::v1::{Direction, Traverse};
use kotoba_proto::{KotobaCluster, Options};
use rand::seq::IndexedRandom;

use self::graph::Graph;
use crate::cell::median;
use crate::goals::Bound::AtMost;
use crate::measure::{Drive, sample};
use crate::members::Members;
use crate::operation::BATCH;
use crate::peer::kotoba::{PARTITIONS, edge, execute, nodes};
use crate::plot::Plot;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const HOPS: [u32; 3] = [1, 2, 3];
/// Rows of an answer: what fits on a page.
const LIMIT: u64 = 100;
const VALUE_BYTES: usize = 64;
/// Of a transaction of the load.
const EDGES_AT_ONCE: usize = 500;

const THREE: &str = "three members";
const ONE: &str = "one member";
const P50: &str = "p50 ms";

pub async fn measure(settings: &Settings) -> Result<Report> {
    let graph = Graph::new();
    let mut table = Table::new(
        ["in", "hops"],
        &[P50, "p99 ms", "nodes reached, median", "CPU µs", "errors"],
    );
    for _ in 0..settings.rounds {
        for (name, members) in [(THREE, 3), (ONE, 1)] {
            in_members(settings, &graph, name, members, &mut table).await?;
        }
    }
    Ok(report(&graph, &table))
}

async fn in_members(settings: &Settings, graph: &Graph, name: &str, count: usize, table: &mut Table) -> Result<()> {
    let members = Members::start(&settings.programs.kotoba, &settings.data_dir, count, PARTITIONS).await?;
    let starts = load(&members, graph).await?;
    for hops in HOPS {
        let walk = Arc::new(Walk {
            cluster: members.cluster(0, Options::default())?,
            starts: starts.clone(),
            hops,
            reached: Mutex::default(),
        });
        let sample = sample(&walk, Drive::closed(1), &members.processes, settings).await?;
        let reached = walk.median_reached();
        eprintln!("  {name}, {hops} hops: p50 {:.2} ms, {reached} nodes", sample.p50_ms);
        let values = [
            sample.p50_ms,
            sample.p99_ms,
            reached,
            sample.cpu_us,
            sample.errors as f64,
        ];
        table.enter(name, hops.into(), values);
    }
    Ok(())
}

/// Creates the graph; gives the nodes that walks start from.
async fn load(members: &Members, graph: &Graph) -> Result<Vec<u64>> {
    let batches = (0..graph::NODES as u64 / BATCH).map(|_| nodes(BATCH, VALUE_BYTES));
    let ids = execute(members, batches).await?;
    let edges = graph.edges.chunks(EDGES_AT_ONCE).map(|chunk| {
        let operations = chunk
            .iter()
            .map(|(source, target)| edge(ids[*source], ids[*target]).into());
        operations.collect()
    });
    execute(members, edges).await?;
    Ok(graph.moderate().into_iter().map(|node| ids[node]).collect())
}

/// Walks from one of the nodes, drawn anew for each.
struct Walk {
    cluster: KotobaCluster,
    starts: Vec<u64>,
    hops: u32,
    /// Of each answer.
    reached: Mutex<Vec<usize>>,
}

impl Walk {
    fn median_reached(&self) -> f64 {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        median(reached.iter().map(|rows| *rows as f64))
    }
}

impl Work for Walk {
    type Kind = ();
    type Error = String;

    fn draw(&self) {}

    async fn once(&self, _: usize, (): ()) -> Result<(), String> {
        let start = self.starts.choose(&mut rand::rng()).copied();
        let walk = Traverse {
            start: start.into_iter().collect(),
            direction: Direction::Out.into(),
            types: vec!["KNOWS".to_owned()],
            min_depth: self.hops,
            max_depth: self.hops,
            limit: LIMIT,
            ..Traverse::default()
        };
        let rows = self.cluster.fetch_rows(walk).await.map_err(|error| error.to_string())?;
        self.reached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(rows.len());
        Ok(())
    }
}

fn report(graph: &Graph, table: &Table) -> Report {
    let about = format!(
        "One client walks `KNOWS` edges outwards, strongly consistent, in a graph of {} nodes and {} edges whose degrees are \
         skewed as by Zipf: the largest outwards is {}. It starts at a random one of the {} nodes with {} to {} edges outwards; \
         the answer is the nodes that are as many hops away, at most {LIMIT}.",
        graph::NODES,
        graph::EDGES,
        graph.largest(),
        graph.moderate().len(),
        graph::MODERATE.start(),
        graph::MODERATE.end(),
    );
    let three = |hops| table.value(THREE, hops, P50);
    Report::new("Traversal", &about)
        .table(table)
        .goal("p50 of 1 hop, three members, in ms", AtMost(0.3), three(1))
        .goal("p50 of 2 hops, three members, in ms", AtMost(0.6), three(2))
        .goal("p50 of 3 hops, three members, in ms", AtMost(1.5), three(3))
        .goal(
            "p50 of 3 hops, one member, in ms",
            AtMost(0.2),
            table.value(ONE, 3, P50),
        )
        .plot(Plot {
            name: "traversal".to_owned(),
            title: "walks of one client".to_owned(),
            x: "hops",
            y: "p50 in ms",
            lines: table.lines(P50),
        })
}
