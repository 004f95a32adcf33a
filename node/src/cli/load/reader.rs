//! Streams files as batches of operations, on a blocking thread.
//!
//! A batch of relationships holds only those between the same two partitions: its transaction then touches two, however
//! many rows it has. So a batch is open for each pair, and of all together only so many rows wait.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use csv::{Reader, ReaderBuilder, StringRecord};
use kotoba_graph::id::EntityId;
use kotoba_proto::v1::{CreateNode, NodeRef, Operation, node_ref};
use kotoba_state::placement;
use prost::Message;
use tokio::sync::mpsc;

use super::error::{BadRow, LoadError, Place, RowError, Rows};
use super::ids::{Ids, Index, Ordinal};
use super::layout::{EdgeLayout, NodeLayout};
use super::plan::{Format, Quote, Source};

/// Large enough that a read is rarely a system call, small against everything else.
const READ_BUFFER_BYTES: usize = 1 << 20;
/// A batch of long texts is sent before it is full, well below the 16 MiB that members take.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Rows of all open batches; some 50 MB.
const MAX_OPEN_ROWS: usize = 100_000;

/// Rows that become one transaction.
#[derive(Debug)]
pub(super) struct Batch {
    pub operations: Vec<Operation>,
    /// Ordinal of the first node; 0 for relationships.
    pub first: Ordinal,
    pub rows: Rows,
    /// How many of which label or type.
    pub counts: BTreeMap<String, u64>,
    /// Bytes of all files that were read up to here.
    pub bytes_read: u64,
    encoded_bytes: usize,
}

/// What the reader hands over.
#[derive(Debug)]
pub(super) enum Item {
    Batch(Batch),
    Skipped(BadRow),
}

/// How many bad rows may be left out.
#[derive(Clone, Debug)]
pub(super) struct BadRows {
    allowed: u64,
    count: u64,
}

impl BadRows {
    pub(super) fn allowing(allowed: u64) -> Self {
        BadRows { allowed, count: 0 }
    }

    fn admit(&mut self, row: &BadRow) -> Result<(), LoadError> {
        self.count += 1;
        match (self.allowed, self.count <= self.allowed) {
            (_, true) => Ok(()),
            (0, false) => Err(LoadError::BadRow(row.clone())),
            (allowed, false) => Err(LoadError::TooManyBadRows {
                allowed,
                last: row.clone(),
            }),
        }
    }
}

/// Reads files of one phase and sends what they hold; blocks while the queue is full.
pub(super) struct Phase {
    pub queue: mpsc::Sender<Item>,
    pub batch_rows: usize,
    pub bad_rows: BadRows,
    pub bytes_read: u64,
    pub open: Open,
}

/// The batches that are not full yet.
#[derive(Debug, Default)]
pub(super) struct Open {
    batches: BTreeMap<Pair, Batch>,
    rows: usize,
}

/// The partitions of a relationship's ends; of nodes there is one pair only.
type Pair = (u32, u32);

/// The receiving side hung up: it knows why, so nothing is reported from here.
struct HungUp;

/// Why reading a file ended early.
enum Stop {
    HungUp,
    Failed(LoadError),
}

impl From<HungUp> for Stop {
    fn from(HungUp: HungUp) -> Self {
        Stop::HungUp
    }
}

impl From<LoadError> for Stop {
    fn from(error: LoadError) -> Self {
        Stop::Failed(error)
    }
}

impl Phase {
    /// Reads all files of nodes; gives back the index of their ids.
    pub(super) fn nodes(&mut self, sources: &[Source<NodeLayout>]) -> Result<Index, LoadError> {
        let mut index = Index::default();
        for source in sources {
            // Nodes of a batch follow each other, so that their ids can be told by the first.
            if !self.file(source, |record| node(&source.layout, record, &mut index))? || !self.flush() {
                break;
            }
        }
        Ok(index)
    }

    /// Reads all files of relationships.
    pub(super) fn edges(
        &mut self,
        sources: &[Source<EdgeLayout>],
        ids: &Ids,
        partitions: u32,
    ) -> Result<(), LoadError> {
        for source in sources {
            if !self.file(source, |record| edge(&source.layout, record, ids, partitions))? {
                return Ok(());
            }
        }
        self.flush();
        Ok(())
    }

    /// Reads one file; false where nobody takes what is read any more.
    fn file<L>(
        &mut self,
        source: &Source<L>,
        row: impl FnMut(&StringRecord) -> Result<Parsed, RowError>,
    ) -> Result<bool, LoadError> {
        match self.rows(source, row) {
            Ok(()) => {
                self.bytes_read += source.bytes;
                Ok(true)
            }
            Err(Stop::HungUp) => Ok(false),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn rows<L>(
        &mut self,
        source: &Source<L>,
        mut row: impl FnMut(&StringRecord) -> Result<Parsed, RowError>,
    ) -> Result<(), Stop> {
        let mut reader = open(&source.path, source.format)?;
        let mut record = StringRecord::new();
        let file: Arc<str> = source.path.display().to_string().into();
        let place = |line| Place {
            file: file.clone(),
            line,
        };
        loop {
            let read = reader.read_record(&mut record);
            let line = line_of(&read, &record);
            let parsed = match read {
                Ok(false) => return Ok(()),
                Ok(true) => row(&record),
                Err(error) => Err(recoverable(error, &source.path)?),
            };
            match parsed {
                Ok(parsed) => {
                    let bytes_read = self.bytes_read + reader.position().byte();
                    self.add(parsed, place(line), bytes_read)?;
                }
                Err(problem) => self.bad_row(place(line), problem)?,
            }
        }
    }

    /// Puts a row into the batch of its pair; sends what is full, and the fullest where too many rows wait.
    fn add(&mut self, parsed: Parsed, place: Place, bytes_read: u64) -> Result<(), HungUp> {
        let pair = parsed.pair;
        let batch = grow(self.open.batches.remove(&pair), parsed, place, bytes_read);
        self.open.rows += 1;
        if batch.operations.len() >= self.batch_rows || batch.encoded_bytes >= MAX_BATCH_BYTES {
            return self.send_batch(batch);
        }
        self.open.batches.insert(pair, batch);
        if self.open.rows < MAX_OPEN_ROWS {
            return Ok(());
        }
        let fullest = self.open.batches.iter().max_by_key(|(_, batch)| batch.operations.len());
        let fullest = fullest.map(|(pair, _)| *pair);
        match fullest.and_then(|pair| self.open.batches.remove(&pair)) {
            Some(batch) => self.send_batch(batch),
            None => Ok(()),
        }
    }

    /// Sends all open batches; false where nobody takes them any more.
    fn flush(&mut self) -> bool {
        let open = std::mem::take(&mut self.open.batches);
        open.into_values().all(|batch| self.send_batch(batch).is_ok())
    }

    fn send_batch(&mut self, batch: Batch) -> Result<(), HungUp> {
        self.open.rows -= batch.operations.len();
        self.send(Item::Batch(batch))
    }

    fn bad_row(&mut self, place: Place, problem: RowError) -> Result<(), Stop> {
        let row = BadRow { place, problem };
        self.bad_rows.admit(&row)?;
        Ok(self.send(Item::Skipped(row))?)
    }

    fn send(&self, item: Item) -> Result<(), HungUp> {
        self.queue.blocking_send(item).map_err(|_| HungUp)
    }
}

/// A row as an operation, with what the summary counts it under.
struct Parsed {
    operation: Operation,
    counted_as: String,
    ordinal: Ordinal,
    pair: Pair,
}

fn node(layout: &NodeLayout, record: &StringRecord, index: &mut Index) -> Result<Parsed, RowError> {
    let row = layout.row(record)?;
    let ordinal = match row.id {
        None => index.insert_anonymous(),
        Some(id) => index.insert(&layout.space, id).ok_or_else(|| RowError::DuplicateId {
            space: layout.space.clone(),
            id: id.to_owned(),
        })?,
    };
    Ok(Parsed {
        counted_as: labels_text(&row.operation),
        operation: row.operation.into(),
        ordinal,
        pair: (0, 0),
    })
}

fn labels_text(node: &CreateNode) -> String {
    match node.labels.is_empty() {
        true => "(no label)".to_owned(),
        false => node.labels.join(":"),
    }
}

fn edge(layout: &EdgeLayout, record: &StringRecord, ids: &Ids, partitions: u32) -> Result<Parsed, RowError> {
    let edge = layout.row(record, ids)?;
    Ok(Parsed {
        pair: (
            partition_of(&edge.source, partitions),
            partition_of(&edge.target, partitions),
        ),
        counted_as: edge.r#type.clone(),
        operation: edge.into(),
        ordinal: 0,
    })
}

/// The partition of a node; a wrong guess costs time and nothing else.
fn partition_of(end: &Option<NodeRef>, partitions: u32) -> u32 {
    match end.and_then(|end| end.kind) {
        Some(node_ref::Kind::Id(id)) => {
            EntityId::from_number(id).map_or(0, |id| placement::partition_of_slot(id.slot().number(), partitions).0)
        }
        Some(node_ref::Kind::Operation(_)) | None => 0,
    }
}

/// Adds a row to the batch, or begins one with it.
fn grow(batch: Option<Batch>, parsed: Parsed, place: Place, bytes_read: u64) -> Batch {
    let mut batch = match batch {
        Some(mut batch) => {
            batch.rows.push(place);
            batch
        }
        None => Batch {
            operations: Vec::new(),
            first: parsed.ordinal,
            rows: Rows::begin(place),
            counts: BTreeMap::new(),
            bytes_read,
            encoded_bytes: 0,
        },
    };
    batch.encoded_bytes += parsed.operation.encoded_len();
    batch.operations.push(parsed.operation);
    batch.bytes_read = bytes_read;
    *batch.counts.entry(parsed.counted_as).or_default() += 1;
    batch
}

fn line_of(read: &Result<bool, csv::Error>, record: &StringRecord) -> u64 {
    let position = match read {
        Ok(_) => record.position(),
        Err(error) => error.position(),
    };
    position.map_or(0, csv::Position::line)
}

/// Text that is not UTF-8 spoils its row only; a file that cannot be read any more ends the load.
fn recoverable(error: csv::Error, path: &Path) -> Result<RowError, LoadError> {
    match error.kind() {
        csv::ErrorKind::Utf8 { .. } => Ok(RowError::NotUtf8),
        _ => Err(LoadError::Read {
            path: path.to_owned(),
            source: error,
        }),
    }
}

/// Reads only the names of the columns.
pub(super) fn read_header(path: &Path, format: Format) -> Result<StringRecord, LoadError> {
    let mut reader = open(path, format)?;
    reader.headers().cloned().map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })
}

fn open(path: &Path, format: Format) -> Result<Reader<File>, LoadError> {
    let file = File::open(path).map_err(|source| LoadError::Open {
        path: path.to_owned(),
        source,
    })?;
    let mut builder = ReaderBuilder::new();
    builder.delimiter(format.delimiter).buffer_capacity(READ_BUFFER_BYTES);
    // The number of fields is checked by the layout, which can say which line is wrong and go on.
    builder.flexible(true);
    match format.quote {
        Quote::None => builder.quoting(false),
        Quote::Character(character) => builder.quote(character),
    };
    Ok(builder.from_reader(file))
}
