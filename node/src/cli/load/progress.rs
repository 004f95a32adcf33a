//! Shows that a load goes on: a bar on a terminal, a line every few seconds elsewhere. Always on stderr.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::error::BadRow;
use super::summary::Summary;

/// Often enough to see that it lives, rare enough for a log.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Bad rows that are shown one by one; all are counted.
const MAX_SHOWN: u64 = 20;

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total_bytes: u64,
    /// Batches come back in any order; what is shown never goes back.
    bytes: u64,
    next_line: Instant,
    skipped: u64,
}

impl Progress {
    pub(super) fn start(total_bytes: u64) -> Self {
        Progress {
            bar: io::stderr().is_terminal().then(|| bar(total_bytes)),
            total_bytes,
            bytes: 0,
            next_line: Instant::now() + LINE_INTERVAL,
            skipped: 0,
        }
    }

    pub(super) fn advance(&mut self, bytes: u64, summary: &Summary) {
        self.bytes = self.bytes.max(bytes);
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes);
            bar.set_message(summary.totals());
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_INTERVAL;
            eprintln!("kotoba: {}%, {}", self.percent(), summary.totals());
        }
    }

    pub(super) fn skipped(&mut self, row: &BadRow) {
        self.skipped += 1;
        let text = match self.skipped {
            ..=MAX_SHOWN => format!("left out {row}"),
            count if count == MAX_SHOWN + 1 => "further rows that are left out are only counted".to_owned(),
            _ => return,
        };
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("kotoba: {text}"),
        }
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn percent(&self) -> u64 {
        (self.bytes * 100).checked_div(self.total_bytes).unwrap_or(100)
    }
}

fn bar(total_bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent}%  {msg}  {elapsed} so far, {eta} to go");
    ProgressBar::new(total_bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
