//! How transactions ended, counted as they do.

use kotoba_state::ids::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::CommitError;

/// How a transaction that was sent to its partitions commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phases {
    /// Nothing was written.
    None,
    One,
    Two,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

const OUTCOMES: [&str; 10] = [
    "read_only",
    "one_phase",
    "two_phase",
    "conflict",
    "condition",
    "unavailable",
    "too_large",
    "unknown",
    "disk_full",
    "broken",
];

/// Counts of one coordinator; clones share them.
#[derive(Clone, Debug)]
pub struct Outcomes {
    ended: Family<OutcomeLabel, Counter>,
    /// Attempts that were not the first of their request.
    pub retried: Counter,
    /// Attempts that shared their commit with others.
    pub(super) shared: Counter,
}

impl Default for Outcomes {
    fn default() -> Self {
        let ended = Family::<OutcomeLabel, Counter>::default();
        // Known from the start: a rate needs a zero to begin with.
        for outcome in OUTCOMES {
            drop(ended.get_or_create(&OutcomeLabel { outcome }));
        }
        Outcomes {
            ended,
            retried: Counter::default(),
            shared: Counter::default(),
        }
    }
}

impl Outcomes {
    /// Of so many that committed together, or one.
    pub(super) fn note(&self, phases: Phases, ended: &Result<Timestamp, CommitError>, transactions: u64) {
        let outcome = name(phases, ended);
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc_by(transactions);
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "transactions",
            "Attempts at transactions of this member's clients, by how they ended",
            self.ended.clone(),
        );
        registry.register(
            "transactions_retried",
            "Attempts at transactions that follow one of the same request",
            self.retried.clone(),
        );
        registry.register(
            "transactions_shared",
            "Attempts at transactions that shared their commit with others which came at the same moment",
            self.shared.clone(),
        );
    }
}

fn name(phases: Phases, ended: &Result<Timestamp, CommitError>) -> &'static str {
    match (ended, phases) {
        (Ok(_), Phases::None) => "read_only",
        (Ok(_), Phases::One) => "one_phase",
        (Ok(_), Phases::Two) => "two_phase",
        (Err(CommitError::Conflict(_)), _) => "conflict",
        (Err(CommitError::ConditionFailed(_)), _) => "condition",
        (Err(CommitError::Unavailable(_)), _) => "unavailable",
        (Err(CommitError::TooLarge(_)), _) => "too_large",
        (Err(CommitError::UnknownOutcome(_)), _) => "unknown",
        (Err(CommitError::DiskFull(_)), _) => "disk_full",
        (Err(CommitError::Broken(_)), _) => "broken",
    }
}
