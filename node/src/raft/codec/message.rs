//! What the lanes carry: the bodies of a `RaftMessage`, and the header of a snapshot.

use openraft::raft::{SnapshotResponse, StreamAppendError, TransferLeaderError};

use super::{CodecError, Coded};
use crate::raft::types::{
    AppendRequest, AppendResult, Entry, LogId, SnapshotMeta, TransferRequest, TransferResponse, TypeConfig, Vote,
    VoteRequest, VoteResponse,
};

const OK: u8 = 0;
const CONFLICT: u8 = 1;
const HIGHER_VOTE: u8 = 2;
const VOTE_CHANGED: u8 = 1;
const LOG_NOT_FLUSHED: u8 = 2;

/// The first block of a snapshot: who sends it, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    pub vote: Vote,
    pub meta: SnapshotMeta,
}

impl Coded for SnapshotHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        self.meta.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(SnapshotHeader {
            vote: Vote::decode(input)?,
            meta: SnapshotMeta::decode(input)?,
        })
    }
}

impl Coded for SnapshotResponse<TypeConfig> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Vote::decode(input).map(SnapshotResponse::new)
    }
}

impl Coded for VoteRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        self.last_log_id.encode(out);
        self.leadership_transfer.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(VoteRequest {
            vote: Vote::decode(input)?,
            last_log_id: Option::decode(input)?,
            leadership_transfer: bool::decode(input)?,
        })
    }
}

impl Coded for VoteResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        self.vote_granted.encode(out);
        self.last_log_id.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(VoteResponse {
            vote: Vote::decode(input)?,
            vote_granted: bool::decode(input)?,
            last_log_id: Option::decode(input)?,
        })
    }
}

impl Coded for AppendRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.vote.encode(out);
        self.prev_log_id.encode(out);
        self.leader_commit.encode(out);
        self.entries.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(AppendRequest {
            vote: Vote::decode(input)?,
            prev_log_id: Option::decode(input)?,
            leader_commit: Option::decode(input)?,
            entries: Vec::<Entry>::decode(input)?,
        })
    }
}

impl Coded for AppendResult {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Ok(matched) => {
                out.push(OK);
                matched.encode(out);
            }
            Err(StreamAppendError::Conflict(log_id)) => {
                out.push(CONFLICT);
                log_id.encode(out);
            }
            Err(StreamAppendError::HigherVote(vote)) => {
                out.push(HIGHER_VOTE);
                vote.encode(out);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        match u8::decode(input)? {
            OK => Ok(Ok(Option::decode(input)?)),
            CONFLICT => Ok(Err(StreamAppendError::Conflict(LogId::decode(input)?))),
            HIGHER_VOTE => Ok(Err(StreamAppendError::HigherVote(Vote::decode(input)?))),
            tag => Err(CodecError::Tag {
                place: "the answer to an append",
                tag,
            }),
        }
    }
}

impl Coded for TransferRequest {
    fn encode(&self, out: &mut Vec<u8>) {
        self.from_leader().encode(out);
        self.to_node_id().encode(out);
        self.last_log_id().copied().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(TransferRequest::new(
            Vote::decode(input)?,
            Coded::decode(input)?,
            Option::decode(input)?,
        ))
    }
}

impl Coded for TransferResponse {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Ok(()) => out.push(OK),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                out.push(VOTE_CHANGED);
                expected.encode(out);
                actual.encode(out);
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                out.push(LOG_NOT_FLUSHED);
                expected.encode(out);
                actual.encode(out);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        match u8::decode(input)? {
            OK => Ok(Ok(())),
            VOTE_CHANGED => Ok(Err(TransferLeaderError::VoteChanged {
                expected: Vote::decode(input)?,
                actual: Vote::decode(input)?,
            })),
            LOG_NOT_FLUSHED => Ok(Err(TransferLeaderError::LogNotFlushed {
                expected: Option::decode(input)?,
                actual: Option::decode(input)?,
            })),
            tag => Err(CodecError::Tag {
                place: "the answer to a transfer",
                tag,
            }),
        }
    }
}
