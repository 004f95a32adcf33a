//! The log on disk: a directory of segments, each a file that is only ever added to. One write and one sync a commit.
//!
//! | step | on disk when the power fails in it |
//! |---|---|
//! | a frame is written and synced | all before it; of the frame all, or what `scan` finds torn, which the next start wipes |
//! | a segment is full: the next one is made, with a frame of all rows, synced, and only then named | the segments before |
//! | entries of the oldest segment that are still of use are put into a later frame | both copies, which are alike |
//! | the oldest segment is removed, and the directory synced, before anything else is removed | it, or not; nothing in it is of use |
//!
//! What the log holds is what its frames say, in order. Segments go from the oldest on, so what undoes an entry is never gone
//! before the entry.

#[cfg(test)]
mod crashing;
mod folder;
mod frame;
mod head;
mod places;
mod scan;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[cfg(test)]
pub use crashing::CrashingFolder;
use folder::{Directory, Folder, SegmentFile};
use frame::{Contents, Draft, Extent, SECTOR, entry_at};
use head::Head;
use places::{Place, Places};

use super::disk::{Batch, Found, FoundEntry, LogDisk, LogError, PinnedLog, Record, Row};
use crate::raft::lock::lock;
use crate::raft::room::DiskRoom;
use crate::raft::types::ReplicaKey;

/// Length of a segment; one that a single commit needs may be longer.
const SEGMENT_BYTES: u64 = 8 << 20;
/// What old segments may hold beyond twice of what is of use in them, in segments.
const SLACK_SEGMENTS: u64 = 1;
/// Bytes of old entries that one commit takes along: little, for appends wait meanwhile.
const MOVED_BYTES: usize = 256 << 10;
const MOVED_ENTRIES: usize = 1_024;
/// Bytes that are read at once from a segment: entries that are read together were mostly written together.
const WINDOW_BYTES: usize = 64 << 10;

/// The log as a directory of segments.
pub struct SegmentLog {
    folder: Arc<dyn Folder>,
    name: PathBuf,
    owner: String,
    room: Arc<dyn DiskRoom>,
    segment_bytes: u64,
    /// `None` before the start and after the end.
    appender: Mutex<Option<Appender>>,
    /// Locked for moments: readers do not wait for a commit.
    places: Mutex<Places>,
    is_closed: AtomicBool,
    found: Mutex<start::Content>,
}

/// What only the writing thread needs.
struct Appender {
    tail: Tail,
    next_frame: u64,
    rows: BTreeMap<ReplicaKey, Row>,
    retired: BTreeSet<ReplicaKey>,
    /// Entries of the oldest segment that are to be taken along.
    moving: VecDeque<u64>,
}

/// The segment that is added to.
struct Tail {
    segment: u64,
    file: Arc<dyn SegmentFile>,
    file_bytes: u64,
    salt: u32,
    offset: u64,
}

impl SegmentLog {
    /// Opens the log of this owner, or makes it where `may_create` says that this directory never had one.
    pub fn open(directory: &Path, may_create: bool, owner: &str, room: Arc<dyn DiskRoom>) -> Result<Self, LogError> {
        let folder = Arc::new(Directory::new(directory.to_owned(), room.clone()));
        let log = SegmentLog {
            room,
            ..Self::in_folder(directory, folder, SEGMENT_BYTES, owner)
        };
        log.start(may_create)?;
        Ok(log)
    }

    #[cfg(test)]
    /// The log of a test in a folder that may die.
    pub fn crashing(folder: &CrashingFolder, segment_bytes: u64) -> Result<Self, LogError> {
        let folder = Arc::new(folder.clone());
        let log = Self::in_folder("log".as_ref(), folder, segment_bytes, "a test");
        log.start(true)?;
        Ok(log)
    }

    fn in_folder(name: &Path, folder: Arc<dyn Folder>, segment_bytes: u64, owner: &str) -> Self {
        SegmentLog {
            folder,
            name: name.to_owned(),
            owner: owner.to_owned(),
            room: Arc::new(()),
            segment_bytes,
            appender: Mutex::new(None),
            places: Mutex::default(),
            is_closed: AtomicBool::new(false),
            found: Mutex::default(),
        }
    }

    fn file_error(&self, action: &'static str, source: io::Error) -> LogError {
        LogError::File {
            path: self.name.clone(),
            action,
            source,
        }
    }

    /// Writes a frame, durably, and notes what it says.
    fn add(&self, appender: &mut Appender, batch: &Batch, moved: &[Record]) -> Result<(), LogError> {
        let mut draft = Draft::of(&Contents {
            rows: &batch.rows,
            retired: &batch.retired,
            deletes: &batch.deletes,
            inserts: [moved, &batch.inserts],
        });
        let bytes = draft.len() as u64;
        if appender.tail.offset + bytes > appender.tail.file_bytes {
            self.roll(appender, bytes)?;
        }
        let tail = &mut appender.tail;
        let frame = draft.seal(tail.salt, appender.next_frame);
        let written = tail.file.write_at(tail.offset, frame).and_then(|()| tail.file.sync());
        written.map_err(|error| self.file_error("written", error))?;
        let begin = u32::try_from(tail.offset).expect("segments are bounded to some MiB");
        tail.offset += bytes;
        appender.next_frame += 1;
        appender.note(batch);
        let mut places = lock(&self.places);
        for (sequence, extent) in &draft.extents {
            let extent = Extent {
                offset: begin + extent.offset,
                ..*extent
            };
            let segment = appender.tail.segment;
            places.put(*sequence, Place { segment, extent });
        }
        // Of this very frame too.
        batch.deletes.iter().for_each(|sequence| places.remove(*sequence));
        Ok(())
    }

    /// Makes the next segment, with room for a frame of so many bytes.
    fn roll(&self, appender: &mut Appender, frame_bytes: u64) -> Result<(), LogError> {
        let segment = appender.tail.segment + 1;
        let (rows, retired) = (&appender.rows, &appender.retired);
        appender.tail = self.new_segment(segment, appender.next_frame, rows, retired, frame_bytes)?;
        appender.next_frame += 1;
        Ok(())
    }

    fn new_segment(
        &self,
        segment: u64,
        first_frame: u64,
        rows: &BTreeMap<ReplicaKey, Row>,
        retired: &BTreeSet<ReplicaKey>,
        frame_bytes: u64,
    ) -> Result<Tail, LogError> {
        let mut draft = Draft::of(&Contents {
            rows,
            retired,
            deletes: &[],
            inserts: [&[], &[]],
        });
        let offset = (SECTOR + draft.len()) as u64;
        let head = Head {
            segment,
            first_frame,
            file_bytes: self.segment_bytes.max(offset + frame_bytes),
            salt: rand::random(),
            owner: self.owner.clone(),
        };
        let mut begin = head.encode();
        begin.extend_from_slice(draft.seal(head.salt, first_frame));
        self.room
            .before_write(usize::try_from(head.file_bytes).unwrap_or(usize::MAX));
        let created = self.folder.create(segment, head.file_bytes, &begin);
        let file = created.map_err(|error| self.file_error("given a new segment", error))?;
        lock(&self.places).add_segment(segment, file.clone(), head.file_bytes);
        Ok(Tail {
            segment,
            file,
            file_bytes: head.file_bytes,
            salt: head.salt,
            offset,
        })
    }

    /// Some entries of the oldest segment that are still of use, where there is too much around them that is not.
    fn take_along(&self, appender: &mut Appender) -> Result<Vec<Record>, LogError> {
        if appender.moving.is_empty() {
            let wasteful = self.wasteful();
            let places = lock(&self.places);
            appender.moving = wasteful
                .map_or_else(Vec::new, |oldest| places.sequences_in(oldest))
                .into();
        }
        let next: Vec<u64> = appender.moving.iter().take(MOVED_ENTRIES).copied().collect();
        let mut pinned = self.pinned(&next);
        let mut moved = Vec::new();
        let mut bytes = 0;
        for sequence in next {
            if bytes >= MOVED_BYTES {
                break;
            }
            appender.moving.pop_front();
            // Gone, where it was purged meanwhile.
            if let Some(record) = pinned.record(sequence)? {
                bytes += record.entry.len();
                moved.push(record);
            }
        }
        Ok(moved)
    }

    fn wasteful(&self) -> Option<u64> {
        lock(&self.places).wasteful(SLACK_SEGMENTS * self.segment_bytes)
    }

    fn remove_useless(&self) -> Result<(), LogError> {
        loop {
            let Some(oldest) = lock(&self.places).useless() else {
                return Ok(());
            };
            let removed = self.folder.remove(oldest);
            removed.map_err(|error| self.file_error("rid of an old segment", error))?;
            lock(&self.places).forget_segment(oldest);
        }
    }

    fn pinned(&self, sequences: &[u64]) -> PinnedSegments {
        let places = lock(&self.places);
        let place = |sequence: &u64| Some((*sequence, places.get(*sequence)?));
        PinnedSegments {
            places: sequences.iter().filter_map(place).collect(),
            window: Window::default(),
            name: self.name.clone(),
        }
    }
}

impl Appender {
    fn note(&mut self, batch: &Batch) {
        self.rows
            .extend(batch.rows.iter().map(|(key, row)| (*key, row.clone())));
        for key in &batch.retired {
            self.rows.remove(key);
            self.retired.insert(*key);
        }
    }
}

impl LogDisk for SegmentLog {
    fn rows(&self) -> Result<Found, LogError> {
        Ok(lock(&self.found).found.clone())
    }

    fn entries(&self, visit: &mut dyn FnMut(FoundEntry) -> Result<(), LogError>) -> Result<(), LogError> {
        let entries = std::mem::take(&mut lock(&self.found).entries);
        entries.into_values().try_for_each(|(found, _)| visit(found))
    }

    fn commit(&self, batch: &Batch) -> Result<(), LogError> {
        let mut appender = lock(&self.appender);
        let appender = appender.as_mut().ok_or(LogError::Closed)?;
        {
            let mut places = lock(&self.places);
            let gone = batch.deletes.iter().chain(&batch.drops);
            gone.for_each(|sequence| places.remove(*sequence));
        }
        let moved = self.take_along(appender)?;
        if batch.says_something() || !moved.is_empty() {
            self.add(appender, batch, &moved)?;
        }
        self.remove_useless()
    }

    fn pin(&self, sequences: &[u64]) -> Result<Box<dyn PinnedLog>, LogError> {
        match self.is_closed.load(Ordering::Acquire) {
            false => Ok(Box::new(self.pinned(sequences))),
            true => Err(LogError::Closed),
        }
    }

    fn file_bytes(&self) -> u64 {
        lock(&self.places).file_bytes()
    }

    fn is_untidy(&self) -> bool {
        self.wasteful().is_some()
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        lock(&self.appender).take();
    }

    fn damaged(&self, what: String) -> LogError {
        LogError::Damaged {
            path: self.name.clone(),
            what,
        }
    }
}

/// Where some entries are; their files stay readable even when they are removed.
struct PinnedSegments {
    places: BTreeMap<u64, (Place, Arc<dyn SegmentFile>)>,
    window: Window,
    name: PathBuf,
}

/// Bytes of a segment that were read together.
#[derive(Default)]
struct Window {
    segment: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl PinnedSegments {
    fn record(&mut self, sequence: u64) -> Result<Option<Record>, LogError> {
        let Some((place, file)) = self.places.get(&sequence) else {
            return Ok(None);
        };
        let path = || self.name.clone();
        let bytes = self.window.bytes_of(*place, &**file).map_err(|source| LogError::File {
            path: path(),
            action: "read",
            source,
        })?;
        let record = entry_at(bytes, sequence).ok_or_else(|| LogError::Damaged {
            path: path(),
            what: format!("segment {}: entry {sequence} is not as it was written", place.segment),
        })?;
        Ok(Some(record))
    }
}

impl PinnedLog for PinnedSegments {
    fn read(&mut self, sequence: u64) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.record(sequence)?.map(|record| record.entry))
    }
}

impl Window {
    fn bytes_of(&mut self, place: Place, file: &dyn SegmentFile) -> io::Result<&[u8]> {
        let offset = u64::from(place.extent.offset);
        let length = place.extent.bytes as usize;
        let end = offset + length as u64;
        let is_inside =
            self.segment == place.segment && self.offset <= offset && end <= self.offset + self.bytes.len() as u64;
        if !is_inside {
            let left = file.bytes()?.saturating_sub(offset);
            let wanted = length.max(WINDOW_BYTES);
            self.bytes
                .resize(usize::try_from(left).map_or(wanted, |left| left.min(wanted)), 0);
            file.read_at(offset, &mut self.bytes)?;
            (self.segment, self.offset) = (place.segment, offset);
        }
        let begin = (offset - self.offset) as usize;
        self.bytes
            .get(begin..begin + length)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
