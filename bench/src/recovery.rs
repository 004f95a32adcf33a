//! How soon a member with much data serves again after it was killed.

use anyhow::{Context, Result, ensure};
use kotoba_proto::v1::GetNodes;
use tokio::time::Instant;

use crate::goals::Bound::AtMost;
use crate::peer::kotoba::{Cluster, Shape};
use crate::plot::Plot;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const VALUE_BYTES: usize = 4_096;
const RECORDS_OF_A_MIB: u64 = (1 << 20) / VALUE_BYTES as u64;
/// Of the whole size, one after the other.
const PARTS: [u64; 3] = [16, 4, 1];
const SERVES: &str = "serves after s";

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut table = Table::new(["member", "MiB of text"], &["MiB on its disk", "ready after s", SERVES]);
    let whole = settings.sizes.recovery_mib;
    for _ in 0..settings.rounds {
        let shape = Shape {
            loaded: 0,
            value_bytes: VALUE_BYTES,
            ..Shape::default()
        };
        let mut cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
        for mib in PARTS.map(|part| (whole / part).max(1)) {
            cluster.load(mib * RECORDS_OF_A_MIB).await?;
            kill_each(&mut cluster, mib, &mut table).await?;
        }
    }
    let about = format!(
        "Each of three members is killed with SIGKILL behind a load of texts of {VALUE_BYTES} bytes and started again at once; \
         the time counts from its start. It serves once it says that it is ready and, asked alone, has answered a strong read."
    );
    let what = format!("a member with {whole} MiB of text serves again after a kill, in s");
    Ok(Report::new("Recovery", &about)
        .table(&table)
        .goal(&what, AtMost(3.0), table.largest(whole, SERVES))
        .plot(Plot {
            name: "recovery".to_owned(),
            title: "a killed member serves again".to_owned(),
            x: "MiB of text",
            y: "s",
            lines: table.lines(SERVES),
        }))
}

/// One after the other; the cluster is well in between.
async fn kill_each(cluster: &mut Cluster, mib: u64, table: &mut Table) -> Result<()> {
    let last = *cluster.ids.last().context("nothing was loaded")?;
    let members = &mut cluster.members;
    for number in 0..members.processes.len() {
        let on_disk = members.disk_bytes(number)? as f64 / f64::from(1 << 20);
        members.processes[number].kill()?;
        let begin = Instant::now();
        members.processes[number].restart()?;
        members.wait_until_serving(number).await?;
        let ready = begin.elapsed().as_secs_f64();
        let rows = members.only(number)?.fetch_rows(GetNodes { ids: vec![last] }).await?;
        let serves = begin.elapsed().as_secs_f64();
        ensure!(rows.len() == 1, "a node is gone after a kill");
        eprintln!("  {mib} MiB, member {number}: {on_disk:.0} MiB on its disk, serves after {serves:.2} s");
        table.enter(&number.to_string(), mib, [on_disk, ready, serves]);
        members.wait_until_well().await?;
    }
    Ok(())
}
