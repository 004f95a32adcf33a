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
use crate::steady::{Answer, CREATES_PER_S, Steady};
use crate::table::Table;

/// How long a member stays away. Elections are over by then.
const AWAY: Duration = Duration::from_secs(4);
/// Between a member's return and the next kill, for what was led by it to go back.
const BETWEEN: Duration = Duration::from_secs(2);

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, Shape::default()).await?;
    let client = cluster.members.cluster(0, Options::default())?;
    let steady = Steady::start(client);
    let kills = kill_one_by_one(&mut cluster.members, settings.sizes.kills, &steady).await?;
    let answers = steady.end().await?;
    Ok(report(&answers, &gaps(&answers, &kills)))
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

fn report(answers: &[Answer], gaps: &[Gap]) -> Report {
    let curves = [
        ("after the kill", sorted(gaps.iter().map(|gap| gap.killed))),
        ("after its return", sorted(gaps.iter().map(|gap| gap.returned))),
    ];
    let mut table = Table::new(
        ["gap", "kills"],
        &["p50 s", "longest s", "creates", "creates that failed"],
    );
    let (mut lines, mut samples) = (Lines::new(), Vec::new());
    let failed = answers.iter().filter(|answer| !answer.is_success).count();
    for (name, seconds) in curves {
        let longest = seconds.last().copied().unwrap_or(f64::NAN);
        let middle = median(seconds.iter().copied());
        table.enter(
            name,
            gaps.len() as u64,
            [middle, longest, answers.len() as f64, failed as f64],
        );
        samples.push(serde_json::json!({ "gap": name, "seconds of each": seconds }));
        let points = (1_u32..).map(f64::from).zip(seconds);
        lines.insert(name.to_owned(), points.collect());
    }
    let whole = sorted(gaps.iter().map(|gap| gap.killed.max(gap.returned)));
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

fn about() -> String {
    format!(
        "{CREATES_PER_S} creates a second are due, whether or not earlier ones were answered. The process that leads the most \
         partitions is killed with SIGKILL, stays away for {} s and starts again on its data; the next is killed {} s after all \
         members are well. The gap of a kill is the longest time from when a create was due to when it was answered with \
         success, its client's retries included; goals are of the longer of the two gaps of each kill.",
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
