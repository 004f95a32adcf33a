//! The state digest: the sum modulo 2^256 of the hash of every live entry, by which replicas find a diverged one.
//!
//! A sum can be kept up to date entry by entry in any order, without reading the rest of the partition.

use bytes::Bytes;

use super::command::{Key, Op};
use super::keys::{self, Scalar};
use super::versions::Version;
use crate::store::{Read, StoreError, Write};

const LIMBS: usize = 4;

/// A sum of hashes, little-endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateDigest([u64; LIMBS]);

/// The digest of all live entries: of each key its newest committed version, unless that is a deletion.
pub fn digest(store: &dyn Read) -> Result<[u8; 32], StoreError> {
    Ok(StateDigest::load(store)?.bytes())
}

/// The same from a full scan, to prove that the kept one is right.
pub fn digest_by_scan(store: &dyn Read) -> Result<[u8; 32], StoreError> {
    let mut scan = DigestScan::default();
    while !scan.step(store, usize::MAX)? {}
    Ok(scan.digest.bytes())
}

/// A scan of one view, some bytes at a time, that finds out whether the kept digest is that of what is stored.
#[derive(Clone, Debug, Default)]
pub struct DigestScan {
    digest: StateDigest,
    /// Of the version that was read last: the next step begins behind it.
    last: Option<(Bytes, Key)>,
}

impl DigestScan {
    /// Reads on for about so many bytes; true at the end. Every step has to be given the same view.
    pub fn step(&mut self, view: &dyn Read, max_bytes: usize) -> Result<bool, StoreError> {
        let (mut from, to) = keys::all_versions();
        if let Some((place, _)) = &self.last {
            from = [place, [0].as_slice()].concat();
        }
        let mut bytes_read = 0;
        for pair in view.scan(&from, &to)? {
            let (place, bytes) = pair?;
            bytes_read += place.len() + bytes.len();
            let (key, version) = Version::parse(&place, &bytes)?;
            let is_newest = self.last.as_ref().is_none_or(|(_, last)| *last != key);
            if is_newest {
                self.digest.add(&key, &version);
            }
            self.last = Some((place, key));
            if bytes_read >= max_bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether what was scanned, to its end, is what the view's own digest says.
    pub fn agrees_with(&self, view: &dyn Read) -> Result<bool, StoreError> {
        Ok(StateDigest::load(view)? == self.digest)
    }
}

/// A replica's digest as of one entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotedDigest {
    pub index: u64,
    pub digest: [u8; 32],
}

pub(super) fn note_digest(store: &mut dyn Write, index: u64) -> Result<(), StoreError> {
    let noted = [&index.to_be_bytes()[..], &digest(store)?].concat();
    store.put(&keys::scalar(Scalar::NotedDigest), &noted)
}

/// The digest that was noted last; none before the first.
pub fn noted_digest(view: &dyn Read) -> Result<Option<NotedDigest>, StoreError> {
    let Some(bytes) = view.get(&keys::scalar(Scalar::NotedDigest))? else {
        return Ok(None);
    };
    let damaged = || keys::damaged("noted digest");
    let (index, digest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    Ok(Some(NotedDigest {
        index: u64::from_be_bytes(*index),
        digest: digest.try_into().map_err(|_| damaged())?,
    }))
}

impl StateDigest {
    pub(super) fn load(store: &dyn Read) -> Result<Self, StoreError> {
        match store.get(&keys::scalar(Scalar::Digest))? {
            None => Ok(StateDigest::default()),
            Some(bytes) => {
                let bytes = bytes.as_ref().try_into().map_err(|_| keys::damaged("digest"))?;
                Ok(StateDigest::from_bytes(bytes))
            }
        }
    }

    pub(super) fn save(&self, store: &mut dyn Write) -> Result<(), StoreError> {
        store.put(&keys::scalar(Scalar::Digest), &self.bytes())
    }

    pub(super) fn add(&mut self, key: &[u8], version: &Version) {
        let Some(hash) = hash(key, version) else {
            return;
        };
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(hash.0) {
            let (sum, over) = limb.overflowing_add(other);
            let (sum, over_carry) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over || over_carry;
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], version: &Version) {
        let Some(hash) = hash(key, version) else {
            return;
        };
        let mut borrow = false;
        for (limb, other) in self.0.iter_mut().zip(hash.0) {
            let (rest, under) = limb.overflowing_sub(other);
            let (rest, under_borrow) = rest.overflowing_sub(u64::from(borrow));
            *limb = rest;
            borrow = under || under_borrow;
        }
    }

    fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; LIMBS];
        for (limb, chunk) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
            *limb = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
        }
        StateDigest(limbs)
    }
}

/// The hash of a live entry; none for a deletion.
fn hash(key: &[u8], version: &Version) -> Option<StateDigest> {
    let (Op::Put(value) | Op::PutTemporary(value)) = &version.op else {
        return None;
    };
    let mut hasher = blake3::Hasher::new();
    // The length keeps (key, value) pairs apart that are equal when joined.
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(&version.commit_ts.0.to_le_bytes());
    hasher.update(value);
    Some(StateDigest::from_bytes(*hasher.finalize().as_bytes()))
}
