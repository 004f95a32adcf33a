//! The load under which everything is broken: tasks that write nodes and edges with unique serials, and one that reads.
//!
//! What was acknowledged goes into the `ledger`, which `check` compares with the database afterwards. Nothing is retried
//! here beyond what the client library does, since a write of unknown outcome would then apply twice.

pub mod check;
pub mod ledger;
mod reader;
mod task;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::database::Database;
use crate::say::{duration_text, say};
use crate::wait::{Seen, until};
pub use ledger::Ledger;

/// Label of every written node. Of this process alone, so that a step can run on what an earlier run has left.
pub static LABEL: LazyLock<String> = LazyLock::new(|| format!("Written{:08x}", *RUN));
/// Type of every written edge; from an older node to the new one. Of this process alone, too.
pub static EDGE_TYPE: LazyLock<String> = LazyLock::new(|| format!("FOLLOWS_{:08x}", *RUN));
static RUN: LazyLock<u32> = LazyLock::new(rand::random);
/// Property that names the write; in nodes and in edges.
pub const SERIAL: &str = "serial";

/// Enough for several members to have clients, few enough for a two-core machine.
const TASKS: usize = 4;
/// A write that is under way when the writer is stopped has this long to come to an end: above the client's deadline.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running load.
pub struct Writer {
    ledger: Ledger,
    began: Instant,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What one load did, for the figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub lasted: Duration,
    pub acknowledged: usize,
    pub not_applied: usize,
    pub unknown: usize,
    pub longest_gap: Duration,
    pub reads: usize,
    pub failed_reads: usize,
    /// What the first of those that failed were told.
    pub failures: Vec<String>,
    /// Reads that contradict an acknowledged write.
    pub violations: Vec<String>,
}

impl Report {
    /// Requests that failed although the client library has tried again as long as it may.
    pub fn failed(&self) -> usize {
        self.not_applied + self.unknown + self.failed_reads
    }
}

impl Writer {
    /// Starts the tasks, each with a connection of its own, and waits for the first acknowledged writes.
    pub async fn start<D: Database>(ledger: &Ledger, connect: impl Fn() -> Result<D>) -> Result<Self> {
        ledger.begin_session();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for number in 0..TASKS {
            tasks.spawn(task::run(connect()?, ledger.clone(), number, stopped.clone()));
        }
        tasks.spawn(reader::run(connect()?, ledger.clone(), stopped));
        let writer = Writer {
            ledger: ledger.clone(),
            began: Instant::now(),
            stop,
            tasks,
        };
        writer.wait_for_more(TASKS).await?;
        Ok(writer)
    }

    /// Waits until this many more writes are acknowledged than now.
    pub async fn wait_for_more(&self, writes: usize) -> Result<()> {
        let wanted = self.ledger.report().acknowledged + writes;
        until("acknowledged writes", STOP_LIMIT, || async {
            let report = self.ledger.report();
            Ok(if report.acknowledged >= wanted {
                Seen::Done(())
            } else {
                Seen::Waiting(format!("{} of {wanted}", report.acknowledged))
            })
        })
        .await
    }

    /// Ends the tasks and says what they did; violations are an error.
    pub async fn finish(mut self) -> Result<Report> {
        // Nobody listens any more if all tasks have ended, which join_next then says.
        let _sent = self.stop.send(true);
        let ended = async {
            while let Some(task) = self.tasks.join_next().await {
                task.context("a task of the writer crashed")?;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STOP_LIMIT, ended)
            .await
            .context("the writer does not stop")??;
        let report = Report {
            lasted: self.began.elapsed(),
            ..self.ledger.report()
        };
        say(report.to_string());
        ensure!(
            report.violations.is_empty(),
            "reads contradicted acknowledged writes:{}",
            lines(&report.violations)
        );
        Ok(report)
    }
}

/// Each on a line of its own, for an error.
pub fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| format!("\n    {text}")).collect()
}

impl std::fmt::Display for Report {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "writer: {} writes acknowledged in {}, {} refused and {} of unknown outcome after retries, longest gap {}; \
             {} reads, {} failed",
            self.acknowledged,
            duration_text(self.lasted),
            self.not_applied,
            self.unknown,
            duration_text(self.longest_gap),
            self.reads,
            self.failed_reads
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::fake::Fake;

    #[tokio::test]
    async fn a_load_on_a_healthy_database_leaves_a_ledger_that_checks_out() {
        let database = Fake::default();
        let ledger = Ledger::default();
        let writer = Writer::start(&ledger, || Ok(database.clone())).await.unwrap();
        writer.wait_for_more(20).await.unwrap();
        let report = writer.finish().await.unwrap();
        assert!(report.acknowledged >= 20 && report.reads > 0);
        check::check(&database, &ledger).await.unwrap();
    }
}
