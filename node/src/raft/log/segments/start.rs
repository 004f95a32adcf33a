//! Opening the log: all segments are read, from the oldest on, before anything is written.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::super::disk::{Found, FoundEntry, LogError};
use super::folder::SegmentFile;
use super::frame::Frame;
use super::head::{FORMAT, Head};
use super::places::Place;
use super::scan::{End, scan};
use super::{Appender, SegmentLog, Tail};
use crate::raft::lock::lock;

/// What the log was kept in before.
const FORMER_FILE: &str = "log.redb";
const FORMER_FORMAT: u8 = 1;

/// What the frames say.
#[derive(Default)]
pub struct Content {
    pub found: Found,
    pub entries: BTreeMap<u64, (FoundEntry, Place)>,
}

impl Content {
    fn take(&mut self, frame: Frame, segment: u64) {
        self.found.rows.extend(frame.rows);
        for key in frame.retired {
            self.found.rows.remove(&key);
            self.found.retired.insert(key);
        }
        let entries = frame.inserts.into_iter();
        self.entries.extend(entries.map(|(found, extent)| {
            let place = Place { segment, extent };
            (found.sequence, (found, place))
        }));
        for sequence in frame.deletes {
            self.entries.remove(&sequence);
        }
    }
}

/// The newest segment, as it was read.
struct Newest {
    head: Head,
    end: End,
    file: Arc<dyn SegmentFile>,
}

impl SegmentLog {
    pub(super) fn start(&self, may_create: bool) -> Result<(), LogError> {
        self.refuse_former()?;
        let numbers = self
            .folder
            .numbers()
            .map_err(|error| self.file_error("listed", error))?;
        let mut content = Content::default();
        let (tail, next_frame) = match self.read(&numbers, &mut content)? {
            Some(newest) => self.resume(newest)?,
            None if may_create => {
                let Found { rows, retired } = &content.found;
                (self.new_segment(1, 1, rows, retired, 0)?, 2)
            }
            None => {
                let what = "it is missing, though this directory holds replicas";
                return Err(self.damaged_at(&self.name, what.to_owned()));
            }
        };
        self.place(&content);
        *lock(&self.appender) = Some(Appender {
            tail,
            next_frame,
            rows: content.found.rows.clone(),
            retired: content.found.retired.clone(),
            moving: VecDeque::new(),
        });
        *lock(&self.found) = content;
        Ok(())
    }

    /// A log of an earlier version is not passed over: its entries and votes would be lost.
    fn refuse_former(&self) -> Result<(), LogError> {
        let path = self.name.with_file_name(FORMER_FILE);
        match path.try_exists() {
            Ok(false) => Ok(()),
            Ok(true) => Err(LogError::Format {
                path,
                found: FORMER_FORMAT,
                known: FORMAT,
            }),
            Err(error) => Err(self.file_error("looked for", error)),
        }
    }

    fn damaged_at(&self, path: &Path, what: String) -> LogError {
        let path = path.to_owned();
        LogError::Damaged { path, what }
    }

    fn read(&self, numbers: &[u64], content: &mut Content) -> Result<Option<Newest>, LogError> {
        let mut newest: Option<Newest> = None;
        for number in numbers {
            let path = self.folder.path(*number);
            let unreadable = |source: io::Error| LogError::File {
                path: path.clone(),
                action: "read",
                source,
            };
            let file = self.folder.open(*number).map_err(unreadable)?;
            let bytes = read_all(&*file).map_err(unreadable)?;
            let head = Head::read(&path, &bytes, *number, &self.owner)?;
            if let Some(before) = newest {
                check_order(&before, &head).map_err(|what| self.damaged_at(&path, what))?;
            }
            let visit = |frame| {
                content.take(frame, *number);
                Ok(())
            };
            let end = scan(&bytes, &head, visit).map_err(|what| self.damaged_at(&path, what))?;
            lock(&self.places).add_segment(*number, file.clone(), head.file_bytes);
            newest = Some(Newest { head, end, file });
        }
        Ok(newest)
    }

    /// What was read may be in the kernel's memory only, since a process that was killed: it has to be durable before anybody
    /// acts on it.
    fn resume(&self, newest: Newest) -> Result<(Tail, u64), LogError> {
        let Newest { head, end, file } = newest;
        let wiped = wipe(&*file, end.torn).and_then(|()| file.sync());
        wiped.map_err(|error| self.file_error("made durable", error))?;
        let tail = Tail {
            segment: head.segment,
            file,
            file_bytes: head.file_bytes,
            salt: head.salt,
            offset: end.offset as u64,
        };
        Ok((tail, end.next_frame))
    }

    fn place(&self, content: &Content) {
        let mut places = lock(&self.places);
        for (sequence, (_, place)) in &content.entries {
            places.put(*sequence, *place);
        }
    }
}

fn read_all(file: &dyn SegmentFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn check_order(before: &Newest, head: &Head) -> Result<(), String> {
    let expected = before.head.segment + 1;
    if head.segment != expected {
        return Err(format!("segment {expected} before it is missing"));
    }
    match head.first_frame == before.end.next_frame {
        true => Ok(()),
        false => Err(format!(
            "it begins with frame {}, and segment {} ends before frame {}",
            head.first_frame, before.head.segment, before.end.next_frame
        )),
    }
}

/// A frame that is not whole was never acknowledged; nothing of it may stand behind the next one.
fn wipe(file: &dyn SegmentFile, torn: Range<usize>) -> io::Result<()> {
    match torn.is_empty() {
        true => Ok(()),
        false => file.write_at(torn.start as u64, &vec![0; torn.len()]),
    }
}
