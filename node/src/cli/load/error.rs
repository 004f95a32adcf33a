//! Why a load stopped, and why a row cannot be loaded. Both name the file and the line, since that is what a person must fix.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use kotoba_proto::ClusterError;
use kotoba_proto::value::ParseValueError;

use super::journal::JournalError;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: csv::Error },
    #[error("{}: {problem}", path.display())]
    Layout { path: PathBuf, problem: LayoutError },
    #[error("mapping {} is not understood: {source}", path.display())]
    Mapping {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("{0}; fix it, or leave such rows out with --skip-bad-rows (--dry-run finds them all)")]
    BadRow(BadRow),
    #[error("more than {allowed} rows were left out, the last one at {last}; see --max-bad-rows")]
    TooManyBadRows { allowed: u64, last: BadRow },
    #[error("ask the cluster for its settings: {0}")]
    Cluster(ClusterError),
    #[error("{rows}: {source}")]
    Send { rows: Rows, source: ClusterError },
    /// Batches of an earlier run whose answers were lost, and whose receipts may be gone since.
    #[error(
        "of {count} rows it can no longer be told whether they were created: they are listed in {}, one FILE:LINE a line",
        listed.display()
    )]
    InDoubt { count: usize, listed: PathBuf },
    #[error("{rows}: an earlier run has created other rows from there; put the file back as it was")]
    OtherRows { rows: Rows },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the load was interrupted")]
    Interrupted,
    #[error("{rows}: the cluster gave {found} ids for {expected} rows")]
    Ids { rows: Rows, found: usize, expected: usize },
    /// The reading task panicked or was cancelled.
    #[error("reading stopped unexpectedly: {0}")]
    ReaderStopped(String),
}

/// A header or a mapping that does not fit the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    #[error("column {column:?}: {problem}")]
    Column { column: String, problem: String },
    #[error("there is no column {column:?}; there are {present}")]
    NoColumn { column: String, present: String },
    #[error("two columns are {role}")]
    Twice { role: &'static str },
    #[error("no column is {role}; name it in the header (neo4j-admin style) or describe the file with --mapping")]
    Missing { role: &'static str },
    #[error(
        "the header has neither :ID nor :START_ID; say with --nodes, --relationships or --mapping what the file is"
    )]
    Unclear,
    #[error("a type is needed: a column :TYPE, or --relationships FILE=TYPE")]
    NoType,
    #[error("{setting} must be one ASCII character, not {value:?}")]
    Separator { setting: &'static str, value: String },
}

/// The rows of one batch, in the order of their reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    first: Place,
    more: Vec<Place>,
}

impl Rows {
    pub(super) fn begin(first: Place) -> Self {
        Rows {
            first,
            more: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, place: Place) {
        self.more.push(place);
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.first).chain(&self.more)
    }
}

/// The first and the last: between them there may be rows of other batches.
impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.more.last().unwrap_or(&self.first);
        match self.first.file == last.file {
            true => write!(f, "{}-{}", self.first, last.line),
            false => write!(f, "{} to {last}", self.first),
        }
    }
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}")]
pub struct Place {
    pub file: Arc<str>,
    pub line: u64,
}

/// A row that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct BadRow {
    pub place: Place,
    pub problem: RowError,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("{found} fields where the header has {expected}")]
    Fields { found: usize, expected: usize },
    #[error("column {column:?}: {problem}")]
    Value { column: String, problem: ParseValueError },
    #[error("the id is empty")]
    EmptyId,
    #[error("id {id:?} occurs twice in id space {space:?}")]
    DuplicateId { space: String, id: String },
    #[error("no node has id {id:?} in id space {space:?}")]
    UnknownNode { space: String, id: String },
    #[error("the type is empty")]
    EmptyType,
    #[error("the text is not UTF-8")]
    NotUtf8,
}
