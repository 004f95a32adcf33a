//! What a client sees when a member is killed that leads partitions, and when it comes back.

mod gaps;

use std::sync::Arc;

use anyhow::Result;
use kotoba_proto::Options;
use tokio::time::{Duration, Instant, sleep};

use self::gaps::{Gap, Kill, gaps};
use crate::cell::median;
use crate::goals::Bound::AtMost;
use crate::members::Members;
use crate::peer::kotoba::{Cluster, Shape};
use crate::plot::{Lines, Plot};
use crate::report::Report;
use crate::settings::Settings;
use crate::steady::{Answer, Load, PER_S, Steady};
use crate::table::Table;

/// How long a member stays away. Elections are over by then.
const AWAY: Duration = Duration::from_secs(4);
/// Between a member's return and the next kill, for what was led by it to go back.
const BETWEEN: Duration = Duration::from_secs(2);

/// Nodes that edges, updates and walks have in common: few, so that what a dead member left undone is in somebody's way.
const SHARED: usize = 100;

pub async fn measure(settings: &Settings) -> Result<Report> {
    let mut cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, Shape::default()).await?;
    let shared: Arc<[u64]> = cluster.ids[..SHARED].into();
    let loads = [
        Load::Creates,
        Load::Edges(shared.clone()),
        Load::Updates(shared.clone()),
        Load::Walks(shared),
    ];
    let begin = Instant::now();
    let mut under_way = Vec::new();
    for (number, load) in loads.into_iter().enumerate() {
        let client = cluster.members.cluster(number, Options::default())?;
        under_way.push((load.name(), Steady::start_with(client, load, begin)));
    }
    let kills = kill_one_by_one(&mut cluster.members, settings.sizes.kills, begin).await?;
    let mut felt = Vec::new();
    for (name, steady) in under_way {
        let answers = steady.end().await?;
        felt.push(Felt {
            name,
            gaps: gaps(&answers, &kills),
            answers,
        });
    }
    Ok(report(&felt))
}

/// What the clients of one load saw.
struct Felt {
    name: &'static str,
    answers: Vec<Answer>,
    gaps: Vec<Gap>,
}

/// Each member is back and well before the next is killed.
async fn kill_one_by_one(members: &mut Members, count: u32, begin: Instant) -> Result<Vec<Kill>> {
    let mut kills = Vec::new();
    for number in 1..=count {
        sleep(BETWEEN).await;
        let leader = members.leader().await?;
        let at = begin.elapsed();
        members.processes[leader].kill()?;
        sleep(AWAY).await;
        let back = begin.elapsed();
        members.processes[leader].restart()?;
        members.wait_until_well().await?;
        let took = begin.elapsed() - back;
        eprintln!(
            "  kill {number} of {count}: member {leader}, well again {:.1} s after its start",
            took.as_secs_f64()
        );
        kills.push(Kill { at, back });
    }
    sleep(BETWEEN).await;
    Ok(kills)
}

fn report(felt: &[Felt]) -> Report {
    let mut table = Table::new(["gap", "kills"], &["p50 s", "longest s", "operations", "failed"]);
    let (mut lines, mut samples) = (Lines::new(), Vec::new());
    for Felt { name, answers, gaps } in felt {
        let curves = [
            ("after the kill", sorted(gaps.iter().map(|gap| gap.killed))),
            ("after its return", sorted(gaps.iter().map(|gap| gap.returned))),
        ];
        let failed = answers.iter().filter(|answer| !answer.is_success).count();
        for (when, seconds) in curves {
            let name = format!("{name}, {when}");
            let longest = seconds.last().copied().unwrap_or(f64::NAN);
            let middle = median(seconds.iter().copied());
            let values = [middle, longest, answers.len() as f64, failed as f64];
            table.enter(&name, gaps.len() as u64, values);
            samples.push(serde_json::json!({ "gap": name, "seconds of each": seconds }));
            let points = (1_u32..).map(f64::from).zip(seconds);
            lines.insert(name, points.collect());
        }
    }
    let whole = sorted(longest_of_each_kill(felt));
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
fn longest_of_each_kill(felt: &[Felt]) -> impl Iterator<Item = Duration> {
    let kills = felt.first().map_or(0, |felt| felt.gaps.len());
    let longest = |kill: usize| {
        felt.iter()
            .map(|felt| felt.gaps[kill].killed.max(felt.gaps[kill].returned))
            .max()
    };
    (0..kills).filter_map(longest)
}

fn about() -> String {
    format!(
        "Due each second, whether or not earlier ones were answered: {PER_S} creates, {PER_S} edges between two of {SHARED} nodes, \
         {PER_S} transactions that update two of these, {PER_S} strong walks of one hop from one of them. The process that leads \
         the most partitions is killed with SIGKILL, stays away for {} s and starts again on its data; the next is killed {} s \
         after all members are well. The gap of a kill is the longest time from when an operation was due to when it was \
         answered, its client's retries included; goals are of the longest gap of each kill, of all operations.",
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
