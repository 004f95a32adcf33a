//! What the database has promised: every acknowledged write with its ids, content ids and bookmark. Append-only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kotoba_proto::ContentId;

use super::Report;

/// More tell nothing new.
const MAX_VIOLATIONS: usize = 20;
const MAX_FAILURES: usize = 20;

/// One acknowledged transaction: a node, and the edge to it from an older node (the first writes have none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub serial: u64,
    pub bookmark: u64,
    pub node: u64,
    pub node_cid: ContentId,
    pub edge: Option<WrittenEdge>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenEdge {
    pub id: u64,
    pub cid: ContentId,
    pub source: u64,
}

/// A write whose outcome nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Source of the edge it would have made.
    pub source: Option<u64>,
}

/// Shared by the tasks of a writer and by the checks; lives as long as the cluster it describes.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    next_serial: u64,
    acknowledged: Vec<Entry>,
    unknown: BTreeMap<u64, Attempt>,
    not_applied: BTreeSet<u64>,
    session: Session,
}

/// Figures of the load that runs now.
#[derive(Debug, Default)]
struct Session {
    last_acknowledged: Option<Instant>,
    report: Report,
}

/// A copy of all that a check needs.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    pub acknowledged: Vec<Entry>,
    pub unknown: BTreeMap<u64, Attempt>,
    pub not_applied: BTreeSet<u64>,
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        // The book is whole after each of its short changes, even if its holder panicked later.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn begin_session(&self) {
        let session = Session {
            last_acknowledged: Some(Instant::now()),
            ..Session::default()
        };
        self.book().session = session;
    }

    /// A serial that was never used.
    pub fn next_serial(&self) -> u64 {
        let mut book = self.book();
        book.next_serial += 1;
        book.next_serial
    }

    pub fn acknowledge(&self, entry: Entry) {
        let mut book = self.book();
        let gap = book.session.gap(Instant::now());
        book.session.report.longest_gap = book.session.report.longest_gap.max(gap);
        book.session.last_acknowledged = Some(Instant::now());
        book.session.report.acknowledged += 1;
        book.acknowledged.push(entry);
    }

    pub fn note_unknown(&self, serial: u64, attempt: Attempt, reason: &str) {
        let mut book = self.book();
        book.session.report.unknown += 1;
        book.session
            .note_failure(format!("write {serial}, outcome unknown: {reason}"));
        book.unknown.insert(serial, attempt);
    }

    pub fn note_not_applied(&self, serial: u64, reason: &str) {
        let mut book = self.book();
        book.session.report.not_applied += 1;
        book.session.note_failure(format!("write {serial}: {reason}"));
        book.not_applied.insert(serial);
    }

    /// One pass of the reader: what contradicts the ledger, or that the database did not answer.
    pub fn note_reads(&self, outcome: Result<Vec<String>, String>) {
        let mut book = self.book();
        let session = &mut book.session;
        match outcome {
            Ok(violations) => {
                session.report.reads += 1;
                let room = MAX_VIOLATIONS.saturating_sub(session.report.violations.len());
                session.report.violations.extend(violations.into_iter().take(room));
            }
            Err(reason) => {
                session.report.failed_reads += 1;
                session.note_failure(format!("read: {reason}"));
            }
        }
    }

    pub fn len(&self) -> usize {
        self.book().acknowledged.len()
    }

    /// The entry at this place in the order of acknowledgement.
    pub fn entry(&self, index: usize) -> Option<Entry> {
        self.book().acknowledged.get(index).cloned()
    }

    /// Figures of the present session, up to now: a gap that is still open counts.
    pub fn report(&self) -> Report {
        let book = self.book();
        let mut report = book.session.report.clone();
        report.longest_gap = report.longest_gap.max(book.session.gap(Instant::now()));
        report
    }

    pub fn promises(&self) -> Promises {
        let book = self.book();
        Promises {
            acknowledged: book.acknowledged.clone(),
            unknown: book.unknown.clone(),
            not_applied: book.not_applied.clone(),
        }
    }
}

impl Session {
    fn note_failure(&mut self, failure: String) {
        if self.report.failures.len() < MAX_FAILURES {
            self.report.failures.push(failure);
        }
    }

    fn gap(&self, now: Instant) -> Duration {
        let last = self.last_acknowledged;
        last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last))
    }
}
