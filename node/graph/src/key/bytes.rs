//! Order-preserving building blocks of keys: numbers big endian, text escaped and terminated.
//!
//! Text may hold any character, zero bytes too: 00 becomes 00 FF, the end is 00 01. So no text is a prefix of
//! another, and encoded texts sort as the texts do.

use super::Error;

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const END: u8 = 0x01;

/// Appends a text with its terminator.
pub fn put_text(key: &mut Vec<u8>, text: &str) {
    let parts = text.as_bytes().split(|byte| *byte == ESCAPE);
    for (at, part) in parts.enumerate() {
        if at > 0 {
            key.extend([ESCAPE, ESCAPED_ZERO]);
        }
        key.extend_from_slice(part);
    }
    key.extend([ESCAPE, END]);
}

/// What a text takes with its terminator, where it has no zero bytes.
pub fn text_bytes(text: &str) -> usize {
    text.len() + 2
}

/// Takes a text and its terminator off the front.
pub fn take_text(rest: &mut &[u8]) -> Result<String, Error> {
    let mut text = Vec::new();
    loop {
        match take_byte(rest)? {
            ESCAPE => match take_byte(rest)? {
                END => return String::from_utf8(text).map_err(|_| Error::Malformed),
                ESCAPED_ZERO => text.push(ESCAPE),
                _ => return Err(Error::Malformed),
            },
            byte => text.push(byte),
        }
    }
}

/// Takes one byte off the front.
pub fn take_byte(rest: &mut &[u8]) -> Result<u8, Error> {
    let (byte, tail) = rest.split_first().ok_or(Error::Malformed)?;
    *rest = tail;
    Ok(*byte)
}

/// Takes a fixed number of bytes off the front.
pub fn take_array<const LENGTH: usize>(rest: &mut &[u8]) -> Result<[u8; LENGTH], Error> {
    let (array, tail) = rest.split_first_chunk().ok_or(Error::Malformed)?;
    *rest = tail;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &str) -> Vec<u8> {
        let mut key = Vec::new();
        put_text(&mut key, text);
        key
    }

    /// Few characters, zeros among them, so that shared prefixes and escapes are frequent.
    fn texts() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!['\0', '\u{1}', 'a', 'ü', '\u{10ffff}']), 0..6)
            .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn text_comes_back_and_leaves_what_follows(text in texts(), tail in any::<[u8; 3]>()) {
            let mut key = encoded(&text);
            key.extend(tail);
            let mut rest = key.as_slice();
            prop_assert_eq!(take_text(&mut rest).unwrap(), text);
            prop_assert_eq!(rest, tail);
        }

        #[test]
        fn encoded_texts_sort_as_texts_and_none_is_a_prefix(a in texts(), b in texts()) {
            prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.as_bytes().cmp(b.as_bytes()));
            prop_assert!(a == b || !encoded(&b).starts_with(&encoded(&a)));
        }

        #[test]
        fn bytes_that_are_no_text_are_refused_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = take_text(&mut bytes.as_slice());
        }
    }
}
