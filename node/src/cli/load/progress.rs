//! Shows how far a load is, by the bytes of its files, and which rows it leaves out.

use super::error::BadRow;
use super::summary::Summary;
use crate::cli::output::Format;
use crate::cli::progress::Bar;

/// Bad rows that are shown one by one; all are counted.
const MAX_SHOWN: u64 = 20;

pub(super) struct Progress {
    bar: Bar,
    /// Batches come back in any order; what is shown never goes back.
    bytes: u64,
    skipped: u64,
}

impl Progress {
    pub(super) fn start(format: Format, total_bytes: u64) -> Self {
        Progress {
            bar: Bar::start(format, total_bytes),
            bytes: 0,
            skipped: 0,
        }
    }

    pub(super) fn advance(&mut self, bytes: u64, summary: &Summary) {
        self.bytes = self.bytes.max(bytes);
        self.bar.advance(self.bytes, || summary.totals());
    }

    pub(super) fn skipped(&mut self, row: &BadRow) {
        self.skipped += 1;
        match self.skipped {
            ..=MAX_SHOWN => self.bar.say(&format!("left out {row}")),
            count if count == MAX_SHOWN + 1 => self.bar.say("further rows that are left out are only counted"),
            _ => {}
        }
    }
}
