//! The store as a state machine sees it while it applies: one write transaction, read back at once.

use kotoba_state::store::{Pairs, Read, StoreError, Write};
use redb::ReadableTable;

use super::file::KeyTable;

/// A key and its value together: what fits a snapshot block, with room, within the largest message between members.
const MAX_PAIR_BYTES: usize = 12 << 20;
/// What a change costs beyond its bytes, in pages touched; an estimate for the checkpoint's sake.
const CHANGE_OVERHEAD_BYTES: usize = 128;

/// A write transaction over the keys of a replica.
pub struct Transaction<'t> {
    keys: KeyTable<'t>,
    dirty_bytes: usize,
}

impl<'t> Transaction<'t> {
    pub fn new(keys: KeyTable<'t>) -> Self {
        Transaction { keys, dirty_bytes: 0 }
    }

    /// About how many bytes the next checkpoint has to write for it.
    pub fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }
}

impl Read for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.keys, key)
    }

    fn scan<'a>(&'a self, from: &[u8], to: &[u8]) -> Result<Pairs<'a>, StoreError> {
        scan(&self.keys, from, to)
    }
}

impl Write for Transaction<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let bytes = key.len() + value.len();
        if bytes > MAX_PAIR_BYTES {
            return Err(StoreError::new(format!(
                "a pair of {bytes} bytes is above the limit of {MAX_PAIR_BYTES}: no snapshot could carry it"
            )));
        }
        self.keys.insert(key, value).map_err(StoreError::new)?;
        self.dirty_bytes += bytes + CHANGE_OVERHEAD_BYTES;
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.keys.remove(key).map_err(StoreError::new)?;
        self.dirty_bytes += key.len() + CHANGE_OVERHEAD_BYTES;
        Ok(())
    }
}

/// Reads a key from a table in either kind of transaction.
pub fn get(keys: &impl ReadableTable<&'static [u8], &'static [u8]>, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let value = ReadableTable::get(keys, key).map_err(StoreError::new)?;
    Ok(value.map(|value| value.value().to_vec()))
}

/// Reads a range from a table in either kind of transaction.
pub fn scan<'a>(
    keys: &'a impl ReadableTable<&'static [u8], &'static [u8]>,
    from: &[u8],
    to: &[u8],
) -> Result<Pairs<'a>, StoreError> {
    if from >= to {
        return Ok(Box::new(std::iter::empty()));
    }
    let range = ReadableTable::range::<&[u8]>(keys, from..to).map_err(StoreError::new)?;
    Ok(Box::new(range.map(|item| {
        let (key, value) = item.map_err(StoreError::new)?;
        Ok((key.value().to_vec(), value.value().to_vec()))
    })))
}
