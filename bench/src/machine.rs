//! On what is measured: said above the results, and the disk's own count of its flushes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::settings::Settings;

/// What `stat` counts in.
const BLOCK_BYTES: u64 = 512;

/// Says what was measured where and how.
pub fn describe(settings: &Settings) -> Result<String> {
    let programs = &settings.programs;
    let etcd = programs
        .etcd
        .as_ref()
        .map(|etcd| version(etcd, "--version"))
        .transpose()?;
    let parts = [machine()?, version(&programs.kotoba, "--version")?]
        .into_iter()
        .chain(etcd);
    let (rounds, seconds) = (settings.rounds, settings.duration.as_secs());
    let plural = if rounds == 1 { "" } else { "s" };
    let parts = parts.chain([format!("{rounds} round{plural}, {seconds} s each")]);
    Ok(parts.collect::<Vec<_>>().join("; "))
}

/// What a file, or a folder and all in it, takes on the disk.
pub fn disk_bytes(path: &Path) -> Result<u64> {
    let about = std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    if !about.is_dir() {
        return Ok(about.blocks() * BLOCK_BYTES);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    // What is gone meanwhile takes nothing.
    entries.map(|entry| Ok(disk_bytes(&entry?.path()).unwrap_or(0))).sum()
}

fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism().context("counting cores")?;
    let memory = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel")?;
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse::<u64>().ok());
    let gib = kib.context("/proc/meminfo has another form")? / (1 << 20);
    Ok(format!("{cores} cores, {gib} GiB, Linux {}", kernel.trim()))
}

fn version(program: &Path, flag: &str) -> Result<String> {
    let output = Command::new(program).arg(flag).output();
    let output = output.with_context(|| format!("{} cannot be started", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Flushes that the disk of a folder has done since it was started; none where it is not counted.
pub fn flushes(folder: &Path) -> Result<Option<u64>> {
    let device = std::fs::metadata(folder).context("looking at the data folder")?.dev();
    let text = std::fs::read_to_string("/proc/diskstats").context("reading /proc/diskstats")?;
    Ok(flushes_of(&text, rustix::fs::major(device), rustix::fs::minor(device)))
}

/// Field 16 behind the device's name: flush requests completed.
fn flushes_of(diskstats: &str, major: u32, minor: u32) -> Option<u64> {
    diskstats.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.first()?.parse() == Ok(major) && fields.get(1)?.parse() == Ok(minor);
        is_it.then(|| fields.get(18)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_takes_is_what_its_files_take_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("inner")).unwrap();
        assert_eq!(disk_bytes(folder.path()).unwrap(), 0);
        let file = std::fs::File::create(folder.path().join("inner/sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        assert!(disk_bytes(folder.path()).unwrap() < 1 << 20);
    }

    #[test]
    fn flushes_are_those_of_the_device() {
        let text = "254 0 vda 1 0 8 2 3 4 5 6 0 7 8 0 0 0 0 99 12\n254 1 vdb 1 0 8 2 3 4 5 6 0 7 8 0 0 0 0 7 12\n";
        assert_eq!(flushes_of(text, 254, 1), Some(7));
        assert_eq!(flushes_of(text, 8, 0), None);
    }
}
