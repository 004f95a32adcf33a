//! What a load reads, as far as its batches depend on it: two runs with equal inputs make the same batches.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::cli::load::error::LoadError;
use crate::cli::load::plan::{Plan, Source};

/// Changes where rows are put into batches in another way than before.
const BATCHING: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli::load) struct Inputs {
    batching: u32,
    batch_rows: u64,
    /// Nodes before relationships.
    files: Vec<Input>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    path: String,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    /// Hash of what its columns mean, from its header and the mapping.
    meaning: [u8; 16],
}

/// How the inputs differ from those of the run before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Changed {
    Batches { before: u64, now: u64 },
    Version,
    Files,
    Meaning { path: String },
    Content { path: String },
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ANEW: &str = "or name another file with --progress to begin anew";
        match self {
            Changed::Batches { before, now } => write!(f, "--batch was {before}, not {now}; give that, {ANEW}"),
            Changed::Version => write!(f, "it was begun by another version of kotoba; go on with that, {ANEW}"),
            Changed::Files => write!(f, "the list of files is not the same; give the same files, {ANEW}"),
            Changed::Meaning { path } => {
                write!(
                    f,
                    "the header of {path}, or its mapping, was changed; change it back, {ANEW}"
                )
            }
            Changed::Content { path } => write!(
                f,
                "{path} was changed since; if that was behind the rows that are loaded (a bad row was put right), go on with \
                 --accept-changed-files, {ANEW}"
            ),
        }
    }
}

impl Inputs {
    pub(in crate::cli::load) fn of(plan: &Plan, batch_rows: usize) -> Result<Self, LoadError> {
        let nodes = plan.nodes.iter().map(input);
        let edges = plan.edges.iter().map(input);
        Ok(Inputs {
            batching: BATCHING,
            batch_rows: batch_rows as u64,
            files: nodes.chain(edges).collect::<Result<_, _>>()?,
        })
    }

    /// Whether batches that were made of these are made of the others, too.
    pub(super) fn check(&self, now: &Inputs, accept_changed_files: bool) -> Result<(), Changed> {
        if self.batching != now.batching {
            return Err(Changed::Version);
        }
        if self.batch_rows != now.batch_rows {
            return Err(Changed::Batches {
                before: self.batch_rows,
                now: now.batch_rows,
            });
        }
        let paths = |inputs: &Inputs| inputs.files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
        if paths(self) != paths(now) {
            return Err(Changed::Files);
        }
        let mut pairs = self.files.iter().zip(&now.files);
        pairs.try_for_each(|(before, now)| before.check(now, accept_changed_files))
    }
}

impl Input {
    fn check(&self, now: &Input, accept_changed_files: bool) -> Result<(), Changed> {
        let path = now.path.clone();
        if self.meaning != now.meaning {
            return Err(Changed::Meaning { path });
        }
        let is_same = (self.bytes, self.modified) == (now.bytes, now.modified);
        match is_same || accept_changed_files {
            true => Ok(()),
            false => Err(Changed::Content { path }),
        }
    }
}

fn input<L: fmt::Debug>(source: &Source<L>) -> Result<Input, LoadError> {
    let mut meaning = [0; 16];
    let described = format!("{:?} {:?}", source.layout, source.format);
    meaning.copy_from_slice(&blake3::hash(described.as_bytes()).as_bytes()[..16]);
    Ok(Input {
        path: source.path.display().to_string(),
        bytes: source.bytes,
        modified: modified(&source.path).map_err(|error| LoadError::Open {
            path: source.path.clone(),
            source: error,
        })?,
        meaning,
    })
}

fn modified(path: &Path) -> std::io::Result<u64> {
    let modified = fs::metadata(path)?.modified()?;
    // Before 1970, or after 2500: any number does, as long as it is the same the next time.
    let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
