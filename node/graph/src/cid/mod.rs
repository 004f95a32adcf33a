//! The content id of one version of a node or an edge.
//!
//! CIDv1, codec dag-cbor, multihash blake3-256, of the canonical block that [`node_block`] and [`edge_block`]
//! write. Any IPFS tool can read the id, and anyone with a blake3 can check it. Fixed by tests/vectors/cid.txt.

mod base32;
mod block;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use block::{edge_block, node_block};

/// Length of the binary form.
pub const CID_BYTES: usize = 36;

/// CID version 1, dag-cbor (0x71), blake3-256 (0x1e), 32 bytes of hash.
const PREFIX: [u8; 4] = [0x01, 0x71, 0x1e, 0x20];

/// The multibase letter of lower-case base32.
const BASE32: char = 'b';

/// Names one version of one entity by its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionCid {
    digest: [u8; 32],
}

/// Not a content id of this database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a content id has {CID_BYTES} bytes, not {0}")]
    Length(usize),
    #[error("a content id starts with 01711e20 (CIDv1, dag-cbor, blake3-256)")]
    Prefix,
    #[error("a content id in text is the letter b and lower-case base32 without padding")]
    Text,
}

impl VersionCid {
    /// The id of a canonical block.
    pub fn of_block(block: &[u8]) -> Self {
        VersionCid {
            digest: *blake3::hash(block).as_bytes(),
        }
    }

    pub fn to_bytes(self) -> [u8; CID_BYTES] {
        let mut bytes = [0; CID_BYTES];
        bytes[..PREFIX.len()].copy_from_slice(&PREFIX);
        bytes[PREFIX.len()..].copy_from_slice(&self.digest);
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() != CID_BYTES {
            return Err(Error::Length(bytes.len()));
        }
        let digest = bytes.strip_prefix(&PREFIX).ok_or(Error::Prefix)?;
        let digest = digest.try_into().map_err(|_| Error::Length(bytes.len()))?;
        Ok(VersionCid { digest })
    }
}

impl fmt::Display for VersionCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BASE32}{}", base32::encode(&self.to_bytes()))
    }
}

impl fmt::Debug for VersionCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionCid({self})")
    }
}

impl FromStr for VersionCid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(BASE32).ok_or(Error::Text)?;
        VersionCid::from_bytes(&base32::decode(digits).ok_or(Error::Text)?)
    }
}
