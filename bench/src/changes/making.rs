//! Makes one change after the other to members that serve, and notes when.

use anyhow::Result;
use tokio::time::{Duration, sleep};

use super::windows::{Change, Window};
use crate::members::{Members, Ports};
use crate::steady::Steady;

/// Before each change nothing is done for so long.
pub const QUIET: Duration = Duration::from_secs(10);

pub struct Making<'a> {
    pub members: &'a mut Members,
    /// Where the next member that joins will listen.
    pub vacant: Ports,
    pub load: &'a Steady,
    pub windows: Vec<Window>,
}

impl Making<'_> {
    /// Three members become four, then three again, of which each is rolled.
    pub async fn one_round(&mut self) -> Result<()> {
        for change in [Change::Move, Change::Drain, Change::Roll] {
            self.make(Change::Quiet).await?;
            self.make(change).await?;
        }
        Ok(())
    }

    async fn make(&mut self, change: Change) -> Result<()> {
        let begin = self.load.now();
        let steps = match change {
            Change::Quiet => self.quiet().await,
            Change::Move => self.balance_over_one_more().await,
            Change::Drain => self.drain().await,
            Change::Roll => self.roll().await,
        }?;
        let end = match change {
            Change::Quiet => self.load.now(),
            Change::Move | Change::Drain | Change::Roll => {
                let rested = self.members.wait_until_leaders_rest().await?;
                self.load.now() - rested
            }
        };
        eprintln!("  {}: {:.1} s", change.name(), (end - begin).as_secs_f64());
        self.windows.push(Window {
            change,
            begin,
            end,
            steps,
        });
        Ok(())
    }

    async fn quiet(&mut self) -> Result<Vec<(String, Duration)>> {
        sleep(QUIET).await;
        Ok(Vec::new())
    }

    async fn balance_over_one_more(&mut self) -> Result<Vec<(String, Duration)>> {
        self.members.join(self.vacant).await?;
        let joined = self.step("joined");
        self.members.balance().await?;
        Ok(vec![joined, self.step("balanced")])
    }

    /// The hardest: the leader of the meta group.
    async fn drain(&mut self) -> Result<Vec<(String, Duration)>> {
        let number = self.members.meta_leader().await?;
        self.vacant = self.members.drain(number).await?;
        Ok(vec![self.step("drained, removed and ended")])
    }

    async fn roll(&mut self) -> Result<Vec<(String, Duration)>> {
        let mut steps = Vec::new();
        for number in 0..self.members.processes.len() {
            self.members.roll(number).await?;
            steps.push(self.step(&format!("member {number} has ended and is started again")));
            self.members.wait_until_well().await?;
            steps.push(self.step("all are well"));
        }
        Ok(steps)
    }

    fn step(&self, what: &str) -> (String, Duration) {
        (what.to_owned(), self.load.now())
    }
}
