//! The file that is loaded: made up, the same in every run.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

const HEADER: &str = "id:ID{id-type:int},name,email,born:int,city,about\n";
const CITIES: [&str; 5] = ["Nairobi", "Osaka", "Porto", "Quito", "Rotterdam"];

/// Writes a header and so many rows; gives the file's bytes.
pub async fn write(path: &Path, rows: u64) -> Result<u64> {
    let path = path.to_owned();
    let written = tokio::task::spawn_blocking(move || write_blocking(&path, rows));
    written.await?.context("writing the file that is loaded")
}

fn write_blocking(path: &Path, rows: u64) -> std::io::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(HEADER.as_bytes())?;
    (0..rows).try_for_each(|number| file.write_all(row(number).as_bytes()))?;
    file.into_inner()?.metadata().map(|about| about.len())
}

/// About a hundred bytes; hashes of the number, so that neighbours have little in common.
pub fn row(number: u64) -> String {
    let hash = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (name, born) = (hash >> 32, 1_920 + hash % 100);
    let city = CITIES[(hash % CITIES.len() as u64) as usize];
    format!("{number},Person {name:08x},{name:08x}@example.org,{born},{city},likes {hash:016x} and {number:010}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_has_a_header_and_as_many_rows_as_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("people.csv");
        let bytes = write(&path, 1_000).await.unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!((text.len() as u64, text.lines().count()), (bytes, 1_001));
        let columns = |line: &str| line.split(',').count();
        assert!(text.lines().all(|line| columns(line) == 6));
        assert!((70..120).contains(&row(123_456).len()), "{}", row(123_456));
    }
}
