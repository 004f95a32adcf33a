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
use crate::steady::{Answer, Load, PER_S, Steady};
use crate::table::Table;

/// After the load, for its aftermath to end.
const SETTLE: Duration = Duration::from_secs(5);
/// Of each window as many are kept as samples: where in it creates waited.
const SLOWEST: usize = 20;
/// What is drawn: of so many creates one took as long or longer.
const ONE_IN: [f64; 10] = [2.0, 4.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0];

const P99: &str = "p99 ms";
const RATIO: &str = "p99, of that without";
const COLUMNS: &[&str] = &["took s", "creates", "failed", "p50 ms", P99, "longest ms", RATIO];

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
    let client = KotobaCluster::connect_with(&addresses.join(","), Options::default())?;
    let load = Steady::start(client, Load::Creates);
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
    let answers = load.end().await?;
    Ok(report(settings, &windows, &sort(&answers, &windows)))
}

/// All windows of one change together.
struct Summary {
    seconds: Vec<f64>,
    /// From the shortest wait to the longest.
    answers: Vec<Answer>,
}

fn summary(change: Change, windows: &[Window], sorted: &[Vec<Answer>]) -> Summary {
    let own = windows.iter().zip(sorted).filter(|(window, _)| window.change == change);
    let mut answers: Vec<Answer> = own.clone().flat_map(|(_, answers)| answers).copied().collect();
    answers.sort_by_key(Answer::waited);
    Summary {
        seconds: own
            .map(|(window, _)| (window.end - window.begin).as_secs_f64())
            .collect(),
        answers,
    }
}

fn report(settings: &Settings, windows: &[Window], sorted: &[Vec<Answer>]) -> Report {
    let mut table = Table::new(["change", "times"], COLUMNS);
    let mut lines = Lines::new();
    let quiet = quantile_ms(&summary(Change::Quiet, windows, sorted).answers, 0.99);
    let mut goals = Vec::new();
    for change in Change::ALL {
        let Summary { seconds, answers } = summary(change, windows, sorted);
        let p99 = quantile_ms(&answers, 0.99);
        let values = [
            median(seconds.iter().copied()),
            answers.len() as f64,
            answers.iter().filter(|answer| !answer.is_success).count() as f64,
            quantile_ms(&answers, 0.5),
            p99,
            quantile_ms(&answers, 1.0),
            p99 / quiet,
        ];
        table.enter(change.name(), seconds.len() as u64, values);
        let drawn = ONE_IN.into_iter().filter(|one_in| *one_in <= answers.len() as f64);
        let points = drawn.map(|one_in| (one_in, quantile_ms(&answers, 1.0 - 1.0 / one_in)));
        lines.insert(change.name().to_owned(), points.collect());
        if change != Change::Quiet {
            goals.push((change, p99 / quiet));
        }
    }
    let mut report = Report::new("Planned changes", &about(settings)).table(&table);
    for (change, ratio) in goals {
        let what = format!("p99 of a create while {}, of that without", change.name());
        report = report.goal(&what, AtMost(3.0), ratio.is_finite().then_some(ratio));
    }
    let samples = windows
        .iter()
        .zip(sorted)
        .map(|(window, answers)| sample(window, answers));
    report.samples.extend(samples);
    report.plot(Plot {
        name: "changes".to_owned(),
        title: "creates while something is changed".to_owned(),
        x: "one create in so many takes as long or longer",
        y: "ms",
        lines,
    })
}

/// Times are seconds since the window's beginning.
fn sample(window: &Window, answers: &[Answer]) -> serde_json::Value {
    let since = |time: Duration| time.as_secs_f64() - window.begin.as_secs_f64();
    let slowest = answers.iter().rev().take(SLOWEST);
    let steps = window.steps.iter().map(|(what, at)| (what, since(*at)));
    serde_json::json!({
        "change": window.change,
        "took s": since(window.end),
        "creates": answers.len(),
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
        "Three members with {PARTITIONS} partitions and {} nodes; {PER_S} creates a second are due, whether or not \
         earlier ones were answered, and their times count from when they were due, their client's retries included. {} s \
         before each change nothing is done. Partitions move: a fourth member joins, then `kotoba rebalance`, until all are \
         where they belong. A member is drained: the leader of the meta group, with `kotoba member drain` and `remove`, and its \
         process ends. All members are rolled: one after the other is ended with SIGTERM and started again on its data, the \
         next once all are well. A change is over when it is done and the last leader has changed; what was under way at its \
         beginning belongs to it. Times are medians; creates are those of all times together.",
        settings.sizes.changed,
        QUIET.as_secs(),
    )
}
