//! What members cost that nobody asks anything.

use anyhow::Result;
use tokio::time::{Duration, Instant, sleep};

use crate::goals::Bound::AtMost;
use crate::operation::LOADED;
use crate::peer::kotoba::{Cluster, Shape};
use crate::plot::Plot;
use crate::process::Process;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const PARTITIONS: [u32; 2] = [16, 64];
/// After the load, for its aftermath to end.
const SETTLE: Duration = Duration::from_secs(5);
const CPU: &str = "CPU, % of a core";
const MEMORY: &str = "memory, MiB";

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut table = Table::new(["member", "partitions"], &[CPU, MEMORY]);
    for _ in 0..settings.rounds {
        for partitions in PARTITIONS {
            watch(settings, partitions, &mut table).await?;
        }
    }
    let about = format!(
        "Three members with {LOADED} records, watched for {} s in which nobody asks anything. Memory is what is resident.",
        settings.sizes.idle.as_secs()
    );
    let largest = |partitions, column| table.largest(partitions, column);
    Ok(Report::new("Idle", &about)
        .table(&table)
        .goal(
            "CPU of an idle member, 16 partitions, in % of a core",
            AtMost(5.0),
            largest(16, CPU),
        )
        .goal(
            "memory of an idle member, 16 partitions, in MiB",
            AtMost(150.0),
            largest(16, MEMORY),
        )
        .goal(
            "CPU of an idle member, 64 partitions, in % of a core",
            AtMost(10.0),
            largest(64, CPU),
        )
        .plot(Plot {
            name: "idle".to_owned(),
            title: "idle members".to_owned(),
            x: "partitions",
            y: CPU,
            lines: table.lines(CPU),
        }))
}

async fn watch(settings: &Settings, partitions: u32, table: &mut Table) -> Result<()> {
    let shape = Shape {
        partitions,
        ..Shape::default()
    };
    let cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
    sleep(SETTLE).await;
    let processes = &cluster.members.processes;
    let before = processes.iter().map(Process::cpu).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    sleep(settings.sizes.idle).await;
    let took = began.elapsed();
    for (number, (process, before)) in processes.iter().zip(before).enumerate() {
        let cpu = (process.cpu()? - before).as_secs_f64() / took.as_secs_f64() * 100.0;
        let memory = process.memory_mib()?;
        eprintln!("  {partitions} partitions, member {number}: {cpu:.1} % of a core, {memory:.0} MiB");
        table.enter(&number.to_string(), partitions.into(), [cpu, memory]);
    }
    Ok(())
}
