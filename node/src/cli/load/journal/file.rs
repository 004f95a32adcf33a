//! A file of records that is only appended to, and read once when it is opened.
//!
//! A record that a power failure cut off at the end of the file is dropped; any other damage is refused, since records after
//! it may say what was sent.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the file begins with; the digit is the format's version.
const MAGIC: &[u8; 9] = b"KTB-LOAD1";
const CHECK_BYTES: usize = 8;
const HEAD_BYTES: usize = 4 + CHECK_BYTES;
/// A batch of a thousand nodes is some 10 KB.
const MAX_RECORD_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot open the progress file {}: {source}; name another with --progress, or go without one with --not-resumable", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("another load has the progress file {} open", path.display())]
    InUse { path: PathBuf },
    #[error("{} is no progress file that this version of kotoba knows: name another with --progress", path.display())]
    Format { path: PathBuf },
    #[error("the progress file {} is damaged at byte {at}: what was created cannot be told from it; delete what was loaded, and the file", path.display())]
    Damaged { path: PathBuf, at: u64 },
    #[error("cannot note the progress in {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl FileError {
    pub(super) fn damaged(path: &Path, at: u64) -> Self {
        FileError::Damaged {
            path: path.to_owned(),
            at,
        }
    }

    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        FileError::Write {
            path: path.to_owned(),
            source,
        }
    }
}

pub(super) struct RecordFile<R> {
    path: PathBuf,
    file: File,
    records: PhantomData<R>,
}

impl<R: Serialize + DeserializeOwned> RecordFile<R> {
    /// Opens or makes the file, for this process alone, with the records that are in it.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<R>), FileError> {
        let open_error = |source| FileError::Open {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(open_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(open_error(source)),
        }
        let (records, end) = read_all(path, &mut file)?;
        let mut opened = RecordFile {
            path: path.to_owned(),
            file,
            records: PhantomData,
        };
        opened.cut(end).map_err(|source| FileError::write(path, source))?;
        Ok((opened, records))
    }

    /// Drops what is behind the last whole record.
    fn cut(&mut self, end: u64) -> io::Result<()> {
        if end == 0 {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            return self.file.write_all(MAGIC);
        }
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end)).map(|_| ())
    }

    /// Adds a record; it outlives this process at once, the machine after a sync.
    pub(super) fn append(&mut self, record: &R) -> Result<(), FileError> {
        let head = vec![0; HEAD_BYTES];
        let mut bytes =
            postcard::to_extend(record, head).expect("memory takes every byte, and every field has a postcard form");
        let body = bytes.len() - HEAD_BYTES;
        let length = u32::try_from(body).expect("a record is far below 4 GiB");
        let check = check_of(&bytes[HEAD_BYTES..]);
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        bytes[4..HEAD_BYTES].copy_from_slice(&check);
        self.written(|file| file.write_all(&bytes))
    }

    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        self.written(|file| file.sync_data())
    }

    /// Makes a new file durable together with its name.
    pub(super) fn sync_new(&mut self) -> Result<(), FileError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        self.written(|file| {
            file.sync_all()?;
            File::open(&folder)?.sync_all()
        })
    }

    fn written(&mut self, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), FileError> {
        write(&mut self.file).map_err(|source| FileError::write(&self.path, source))
    }
}

fn check_of(body: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECK_BYTES]);
    check
}

/// All whole records, and where the last of them ends; 0 for a file that was not begun.
fn read_all<R: DeserializeOwned>(path: &Path, file: &mut File) -> Result<(Vec<R>, u64), FileError> {
    let failed = |source| FileError::Open {
        path: path.to_owned(),
        source,
    };
    let length = file.metadata().map_err(failed)?.len();
    let mut reader = BufReader::with_capacity(MAX_RECORD_BYTES, file);
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC.len() as u64 {
        return Ok((Vec::new(), 0));
    }
    reader.read_exact(&mut magic).map_err(failed)?;
    if magic != *MAGIC {
        return Err(FileError::Format { path: path.to_owned() });
    }
    let mut records = Vec::new();
    let mut at = MAGIC.len() as u64;
    while let Some(body) = read_one(&mut reader, length - at).map_err(failed)? {
        match postcard::from_bytes(&body) {
            Ok(record) => records.push(record),
            Err(_) => return Err(FileError::damaged(path, at)),
        }
        at += (HEAD_BYTES + body.len()) as u64;
    }
    match is_cut_off(path, at).map_err(failed)? {
        true => Ok((records, at)),
        false => Err(FileError::damaged(path, at)),
    }
}

/// The next record's body; `None` where what is left is no whole record.
fn read_one(reader: &mut impl Read, left: u64) -> io::Result<Option<Vec<u8>>> {
    if left < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut length = [0; 4];
    let mut check = [0; CHECK_BYTES];
    reader.read_exact(&mut length)?;
    reader.read_exact(&mut check)?;
    let length = u32::from_le_bytes(length) as usize;
    if length == 0 || length > MAX_RECORD_BYTES || length as u64 > left - HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok((check_of(&body) == check).then_some(body))
}

/// Whether what begins here is no more than one record, cut off by a power failure or lost in the zeros that it leaves.
fn is_cut_off(path: &Path, at: u64) -> io::Result<bool> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut head = Vec::new();
    let mut written = 0;
    for (index, byte) in BufReader::with_capacity(MAX_RECORD_BYTES, file).bytes().enumerate() {
        let byte = byte?;
        if head.len() < 4 {
            head.push(byte);
        }
        if byte != 0 {
            written = index + 1;
        }
    }
    let Some(length) = head.first_chunk::<4>() else {
        return Ok(true);
    };
    Ok(written <= HEAD_BYTES + u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<(RecordFile<String>, Vec<String>), FileError> {
        RecordFile::open(path)
    }

    fn written(path: &Path, records: &[&str]) {
        let (mut file, _) = open(path).unwrap();
        for record in records {
            file.append(&(*record).to_owned()).unwrap();
        }
        file.sync_new().unwrap();
    }

    #[test]
    fn records_come_back_in_order_and_more_are_added_behind_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p");
        written(&path, &["a", "b"]);
        written(&path, &["c"]);
        assert_eq!(open(&path).unwrap().1, ["a", "b", "c"]);
    }

    #[test]
    fn wherever_a_power_failure_cuts_the_file_the_whole_records_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p");
        written(&path, &["first", "second"]);
        let bytes = std::fs::read(&path).unwrap();
        let one = (bytes.len() - MAGIC.len() - "second".len() - "first".len()) / 2 + "first".len();
        for (cut, zeros) in (0..bytes.len()).flat_map(|cut| [(cut, 0), (cut, 40)]) {
            let mut left = bytes[..cut].to_vec();
            left.resize(cut + zeros, 0);
            std::fs::write(&path, &left).unwrap();
            if zeros > 0 && cut < MAGIC.len() {
                // What begins with half of our name and goes on is not ours.
                assert!(matches!(open(&path), Err(FileError::Format { .. })));
                continue;
            }
            let whole = usize::from(cut >= MAGIC.len() + one);
            assert_eq!(open(&path).unwrap().1.len(), whole, "cut at {cut} with {zeros} zeros");
            written(&path, &["again"]);
            assert_eq!(open(&path).unwrap().1.len(), whole + 1);
        }
    }

    #[test]
    fn damage_before_the_end_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p");
        written(&path, &["first", "second", "third"]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[MAGIC.len() + HEAD_BYTES + 2] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(open(&path), Err(FileError::Damaged { at: 9, .. })));
        std::fs::write(&path, b"id:ID,name\n1,a\n").unwrap();
        assert!(matches!(open(&path), Err(FileError::Format { .. })));
    }

    #[test]
    fn two_at_once_cannot_have_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p");
        let first = open(&path).unwrap();
        assert!(matches!(open(&path), Err(FileError::InUse { .. })));
        drop(first);
        open(&path).unwrap();
    }
}
