//! Blocks of sorted pairs, each with a checksum; the last one says how many pairs there were.

use bytes::Bytes;
use kotoba_state::store::StoreError;

use crate::raft::state::StateView;

/// Bytes of pairs at which a block is closed: large enough to fill a link, small enough for the stream to be cut quickly.
const BLOCK_BYTES: usize = 512 << 10;
const LENGTH_BYTES: usize = 4;

/// Pairs in key order, or the end of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub pairs: Bytes,
    /// blake3 of `pairs`.
    pub checksum: Bytes,
    /// In the last block: pairs in all blocks.
    pub total_pairs: Option<u64>,
}

/// A block that does not hold what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("a block fails its checksum")]
    Checksum,
    #[error("a block ends inside a pair")]
    Truncated,
    #[error("a block's keys are not in order")]
    Order,
    #[error("{received} pairs were received where {sent} were sent")]
    Count { received: u64, sent: u64 },
}

impl Block {
    fn new(pairs: Vec<u8>, total_pairs: Option<u64>) -> Self {
        let checksum = Bytes::copy_from_slice(blake3::hash(&pairs).as_bytes());
        Block {
            pairs: pairs.into(),
            checksum,
            total_pairs,
        }
    }

    /// The pairs, once the checksum is found right.
    pub fn verified(&self) -> Result<PairsOfBlock<'_>, BlockError> {
        if blake3::hash(&self.pairs).as_bytes() != self.checksum.as_ref() {
            return Err(BlockError::Checksum);
        }
        Ok(PairsOfBlock { left: &self.pairs })
    }
}

/// Reads the pairs of a block.
pub struct PairsOfBlock<'a> {
    left: &'a [u8],
}

impl<'a> Iterator for PairsOfBlock<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let pair = self.part().and_then(|key| Some((key, self.part()?)));
        if pair.is_none() {
            self.left = &[];
        }
        Some(pair.ok_or(BlockError::Truncated))
    }
}

impl<'a> PairsOfBlock<'a> {
    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.left.split_first_chunk::<LENGTH_BYTES>()?;
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.left = rest;
        Some(part)
    }
}

/// Walks all keys and gives them away block by block, until the taker has enough.
pub fn each_block(view: &StateView, mut take: impl FnMut(Block) -> bool) -> Result<(), StoreError> {
    let mut pairs = Vec::with_capacity(BLOCK_BYTES);
    let mut total = 0;
    for item in view.all()? {
        let (key, value) = item?;
        push_part(&mut pairs, &key);
        push_part(&mut pairs, &value);
        total += 1;
        if pairs.len() >= BLOCK_BYTES && !take(Block::new(std::mem::take(&mut pairs), None)) {
            return Ok(());
        }
    }
    take(Block::new(pairs, Some(total)));
    Ok(())
}

fn push_part(pairs: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("a pair is limited to a few MiB when it is written");
    pairs.extend_from_slice(&length.to_be_bytes());
    pairs.extend_from_slice(part);
}
