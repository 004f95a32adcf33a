//! A folder in memory that dies at a chosen call, and tells what a loss of power leaves of it: whole sectors, any of those that
//! were not synced, and of the call it died in all, a part or nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::folder::{Folder, SegmentFile};
use super::frame::SECTOR;

#[derive(Clone, Debug, Default)]
struct Image {
    synced: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug)]
enum Call {
    Create(u64, Vec<u8>),
    Remove(u64),
    Write(u64, usize, Vec<u8>),
    Sync,
}

#[derive(Debug, Default)]
struct Disk {
    segments: BTreeMap<u64, Image>,
    /// Calls that still succeed; `None`: all.
    calls_left: Option<usize>,
    /// What it died in.
    last: Option<Call>,
}

#[derive(Clone, Debug, Default)]
pub struct CrashingFolder(Arc<Mutex<Disk>>);

impl CrashingFolder {
    pub fn holding(segments: BTreeMap<u64, Vec<u8>>) -> Self {
        let image = |content: Vec<u8>| Image {
            synced: content.clone(),
            now: content,
            unsynced: Vec::new(),
        };
        let segments = segments.into_iter().map(|(number, content)| (number, image(content)));
        CrashingFolder(Arc::new(Mutex::new(Disk {
            segments: segments.collect(),
            ..Disk::default()
        })))
    }

    pub fn die_after(&self, calls: usize) {
        self.0.lock().unwrap().calls_left = Some(calls);
    }

    /// What is there as long as the power is on.
    pub fn now(&self) -> BTreeMap<u64, Vec<u8>> {
        let segments = &self.0.lock().unwrap().segments;
        segments
            .iter()
            .map(|(number, image)| (*number, image.now.clone()))
            .collect()
    }

    /// What is there after a loss of power; `kept` picks.
    pub fn after_crash(&self, kept: &[u8]) -> BTreeMap<u64, Vec<u8>> {
        let disk = self.0.lock().unwrap();
        let mut picks = kept.iter().cycle();
        let mut pick = || picks.next().unwrap().is_multiple_of(2);
        let mut left = BTreeMap::new();
        for (number, image) in &disk.segments {
            let mut content = image.synced.clone();
            for (offset, data) in &image.unsynced {
                put_some(&mut content, *offset, data, &mut pick);
            }
            left.insert(*number, content);
        }
        match &disk.last {
            Some(Call::Create(number, content)) if pick() => drop(left.insert(*number, content.clone())),
            Some(Call::Remove(number)) if pick() => drop(left.remove(number)),
            Some(Call::Write(number, offset, data)) => {
                put_some(left.get_mut(number).unwrap(), *offset, data, &mut pick);
            }
            Some(Call::Create(..) | Call::Remove(_) | Call::Sync) | None => {}
        }
        left
    }

    fn call(&self, call: Call) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        match &mut disk.calls_left {
            Some(0) => {
                disk.last.get_or_insert(call);
                return Err(io::Error::other("the disk is dead"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match call {
            Call::Create(number, content) => {
                let image = Image {
                    synced: content.clone(),
                    now: content,
                    unsynced: Vec::new(),
                };
                disk.segments.insert(number, image);
            }
            Call::Remove(number) => drop(disk.segments.remove(&number)),
            Call::Write(number, offset, data) => {
                let image = disk.segments.get_mut(&number).unwrap();
                image.now[offset..offset + data.len()].copy_from_slice(&data);
                image.unsynced.push((offset, data));
            }
            Call::Sync => {
                for image in disk.segments.values_mut() {
                    image.synced = image.now.clone();
                    image.unsynced.clear();
                }
            }
        }
        Ok(())
    }
}

fn put_some(content: &mut [u8], offset: usize, data: &[u8], pick: &mut impl FnMut() -> bool) {
    assert_eq!(
        offset % SECTOR,
        0,
        "a write in the middle of a sector may tear what is durable"
    );
    for (number, sector) in data.chunks(SECTOR).enumerate() {
        if pick() {
            let begin = offset + number * SECTOR;
            content[begin..begin + sector.len()].copy_from_slice(sector);
        }
    }
}

impl Folder for CrashingFolder {
    fn numbers(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.lock().unwrap().segments.keys().copied().collect())
    }

    fn create(&self, number: u64, bytes: u64, begin: &[u8]) -> io::Result<Arc<dyn SegmentFile>> {
        let mut content = begin.to_vec();
        content.resize(bytes as usize, 0);
        self.call(Call::Create(number, content))?;
        self.open(number)
    }

    fn open(&self, number: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let folder = self.clone();
        Ok(Arc::new(CrashingFile { folder, number }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        self.call(Call::Remove(number))
    }

    fn path(&self, number: u64) -> PathBuf {
        format!("segment {number}").into()
    }
}

struct CrashingFile {
    folder: CrashingFolder,
    number: u64,
}

impl CrashingFile {
    fn content<T>(&self, read: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let disk = self.folder.0.lock().unwrap();
        let image = disk.segments.get(&self.number).ok_or(io::ErrorKind::NotFound)?;
        Ok(read(&image.now))
    }
}

impl SegmentFile for CrashingFile {
    fn bytes(&self) -> io::Result<u64> {
        self.content(|content| content.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let begin = offset as usize;
        self.content(|content| out.copy_from_slice(&content[begin..begin + out.len()]))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.folder
            .call(Call::Write(self.number, offset as usize, bytes.to_vec()))
    }

    fn sync(&self) -> io::Result<()> {
        self.folder.call(Call::Sync)
    }
}
