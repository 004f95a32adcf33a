//! What clients feel of planned changes: partitions that move, a member that is drained, all members rolled.

mod making;
mod windows;

use anyhow::Result;
use kotoba_proto::{KotobaCluster, Options};
use tokio::time::{Duration, sleep};

use self::making::{Making, QUIET};
use self::windows::{Change, Window, quantile_ms, sort};
use crate::cell::median;
use crate::goals::Bound::AtMost;
use crate::members::Ports;
use crate::peer::kotoba::{Cluster, PARTITIONS, Shape};
use crate::plot::{Lines, Plot};
use crate::report::Report;
use crate::settings::Settings;
use crate::steady::{Answer, Felt, Load, Steady};
use crate::table::Table;

/// After the load, for its aftermath to end.
const SETTLE: Duration = Duration::from_secs(5);
/// Of each window as many are kept as samples: where in it operations waited.
const SLOWEST: usize = 20;
/// What is drawn: of so many creates one took as long or longer.
const ONE_IN: [f64; 10] = [2.0, 4.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0];

const COLUMNS: [&str; 7] = [
    "took s",
    "operations",
    "failed",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "p99, of that without",
];

pub async fn measure(settings: &Settings) -> Result<Report> {
    let shape = Shape {
        loaded: settings.sizes.changed,
        ..Shape::default()
    };
    let mut cluster = Cluster::start(&settings.programs.kotoba, &settings.data_dir, shape).await?;
    sleep(SETTLE).await;
    let vacant = Ports::free()?;
    let mut addresses = cluster.members.addresses();
    addresses.push(vacant.client_address());
    let mut loads = Vec::new();
    for load in Load::all(&cluster.ids) {
        loads.push((
            load,
            KotobaCluster::connect_with(&addresses.join(","), Options::default())?,
        ));
    }
    let load = Steady::start(loads);
    let mut making = Making {
        members: &mut cluster.members,
        vacant,
        load: &load,
        windows: Vec::new(),
    };
    for number in 1..=settings.sizes.changes {
        eprintln!("  round {number} of {}", settings.sizes.changes);
        making.one_round().await?;
    }
    let windows = making.windows;
    let felt = load.end().await?;
    Ok(report(settings, &windows, &felt))
}

/// The operations of all windows of one change, from the shortest wait to the longest.
fn of_change(change: Change, windows: &[Window], sorted: &[Vec<Answer>]) -> Vec<Answer> {
    let own = windows.iter().zip(sorted).filter(|(window, _)| window.change == change);
    let mut answers: Vec<Answer> = own.flat_map(|(_, answers)| answers).copied().collect();
    answers.sort_by_key(Answer::waited);
    answers
}

/// A row of the table; `quiet_p99` is the same load's without a change.
fn row(seconds: &[f64], answers: &[Answer], quiet_p99: f64) -> [f64; COLUMNS.len()] {
    let p99 = quantile_ms(answers, 0.99);
    [
        median(seconds.iter().copied()),
        answers.len() as f64,
        answers.iter().filter(|answer| !answer.is_success).count() as f64,
        quantile_ms(answers, 0.5),
        p99,
        quantile_ms(answers, 1.0),
        p99 / quiet_p99,
    ]
}

fn report(settings: &Settings, windows: &[Window], felt: &[Felt]) -> Report {
    let sorted: Vec<_> = felt.iter().map(|felt| sort(&felt.answers, windows)).collect();
    let mut table = Table::new(["change", "times"], &COLUMNS);
    let mut lines = Lines::new();
    let mut report = Report::new("Planned changes", &about(settings));
    for change in Change::ALL {
        let took = windows.iter().filter(|window| window.change == change);
        let seconds: Vec<f64> = took.map(|window| (window.end - window.begin).as_secs_f64()).collect();
        let (mut writes, mut ratios) = (Vec::new(), Vec::new());
        for (Felt { load, .. }, sorted) in felt.iter().zip(&sorted) {
            let answers = of_change(change, windows, sorted);
            let quiet_p99 = quantile_ms(&of_change(Change::Quiet, windows, sorted), 0.99);
            let name = format!("{}, {}", change.name(), load.name());
            table.enter(&name, seconds.len() as u64, row(&seconds, &answers, quiet_p99));
            if load.is_write() {
                ratios.push(quantile_ms(&answers, 0.99) / quiet_p99);
                writes.extend(answers);
            }
        }
        lines.insert(change.name().to_owned(), longer_than_most(writes));
        if change != Change::Quiet {
            let what = format!("p99 of a write while {}, of that without", change.name());
            report = report.goal(&what, AtMost(3.0), largest(&ratios));
        }
    }
    for (Felt { load, .. }, sorted) in felt.iter().zip(&sorted) {
        let samples = windows.iter().zip(sorted);
        let samples = samples.map(|(window, answers)| sample(load, window, answers));
        report.samples.extend(samples);
    }
    report.table(&table).plot(Plot {
        name: "changes".to_owned(),
        title: "writes while something is changed".to_owned(),
        x: "one write in so many takes as long or longer",
        y: "ms",
        lines,
    })
}

/// None where one was not measured.
fn largest(ratios: &[f64]) -> Option<f64> {
    let are_measured = ratios.iter().all(|ratio| ratio.is_finite());
    ratios.iter().copied().reduce(f64::max).filter(|_| are_measured)
}

/// What is drawn of the answers.
fn longer_than_most(mut answers: Vec<Answer>) -> Vec<(f64, f64)> {
    answers.sort_by_key(Answer::waited);
    let drawn = ONE_IN.into_iter().filter(|one_in| *one_in <= answers.len() as f64);
    drawn
        .map(|one_in| (one_in, quantile_ms(&answers, 1.0 - 1.0 / one_in)))
        .collect()
}

/// Times are seconds since the window's beginning.
fn sample(load: &Load, window: &Window, answers: &[Answer]) -> serde_json::Value {
    let since = |time: Duration| time.as_secs_f64() - window.begin.as_secs_f64();
    let slowest = answers.iter().rev().take(SLOWEST);
    let steps = window.steps.iter().map(|(what, at)| (what, since(*at)));
    serde_json::json!({
        "change": window.change,
        "load": load.name(),
        "took s": since(window.end),
        "operations": answers.len(),
        "failed": answers.iter().filter(|answer| !answer.is_success).count(),
        "p50 ms": quantile_ms(answers, 0.5),
        "p99 ms": quantile_ms(answers, 0.99),
        "longest ms": quantile_ms(answers, 1.0),
        "steps": steps.collect::<Vec<_>>(),
        "slowest, due at and waited": slowest.map(|one| (since(one.due), one.waited().as_secs_f64())).collect::<Vec<_>>(),
    })
}

fn about(settings: &Settings) -> String {
    format!(
        "Three members with {PARTITIONS} partitions and {} nodes. {} Their times count from when they were due, their client's retries \
         included. {} s before each change nothing is done. Partitions move: a fourth member joins, then `kotoba rebalance`, until all are \
         where they belong. A member is drained: the leader of the meta group, with `kotoba member drain` and `remove`, and its \
         process ends. All members are rolled: one after the other is ended with SIGTERM and started again on its data, the \
         next once all are well. A change is over when it is done and the last leader has changed; what was under way at its \
         beginning belongs to it. Times are medians; operations are those of all times together. Goals are of creates, edges \
         and updates, of each the ratio to its own p99 without a change, the largest of the three.",
        settings.sizes.changed,
        Load::all_in_words(),
        QUIET.as_secs(),
    )
}
