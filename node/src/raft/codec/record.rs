//! What the log and the state files hold: log ids, votes, memberships, entries.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kotoba_state::ids::{MemberId, ReplicaId};

use super::{CodecError, Coded, encode_count, take};
use crate::raft::types::{Command, Entry, LeaderId, LogId, Membership, Payload, SnapshotMeta, StoredMembership, Vote};

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

impl Coded for ReplicaId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        u64::decode(input).map(ReplicaId)
    }
}

impl Coded for MemberId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        u64::decode(input).map(MemberId)
    }
}

impl Coded for LeaderId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.term.encode(out);
        self.node_id.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(LeaderId {
            term: u64::decode(input)?,
            node_id: ReplicaId::decode(input)?,
        })
    }
}

impl Coded for LogId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.committed_leader_id().encode(out);
        self.index().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(LogId::new(LeaderId::decode(input)?, u64::decode(input)?))
    }
}

impl Coded for Vote {
    fn encode(&self, out: &mut Vec<u8>) {
        self.leader_id.encode(out);
        self.committed.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(Vote {
            leader_id: LeaderId::decode(input)?,
            committed: bool::decode(input)?,
        })
    }
}

impl Coded for BTreeSet<ReplicaId> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.iter().copied().collect::<Vec<_>>().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(Vec::decode(input)?.into_iter().collect())
    }
}

impl Coded for Membership {
    fn encode(&self, out: &mut Vec<u8>) {
        self.get_joint_config().encode(out);
        encode_count(self.nodes().count(), out);
        for (replica, member) in self.nodes() {
            replica.encode(out);
            member.encode(out);
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let configs = Vec::<BTreeSet<ReplicaId>>::decode(input)?;
        let mut members = BTreeMap::new();
        for _ in 0..u32::decode(input)? {
            members.insert(ReplicaId::decode(input)?, MemberId::decode(input)?);
        }
        Membership::new(configs, members).map_err(|error| CodecError::Membership(error.to_string()))
    }
}

impl Coded for StoredMembership {
    fn encode(&self, out: &mut Vec<u8>) {
        self.log_id().encode(out);
        self.membership().encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(StoredMembership::new(
            Option::decode(input)?,
            Membership::decode(input)?,
        ))
    }
}

impl Coded for SnapshotMeta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.last_log_id.encode(out);
        self.last_membership.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        Ok(SnapshotMeta {
            last_log_id: Option::decode(input)?,
            last_membership: StoredMembership::decode(input)?,
        })
    }
}

impl Coded for Command {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_count(self.bytes.len(), out);
        out.extend_from_slice(&self.bytes);
    }

    /// Copies: a command is kept in the log's cache, and a slice of it would keep the whole frame it came in.
    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let count = u32::decode(input)?;
        let bytes = take(input, count as usize)?;
        Ok(Command::from(Bytes::copy_from_slice(bytes)))
    }
}

impl Coded for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.log_id.encode(out);
        match &self.payload {
            Payload::Blank => out.push(BLANK),
            Payload::Normal(command) => {
                out.push(COMMAND);
                command.encode(out);
            }
            Payload::Membership(membership) => {
                out.push(MEMBERSHIP);
                membership.encode(out);
            }
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, CodecError> {
        let log_id = LogId::decode(input)?;
        let payload = match u8::decode(input)? {
            BLANK => Payload::Blank,
            COMMAND => Payload::Normal(Command::decode(input)?),
            MEMBERSHIP => Payload::Membership(Membership::decode(input)?),
            tag => return Err(CodecError::Tag { place: "an entry", tag }),
        };
        Ok(Entry { log_id, payload })
    }
}
