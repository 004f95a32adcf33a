//! Fields of places whose bytes sort as the fields do, and take few: ids are mostly zeros, timestamps are small numbers.
//!
//! | in a user key | bytes |
//! |---|---|
//! | any byte but zero | itself |
//! | 1 to 126 zeros, then another byte | `00`, 255 less their number: the longer the run, the smaller the key |
//! | 127 zeros, whatever follows | `00 7F` |
//! | 0 to 126 zeros, then the end | `00`, their number |
//!
//! So no user key is a prefix of another, and what follows it is never compared with a part of one.

use crate::ids::Timestamp;

const LONG_RUN: u8 = 127;
/// Less the number of zeros, which another byte follows.
const RUN: u8 = 255;

pub(super) fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    let mut zeros = 0;
    for &byte in key {
        match (byte, zeros) {
            (0, _) => {
                zeros += 1;
                if zeros == LONG_RUN {
                    out.extend([0, LONG_RUN]);
                    zeros = 0;
                }
            }
            (_, 0) => out.push(byte),
            (_, _) => {
                out.extend([0, RUN - zeros, byte]);
                zeros = 0;
            }
        }
    }
    out.extend([0, zeros]);
}

/// None where the bytes are not what `put_key` writes.
pub(super) fn take_key(input: &mut &[u8]) -> Option<Vec<u8>> {
    let mut key = Vec::with_capacity(input.len() + 8);
    loop {
        let byte = take_byte(input)?;
        if byte != 0 {
            key.push(byte);
            continue;
        }
        let code = take_byte(input)?;
        let (zeros, is_end) = match code {
            0..LONG_RUN => (code, true),
            LONG_RUN => (code, false),
            _ if input.first().is_some_and(|next| *next != 0) => (RUN - code, false),
            _ => return None,
        };
        key.resize(key.len() + usize::from(zeros), 0);
        if is_end {
            return Some(key);
        }
    }
}

/// Later timestamps first: the inverted number of its bytes, then these, inverted.
pub(super) fn put_newest_first(out: &mut Vec<u8>, at: Timestamp) {
    let zeros = at.0.leading_zeros() / 8;
    out.push(!(8 - zeros as u8));
    out.extend_from_slice(&(!at.0).to_be_bytes()[zeros as usize..]);
}

/// What `put_newest_first` adds.
pub(super) fn newest_first_bytes(at: Timestamp) -> usize {
    1 + 8 - (at.0.leading_zeros() / 8) as usize
}

/// None where the bytes are not what `put_newest_first` writes.
pub(super) fn take_newest_first(input: &mut &[u8]) -> Option<Timestamp> {
    let length = usize::from(!take_byte(input)?);
    let (inverted, rest) = input.split_at_checked(length)?;
    let mut bytes = [0xFF; 8];
    bytes.get_mut(8_usize.checked_sub(length)?..)?.copy_from_slice(inverted);
    *input = rest;
    Some(Timestamp(!u64::from_be_bytes(bytes)))
}

/// Behind every timestamp.
pub(super) const AFTER_ALL_TIMESTAMPS: [u8; 2] = [0xFF; 2];

fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(key: &[u8], at: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_key(&mut out, key);
        put_newest_first(&mut out, Timestamp(at));
        out
    }

    /// Mostly zeros, in runs around the longest one.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let zeros = prop_oneof![0..4_usize, 124..130_usize, 250..260_usize];
        let part = (
            zeros,
            prop::collection::vec(prop_oneof![Just(1), Just(255), any::<u8>()], 0..3),
        );
        prop::collection::vec(part, 0..3).prop_map(|parts| {
            let part = |(zeros, bytes): (usize, Vec<u8>)| [vec![0; zeros], bytes].concat();
            parts.into_iter().flat_map(part).collect()
        })
    }

    fn timestamps() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| number >> shift)
    }

    proptest! {
        #[test]
        fn places_sort_by_key_and_then_newest_first(
            (one, other) in (keys(), keys()), (at, then) in (timestamps(), timestamps()), same in any::<bool>()
        ) {
            let other = if same { one.clone() } else { other };
            let expected = one.cmp(&other).then(then.cmp(&at));
            prop_assert_eq!(place(&one, at).cmp(&place(&other, then)), expected);
        }

        #[test]
        fn fields_come_back(key in keys(), at in timestamps()) {
            let bytes = place(&key, at);
            let behind = &mut &bytes[bytes.len() - newest_first_bytes(Timestamp(at))..];
            prop_assert_eq!(take_newest_first(behind), Some(Timestamp(at)));
            let input = &mut &*bytes;
            prop_assert_eq!((take_key(input), take_newest_first(input)), (Some(key), Some(Timestamp(at))));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn nothing_of_a_key_lies_behind_its_timestamps(key in keys(), other in keys(), at in timestamps()) {
            let mut end = Vec::new();
            put_key(&mut end, &key);
            end.extend(AFTER_ALL_TIMESTAMPS);
            prop_assert_eq!(place(&other, at) < end, other <= key);
        }
    }

    #[test]
    fn the_layout_is_frozen() {
        assert_eq!(place(&[], 0), [0, 0, 0xFF]);
        assert_eq!(place(b"a\0\0", 1), [b'a', 0, 2, 0xFE, 0xFE]);
        assert_eq!(place(b"\0\0\0b", 0x1234), [0, 252, b'b', 0, 0, 0xFD, 0xED, 0xCB]);
        let long = [vec![0; 128], vec![7]].concat();
        assert_eq!(place(&long, u64::MAX)[..8], [0, 127, 0, 254, 7, 0, 0, 0xF7]);
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            &[][..],
            b"a",
            &[0],
            &[0, 128, 0, 0],
            &[0, 254],
            &[0, 254, 0, 0],
            &[0, 127],
        ] {
            assert_eq!(take_key(&mut &*bytes), None, "{bytes:?}");
        }
        for bytes in [&[][..], &[0xFD, 1], &[0xF6, 1, 1, 1, 1, 1, 1, 1, 1, 1]] {
            assert_eq!(take_newest_first(&mut &*bytes), None, "{bytes:?}");
        }
    }
}
