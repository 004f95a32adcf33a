//! The directory of the segments. A narrow door again, so that tests can lose its power.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};

use crate::raft::lock::sync_directory;
use crate::raft::patient_file::until_it_fits;
use crate::raft::room::DiskRoom;

const EXTENSION: &str = "segment";
/// A segment that is being made has this one: under its own name it is whole.
const UNFINISHED: &str = "new";

/// Where segments are kept. All calls block.
pub trait Folder: Send + Sync {
    /// Of the segments that are there, ascending.
    fn numbers(&self) -> io::Result<Vec<u64>>;

    /// Makes a segment of so many bytes that begins with these; it is durable, name and all, when this returns.
    fn create(&self, number: u64, bytes: u64, begin: &[u8]) -> io::Result<Arc<dyn SegmentFile>>;

    fn open(&self, number: u64) -> io::Result<Arc<dyn SegmentFile>>;

    /// Removes a segment, durably. Whoever has it open can still read it.
    fn remove(&self, number: u64) -> io::Result<()>;

    /// What a segment is called in errors.
    fn path(&self, number: u64) -> PathBuf;
}

/// A segment's file.
pub trait SegmentFile: Send + Sync {
    fn bytes(&self) -> io::Result<u64>;
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// A directory on the disk of this member. Writes that find no room wait for it.
pub struct Directory {
    path: PathBuf,
    room: Arc<dyn DiskRoom>,
}

impl Directory {
    pub fn new(path: PathBuf, room: Arc<dyn DiskRoom>) -> Self {
        Directory { path, room }
    }

    fn file(&self, file: File) -> Arc<dyn SegmentFile> {
        let room = self.room.clone();
        Arc::new(PatientSegment { file, room })
    }

    /// Makes the directory, its name durable, where it is missing.
    fn ensure(&self) -> io::Result<()> {
        if !self.path.try_exists()? {
            fs::create_dir(&self.path)?;
            sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn write_new(&self, path: &Path, bytes: u64, begin: &[u8]) -> io::Result<File> {
        self.ensure()?;
        let options = || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(path)
        };
        let file = until_it_fits(|| self.room.wait(), options)?;
        until_it_fits(|| self.room.wait(), || allocate(&file, bytes))?;
        until_it_fits(|| self.room.wait(), || file.write_all_at(begin, 0))?;
        file.sync_all()?;
        Ok(file)
    }
}

impl Folder for Directory {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = PathBuf::from(entry?.file_name());
            if name.extension().is_some_and(|extension| extension == EXTENSION) {
                let number = name.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
                let unknown =
                    || io::Error::new(io::ErrorKind::InvalidData, format!("{} is no segment", name.display()));
                numbers.push(number.ok_or_else(unknown)?);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create(&self, number: u64, bytes: u64, begin: &[u8]) -> io::Result<Arc<dyn SegmentFile>> {
        let path = self.path(number);
        let unfinished = path.with_extension(UNFINISHED);
        let file = self.write_new(&unfinished, bytes, begin)?;
        until_it_fits(|| self.room.wait(), || fs::rename(&unfinished, &path))?;
        sync_directory(&self.path)?;
        Ok(self.file(file))
    }

    fn open(&self, number: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(number))?;
        Ok(self.file(file))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.path(number))?;
        sync_directory(&self.path)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:012}.{EXTENSION}"))
    }
}

struct PatientSegment {
    file: File,
    room: Arc<dyn DiskRoom>,
}

impl SegmentFile for PatientSegment {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        until_it_fits(|| self.room.wait(), || self.file.write_all_at(bytes, offset))
    }

    /// Never done again: after a failed one nobody knows what is on the disk.
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Blocks that are there before they are written spare each commit a change of the file's size, and the disk's end is met here.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Zeros are read there all the same.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes),
        done => Ok(done?),
    }
}
