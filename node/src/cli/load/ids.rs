//! From the ids in the files to the ids in the graph, while a load runs.
//!
//! Ids are unique inside one space only. A node's place in the load (its ordinal) is known when it is read, its id in the
//! graph only when its batch came back; so the index maps to ordinals, and a plain list maps those to ids.

use std::collections::{BTreeMap, HashMap};

/// The how-manieth node of the load.
pub(super) type Ordinal = usize;

/// Which external ids there are. Grows by one entry a node; the reader owns it.
#[derive(Debug, Default)]
pub(super) struct Index {
    spaces: BTreeMap<String, Space>,
    next: Ordinal,
}

/// Numbers are kept apart from texts: a number needs no allocation of its own.
#[derive(Debug, Default)]
struct Space {
    numbers: HashMap<i64, Ordinal>,
    texts: HashMap<Box<str>, Ordinal>,
}

/// The index and the ids that the cluster gave.
#[derive(Debug, Default)]
pub(super) struct Ids {
    pub index: Index,
    /// By ordinal.
    pub entities: Vec<u64>,
}

impl Index {
    /// Gives the next node its ordinal; `None` if the space has the id already.
    pub(super) fn insert(&mut self, space: &str, id: &str) -> Option<Ordinal> {
        if !self.spaces.contains_key(space) {
            self.spaces.insert(space.to_owned(), Space::default());
        }
        let space = self.spaces.get_mut(space)?;
        let is_new = match number(id) {
            Some(number) => insert_new(&mut space.numbers, number, self.next),
            None => insert_new(&mut space.texts, id.into(), self.next),
        };
        is_new.then(|| self.insert_anonymous())
    }

    /// Gives a node without external id its ordinal.
    pub(super) fn insert_anonymous(&mut self) -> Ordinal {
        self.next += 1;
        self.next - 1
    }

    fn get(&self, space: &str, id: &str) -> Option<Ordinal> {
        let space = self.spaces.get(space)?;
        match number(id) {
            Some(number) => space.numbers.get(&number).copied(),
            None => space.texts.get(id).copied(),
        }
    }
}

impl Ids {
    /// The id in the graph of a node that was loaded.
    pub(super) fn get(&self, space: &str, id: &str) -> Option<u64> {
        self.entities.get(self.index.get(space, id)?).copied()
    }
}

/// Notes the ids of the nodes from `first` on; batches come back in any order.
pub(super) fn settle(entities: &mut Vec<u64>, first: Ordinal, ids: &[u64]) {
    let end = first + ids.len();
    if entities.len() < end {
        entities.resize(end, 0);
    }
    entities[first..end].copy_from_slice(ids);
}

fn insert_new<K: Eq + std::hash::Hash>(map: &mut HashMap<K, Ordinal>, key: K, ordinal: Ordinal) -> bool {
    match map.entry(key) {
        std::collections::hash_map::Entry::Occupied(_) => false,
        std::collections::hash_map::Entry::Vacant(entry) => {
            entry.insert(ordinal);
            true
        }
    }
}

/// The number that prints exactly as `text`, so that "7" and "07" stay two ids.
fn number(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    let plain = match text.strip_prefix('-') {
        Some(digits) => !digits.starts_with('0'),
        None => text == "0" || !text.starts_with(['0', '+']),
    };
    plain.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_unique_in_its_space_only() {
        let mut index = Index::default();
        assert_eq!(index.insert("Person", "7"), Some(0));
        assert_eq!(index.insert("Place", "7"), Some(1));
        assert_eq!(index.insert("Person", "7"), None);
        assert_eq!(index.insert("Person", "x"), Some(2));
    }

    #[test]
    fn texts_that_look_like_one_number_stay_apart() {
        let mut index = Index::default();
        for id in [
            "7",
            "07",
            "+7",
            "-7",
            "-07",
            "0",
            "-0",
            "00",
            "7.0",
            "99999999999999999999",
        ] {
            assert!(index.insert("", id).is_some(), "{id}");
        }
    }

    #[test]
    fn batches_that_come_back_out_of_order_are_settled_by_ordinal() {
        let mut ids = Ids::default();
        for id in ["a", "b", "c"] {
            ids.index.insert("s", id);
        }
        settle(&mut ids.entities, 2, &[30]);
        settle(&mut ids.entities, 0, &[10, 20]);
        assert_eq!(
            ["a", "b", "c"].map(|id| ids.get("s", id)),
            [Some(10), Some(20), Some(30)]
        );
        assert_eq!(ids.get("s", "d"), None);
        assert_eq!(ids.get("t", "a"), None);
    }
}
