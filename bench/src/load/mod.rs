//! `kotoba load` of a large file: how fast from its first to its last rows, in which memory, and what that takes on the disk.

mod csv;
mod timeline;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use kotoba_proto::Options;
use kotoba_proto::v1::FindNodes;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

use self::timeline::{TENTHS, Timeline};
use crate::goals::Bound::{AtLeast, AtMost};
use crate::members::Members;
use crate::peer::MEMBERS;
use crate::peer::kotoba::PARTITIONS;
use crate::plot::Plot;
use crate::process::mib_of;
use crate::report::Report;
use crate::settings::Settings;
use crate::table::Table;

const LABEL: &str = "Person";
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After the load, for members to finish what they do behind it: logs are shortened and states rewritten at rest.
const SETTLE: Duration = Duration::from_secs(40);
const MIB: f64 = 1_048_576.0;

const RATE: &str = "rows a second";
const RATIO: &str = "of the file";
const COLUMNS: &[&str] = &[
    RATE,
    "peak of the loader, MiB",
    "peak of a member, MiB",
    "file, MiB",
    "disk of a replica, MiB",
    "of that its state, MiB",
    RATIO,
];

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut whole = Table::new(["load", "rows"], COLUMNS);
    let mut tenths = Table::new(["load", "tenth"], &[RATE]);
    for _ in 0..settings.rounds {
        one_load(settings, &mut whole, &mut tenths).await?;
    }
    let rows = settings.sizes.load;
    let about = format!(
        "`kotoba load` of a file of nodes into three empty members, with its defaults. A row is `{}`. The disk of a replica is \
         what a member keeps of it, its state and its log, {} s behind the load, receipts of the load's requests among it, but \
         not the ballast of a member, a file of 64 MiB that is given up when the disk is full: each member has a replica of all.",
        csv::row(0).trim_end(),
        SETTLE.as_secs()
    );
    let value = |column| whole.value("nodes", rows, column);
    Ok(Report::new("Load", &about)
        .table(&whole)
        .heading(
            "By tenths of the file",
            "The first counts from the start of the program.",
        )
        .table(&tenths)
        .goal("rows a second of a load", AtLeast(20_000.0), value(RATE))
        .goal(
            "slowest tenth of a load, of the first",
            AtLeast(0.5),
            slowest_of_first(&tenths),
        )
        .goal(
            "disk of a replica, of the loaded file's size",
            AtMost(3.0),
            value(RATIO),
        )
        .plot(Plot {
            name: "load".to_owned(),
            title: format!("load of {rows} nodes"),
            x: "tenth of the file",
            y: RATE,
            lines: tenths.lines(RATE),
        }))
}

fn slowest_of_first(tenths: &Table) -> Option<f64> {
    let rate = |tenth| tenths.value("nodes", tenth, RATE);
    let rates = (1..=TENTHS as u64).map(rate).collect::<Option<Vec<_>>>()?;
    Some(rates.iter().copied().fold(f64::INFINITY, f64::min) / rates.first()?)
}

async fn one_load(settings: &Settings, whole: &mut Table, tenths: &mut Table) -> Result<()> {
    let (program, rows) = (&settings.programs.kotoba, settings.sizes.load);
    let members = Members::start(program, &settings.data_dir, MEMBERS, PARTITIONS).await?;
    let folder = TempDir::new_in(&settings.data_dir).context("making a folder for the file")?;
    eprintln!("  writing {rows} rows");
    let bytes = csv::write(&folder.path().join("people.csv"), rows).await?;
    let child = start(program, &members, folder.path())?;
    let (timeline, loader) = watch(child, &folder.path().join("progress")).await?;
    for (tenth, seconds) in (1..).zip(timeline.tenths().context("the load was too short to be watched")?) {
        tenths.enter("nodes", tenth, [rows as f64 / TENTHS as f64 / seconds]);
    }
    sleep(SETTLE).await;
    let rate = rows as f64 / timeline.seconds();
    let peak = most(&members, |number| members.processes[number].peak_memory_mib())?;
    let kept = |number| Ok((members.state_bytes(number)? + members.log_bytes(number)?) as f64 / MIB);
    let disk = most(&members, kept)?;
    let state = most(&members, |number| Ok(members.state_bytes(number)? as f64 / MIB))?;
    let file = bytes as f64 / MIB;
    let found = count(&members).await.context("counting what was loaded")?;
    ensure!(found == rows, "{found} nodes were loaded in place of {rows}");
    eprintln!("  {rate:.0} rows a second, {disk:.0} MiB on the disk of {file:.0}");
    whole.enter("nodes", rows, [rate, loader, peak, file, disk, state, disk / file]);
    Ok(())
}

async fn count(members: &Members) -> Result<u64> {
    let all = FindNodes {
        label: LABEL.to_owned(),
        ..FindNodes::default()
    };
    Ok(members.cluster(0, Options::default())?.count(all).await?)
}

/// Of the member where it is the most.
fn most(members: &Members, figure: impl Fn(usize) -> Result<f64>) -> Result<f64> {
    let figures = (0..members.processes.len()).map(figure).collect::<Result<Vec<_>>>()?;
    Ok(figures.into_iter().fold(0.0, f64::max))
}

fn start(program: &Path, members: &Members, folder: &Path) -> Result<Child> {
    let said = std::fs::File::create(folder.join("said")).context("making the loader's log")?;
    let nodes = format!("{}={LABEL}", folder.join("people.csv").display());
    Command::new(program)
        .arg("--cluster")
        .arg(members.addresses().join(","))
        .args(["load", "--nodes", &nodes, "--progress"])
        .arg(folder.join("progress"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .kill_on_drop(true)
        .spawn()
        .context("starting `kotoba load`")
}

/// How far it was when, and its peak memory in MiB. It notes each batch that was created in its progress file, which so grows
/// evenly with them, and deletes it at the end.
async fn watch(mut child: Child, progress: &Path) -> Result<(Timeline, f64)> {
    let pid = child.id().context("`kotoba load` ended at once")?;
    let (begin, mut timeline, mut peak) = (Instant::now(), Timeline::default(), 0.0);
    loop {
        tokio::select! {
            ended = child.wait() => {
                ensure!(ended?.success(), "`kotoba load` failed");
                timeline.end(begin.elapsed());
                return Ok((timeline, peak));
            }
            () = sleep(LOOK_EVERY) => {}
        }
        if let Ok(about) = std::fs::metadata(progress) {
            timeline.note(begin.elapsed(), about.len());
        }
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        // What has ended meanwhile has none.
        peak = mib_of(&status, "VmHWM").unwrap_or(peak);
    }
}
