//! What a client sees when a member is killed that leads partitions, and when it comes back.

mod gaps;

use anyhow::Result;
use kotoba_proto::Options;
use tokio::time::{Duration, sleep};

use self::gaps::{Gap, Kill, gaps};
use crate::cell::median;
use crate::goals::Bound::AtMost;
use crate::members::Members;
use crate::peer::kotoba::{Cluster, Shape};
use crate::plot::{Lines, Plot};
use crate::report::Report;
use crate::settings::Settings;
use crate::steady::{Felt, Load, Steady};
use crate::table::Table;

/// How long a member stays away. Elections are over by then.
const AWAY: Duration = Duration::from_secs(4);
/// Between a member's return and the next kill, for what was led by it to go back.
const BETWEEN: Duration = Duration::from_secs(2);

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, Shape::default()).await?;
    let mut loads = Vec::new();
    for (number, load) in Load::all(&cluster.ids).into_iter().enumerate() {
        loads.push((load, cluster.members.cluster(number, Options::default())?));
    }
    let steady = Steady::start(loads);
    let kills = kill_one_by_one(&mut cluster.members, settings.sizes.kills, &steady).await?;
    let felt = steady.end().await?;
    let gaps: Vec<Vec<Gap>> = felt.iter().map(|felt| gaps(&felt.answers, &kills)).collect();
    Ok(report(&felt, &gaps))
}

/// Each member is back and well before the next is killed.
async fn kill_one_by_one(members: &mut Members, count: u32, steady: &Steady) -> Result<Vec<Kill>> {
    let mut kills = Vec::new();
    for number in 1..=count {
        sleep(BETWEEN).await;
        let leader = members.leader().await?;
        let at = steady.now();
        members.processes[leader].kill()?;
        sleep(AWAY).await;
        let back = steady.now();
        members.processes[leader].restart()?;
        members.wait_until_well().await?;
        let took = steady.now() - back;
        eprintln!(
            "  kill {number} of {count}: member {leader}, well again {:.1} s after its start",
            took.as_secs_f64()
        );
        kills.push(Kill { at, back });
    }
    sleep(BETWEEN).await;
    Ok(kills)
}

/// Gaps are of each load, in the same order.
fn report(felt: &[Felt], gaps: &[Vec<Gap>]) -> Report {
    let mut table = Table::new(["gap", "kills"], &["p50 s", "longest s", "operations", "failed"]);
    let (mut lines, mut samples) = (Lines::new(), Vec::new());
    for (Felt { load, answers }, gaps) in felt.iter().zip(gaps) {
        let curves = [
            ("after the kill", sorted(gaps.iter().map(|gap| gap.killed))),
            ("after its return", sorted(gaps.iter().map(|gap| gap.returned))),
        ];
        let failed = answers.iter().filter(|answer| !answer.is_success).count();
        for (when, seconds) in curves {
            let name = format!("{}, {when}", load.name());
            let longest = seconds.last().copied().unwrap_or(f64::NAN);
            let middle = median(seconds.iter().copied());
            let values = [middle, longest, answers.len() as f64, failed as f64];
            table.enter(&name, gaps.len() as u64, values);
            samples.push(serde_json::json!({ "gap": name, "seconds of each": seconds }));
            let points = (1_u32..).map(f64::from).zip(seconds);
            lines.insert(name, points.collect());
        }
    }
    let whole = sorted(longest_of_each_kill(gaps));
    let middle = Some(median(whole.iter().copied()));
    let mut report = Report::new("Failover", &about());
    report.samples = samples;
    report
        .table(&table)
        .goal("p50 of the gap of a kill, in s", AtMost(1.5), middle)
        .goal("longest gap of a kill, in s", AtMost(4.0), whole.last().copied())
        .plot(Plot {
            name: "failover".to_owned(),
            title: "gaps of kills, from the shortest to the longest".to_owned(),
            x: "kills",
            y: "s",
            lines,
        })
}

/// Of all loads.
fn longest_of_each_kill(gaps: &[Vec<Gap>]) -> impl Iterator<Item = Duration> {
    let kills = gaps.first().map_or(0, Vec::len);
    let longest = |kill: usize| {
        let of_loads = gaps.iter().map(|gaps| gaps[kill].killed.max(gaps[kill].returned));
        of_loads.max()
    };
    (0..kills).filter_map(longest)
}

fn about() -> String {
    format!(
        "{} The process that leads \
         the most partitions is killed with SIGKILL, stays away for {} s and starts again on its data; the next is killed {} s \
         after all members are well. The gap of a kill is the longest time from when an operation was due to when it was \
         answered, its client's retries included; goals are of the longest gap of each kill, of all operations.",
        Load::all_in_words(),
        AWAY.as_secs(),
        BETWEEN.as_secs(),
    )
}

/// In seconds.
fn sorted(gaps: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut seconds: Vec<f64> = gaps.map(|gap| gap.as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}
