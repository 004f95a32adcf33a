//! A content id as the client sees it: opaque bytes with the text form that CIDs have everywhere (multibase base32, `b…`).
//!
//! What the bytes mean is known to `kotoba-graph`; the client prints, parses and compares them.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const BITS: u32 = 5;

/// A binary CID.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(Bytes);

/// The text is not a base32 CID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a content id: one looks like bafyrei…, lower case, made of a-z and 2-7")]
pub struct ParseContentIdError {
    text: String,
}

impl ContentId {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl From<Bytes> for ContentId {
    fn from(bytes: Bytes) -> Self {
        ContentId(bytes)
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

impl FromStr for ContentId {
    type Err = ParseContentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.strip_prefix('b').and_then(decode);
        bytes
            .map(|bytes| ContentId(bytes.into()))
            .ok_or_else(|| ParseContentIdError { text: text.into() })
    }
}

/// Multibase base32: the letter `b`, then RFC 4648 lower case without padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut text = String::from("b");
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= BITS {
            bits -= BITS;
            text.push(digit(buffer >> bits));
        }
    }
    if bits > 0 {
        text.push(digit(buffer << (BITS - bits)));
    }
    text
}

fn digit(value: u32) -> char {
    char::from(ALPHABET[(value & 31) as usize])
}

/// The bytes of base32 text, without its letter in front.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0u32, 0);
    for character in text.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == character)?;
        buffer = (buffer << BITS | value as u32) & 0xfff;
        bits += BITS;
        if bits >= 8 {
            bits -= 8;
            bytes.push((buffer >> bits) as u8);
        }
    }
    let padding_is_zero = buffer & ((1 << bits) - 1) == 0;
    (bits < BITS && padding_is_zero).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10, in lower case and without padding.
    #[test]
    fn text_agrees_with_the_vectors_of_the_rfc() {
        let vectors = [
            ("", "b"),
            ("f", "bmy"),
            ("fo", "bmzxq"),
            ("foo", "bmzxw6"),
            ("foob", "bmzxw6yq"),
            ("fooba", "bmzxw6ytb"),
            ("foobar", "bmzxw6ytboi"),
        ];
        for (bytes, text) in vectors {
            let id = ContentId::from(Bytes::from_static(bytes.as_bytes()));
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn a_version_one_dag_cbor_blake3_id_starts_as_people_expect() {
        let bytes: Vec<u8> = [0x01, 0x71, 0x1e, 0x20].into_iter().chain([7; 32]).collect();
        let text = ContentId::from(Bytes::from(bytes)).to_string();
        assert!(text.starts_with("bafyr4i"), "{text}");
        assert_eq!(text.len(), 59);
    }

    #[test]
    fn every_length_and_bit_comes_back() {
        for length in 0..70u8 {
            let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(37) ^ 0xa5).collect();
            let id = ContentId::from(Bytes::from(bytes));
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "MZXW6", "zmy", "bMY", "bm1", "bm", "bmz", "bmzz"] {
            assert!(text.parse::<ContentId>().is_err(), "{text}");
        }
    }
}
