//! Writes sorted changes into a table of keys. New keys that follow one another go in together, behind which pages are full:
//! rows of a slot come with ascending ids, and a B-tree that takes them one by one leaves each page half empty behind them.

use std::iter::Peekable;
use std::ops::Bound;

use redb::ReadableTable;

use super::file::KeyTable;
use super::memtable::Changed;

/// What a pair takes in a page beside its bytes.
const PAIR_BYTES: u64 = 8;

/// What the pairs of a table take, without the room around them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content(pub u64);

impl Content {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 += Self::of(key, value);
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.saturating_sub(Self::of(key, value));
    }

    fn of(key: &[u8], value: &[u8]) -> u64 {
        PAIR_BYTES + (key.len() + value.len()) as u64
    }
}

/// Writes changes in ascending order of their keys; none deletes. Keeps the content right.
pub fn write_sorted<'a>(
    keys: &mut KeyTable,
    content: &mut Content,
    changes: &mut dyn Iterator<Item = Changed<'a>>,
) -> Result<(), redb::Error> {
    let mut changes = changes.peekable();
    while let Some((key, change)) = changes.next() {
        match change {
            None => {
                if let Some(before) = keys.remove(key)? {
                    content.remove(key, before.value());
                }
            }
            Some(value) => write_from(keys, content, key, value, &mut changes)?,
        }
    }
    Ok(())
}

/// Writes one value and, where its key is new, those of the new keys before the next one that is there.
fn write_from<'a>(
    keys: &mut KeyTable,
    content: &mut Content,
    key: &[u8],
    value: &[u8],
    changes: &mut Peekable<&mut dyn Iterator<Item = Changed<'a>>>,
) -> Result<(), redb::Error> {
    let next = match keys.range::<&[u8]>(key..)?.next() {
        Some(item) => Some(item?.0.value().to_vec()),
        None => None,
    };
    if next.as_deref() == Some(key) {
        if let Some(before) = keys.insert(key, value)? {
            content.remove(key, before.value());
        }
        content.add(key, value);
        return Ok(());
    }
    let mut gap = keys.lower_bound_mut(Bound::Included(key))?;
    gap.insert_before(key, value)?;
    content.add(key, value);
    let is_new = |key: &[u8]| next.as_deref().is_none_or(|next| key < next);
    while let Some((key, change)) = changes.next_if(|(key, _)| is_new(key)) {
        // What is deleted and not there was never written.
        if let Some(value) = change {
            gap.insert_before(key, value)?;
            content.add(key, value);
        }
    }
    Ok(gap.close()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

    use super::*;

    const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");

    type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

    fn empty() -> Database {
        let backend = redb::backends::InMemoryBackend::new();
        Database::builder().create_with_backend(backend).unwrap()
    }

    fn write(database: &Database, content: &mut Content, changes: &Changes) {
        let write = database.begin_write().unwrap();
        let mut borrowed = changes.iter().map(|(key, change)| (key.as_slice(), change.as_deref()));
        write_sorted(&mut write.open_table(KEYS).unwrap(), content, &mut borrowed).unwrap();
        write.commit().unwrap();
    }

    fn pairs(database: &Database) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys = database.begin_read().unwrap().open_table(KEYS).unwrap();
        let pairs = keys.iter().unwrap().map(Result::unwrap);
        pairs
            .map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
            .collect()
    }

    /// Keys that are near each other, values from nothing to more than a page.
    fn changes() -> impl Strategy<Value = Changes> {
        let key = (0..3_u8, 0..200_u8).prop_map(|(high, low)| vec![high, low]);
        let bytes = prop_oneof![4 => 0..40_usize, 2 => 300..900_usize, 1 => Just(9_000_usize)];
        let change = prop_oneof![
            4 => (bytes, any::<u8>()).prop_map(|(bytes, fill)| Some(vec![fill; bytes])),
            1 => Just(None)
        ];
        prop::collection::btree_map(key, change, 0..120)
    }

    proptest! {
        #[test]
        fn the_table_is_what_a_map_is(checkpoints in prop::collection::vec(changes(), 1..6)) {
            let (database, mut map, mut content) = (empty(), BTreeMap::new(), Content::default());
            for changes in &checkpoints {
                write(&database, &mut content, changes);
                for (key, change) in changes {
                    match change {
                        Some(value) => drop(map.insert(key.clone(), value.clone())),
                        None => drop(map.remove(key)),
                    }
                }
                prop_assert_eq!(pairs(&database), map.clone().into_iter().collect::<Vec<_>>());
                let bytes = map.iter().map(|(key, value)| Content::of(key, value)).sum();
                prop_assert_eq!(content, Content(bytes));
            }
        }
    }

    #[test]
    fn pages_behind_ascending_ids_of_many_slots_are_full() {
        let database = empty();
        for checkpoint in 0..20_u32 {
            let row =
                |slot: u8, number: u32| ([vec![slot], number.to_be_bytes().to_vec()].concat(), Some(vec![1; 200]));
            let rows = (0..50).flat_map(|slot| (0..60).map(move |number| row(slot, checkpoint * 60 + number)));
            write(&database, &mut Content::default(), &rows.collect());
        }
        let write = database.begin_write().unwrap();
        let stats = write.open_table(KEYS).unwrap().stats().unwrap();
        assert!(stats.fragmented_bytes() * 6 < stats.stored_bytes(), "{stats:?}");
    }
}
