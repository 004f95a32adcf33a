//! The replicated state machine of a partition: a transactional, multi-version, ordered key-value store.
//!
//! It knows keys, values and transactions, and nothing of graphs, Raft, clocks or disks. The protocol, with the
//! counterexample behind every rule, is the model-checked one of the design's transaction reference; the letters
//! (a) to (d''') in the comments here are its rules. `command` is what comes in, `apply` what it does, `read` what
//! a view of the store answers.

mod apply;
mod check_txn;
mod collect;
mod command;
mod conflict;
mod digest;
mod floors;
mod history;
mod intents;
mod keys;
mod newest;
mod one_phase;
mod ordered;
mod prepare;
mod read;
mod records;
mod refresh;
mod scan;
mod span;
mod versions;
pub mod writes;

pub use apply::PartitionMachine;
pub use check_txn::{Status, status};
pub use command::{
    Answer, CheckTxn, Command, CommitOnePhase, Condition, ConditionKind, Decided, FormatError, Key, OnePhaseAnswer, Op,
    Prepare, PrepareAnswer, Push, Refusal, Resolved, TxnHead, TxnId, TxnStatus, Value,
};
pub use conflict::foresee;
pub use digest::{DigestScan, NotedDigest, StateDigest, digest, digest_by_scan, noted_digest};
pub use floors::{Droppable, Floors, closed_ts, droppable, record_floor, version_floor};
pub use history::{HistoryAt, KeptVersions, history_at};
pub use intents::{Intent, MetIntent, expired_intents, has_intents, intent_of};
pub use newest::NewestVersions;
pub use one_phase::would_commit;
pub use read::{Known, ReadAt, Settled, read_at};
pub use records::{Unfinished, unfinished};
pub use refresh::{RefreshOutcome, refresh};
pub use scan::{ScanLimits, ScanPage, scan_at};
pub use span::{ReadSet, SLOT_BYTES, Span, slot_key, slot_of};

#[cfg(test)]
mod tests;
