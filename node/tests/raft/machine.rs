//! A state machine for these tests: a map. A command sets a key; the answer is the value before.

use kotoba_state::machine::{EntryPosition, StateMachine};
use kotoba_state::store::{Read, StoreError, Write};

/// The map's space in the store.
const SPACE: u8 = 9;

pub struct Map;

impl StateMachine for Map {
    fn apply(&self, store: &mut dyn Write, _at: EntryPosition, command: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (key, value) = decode(command).ok_or_else(|| StoreError::new("no command of the map"))?;
        let key = stored(key);
        let before = store.get(&key)?.unwrap_or_default();
        store.put(&key, value)?;
        Ok(before.into())
    }
}

/// The command that sets a key.
pub fn set(key: &str, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(key.len()).unwrap();
    [&[length], key.as_bytes(), value].concat()
}

fn decode(command: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = command.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn stored(key: &[u8]) -> Vec<u8> {
    [&[SPACE], key].concat()
}

/// The value of a key.
pub fn get(view: &impl Read, key: &str) -> Option<Vec<u8>> {
    view.get(&stored(key.as_bytes())).unwrap().map(Vec::from)
}

/// All keys and values.
pub fn all(view: &impl Read) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = view.scan(&[SPACE], &[SPACE + 1]).unwrap().map(Result::unwrap);
    pairs.map(|(key, value)| (key.into(), value.into())).collect()
}
