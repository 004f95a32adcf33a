//! The form of what a transaction writes: pairs of bytes and operations, in the order of the keys. `serde` alone would take a
//! key for a sequence of numbers, which come one by one; the bytes are the same.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserializer, Serializer};
use serde_bytes::{ByteBuf, Bytes};

use super::command::{Key, Op};

/// Pairs for which room is made before they are seen.
const MOST_EXPECTED: usize = 1_024;

pub fn serialize<S: Serializer>(writes: &BTreeMap<Key, Op>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(writes.iter().map(|(key, op)| (Bytes::new(key), op)))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Key, Op>, D::Error> {
    deserializer.deserialize_map(Writes)
}

struct Writes;

impl<'de> Visitor<'de> for Writes {
    type Value = BTreeMap<Key, Op>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("keys with what is done to them")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut writes = Vec::with_capacity(map.size_hint().unwrap_or(0).min(MOST_EXPECTED));
        while let Some((key, op)) = map.next_entry::<ByteBuf, Op>()? {
            writes.push((key.into_vec(), op));
        }
        // In one go: they are sorted.
        Ok(writes.into_iter().collect())
    }
}
