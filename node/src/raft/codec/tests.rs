//! Records are read back as they were written, and nothing else is taken for one.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::raft::{StreamAppendError, TransferLeaderError};
use proptest::prelude::*;

use super::{CodecError, Coded, FORMAT, SnapshotHeader, from_bytes, to_bytes};
use crate::raft::types::{
    AppendRequest, AppendResult, Command, Entry, LeaderId, LogId, Membership, Payload, SnapshotMeta, StoredMembership,
    TransferRequest, TransferResponse, Vote, VoteRequest, VoteResponse,
};

fn log_id() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(term, node, index)| {
        let node_id = ReplicaId(node);
        LogId::new(LeaderId { term, node_id }, index)
    })
}

fn vote() -> impl Strategy<Value = Vote> {
    (log_id(), any::<bool>()).prop_map(|(log_id, committed)| Vote {
        leader_id: *log_id.committed_leader_id(),
        committed,
    })
}

fn membership() -> impl Strategy<Value = Membership> {
    let voters = prop::collection::btree_set(0..20u64, 1..5);
    let learners = prop::collection::btree_set(20..40u64, 0..5);
    (prop::collection::vec(voters, 1..3), learners).prop_map(|(configs, learners)| {
        let configs: Vec<BTreeSet<_>> = configs
            .into_iter()
            .map(|voters| voters.into_iter().map(ReplicaId).collect())
            .collect();
        let replicas = configs
            .iter()
            .flatten()
            .copied()
            .chain(learners.into_iter().map(ReplicaId));
        let members: BTreeMap<_, _> = replicas.map(|replica| (replica, MemberId(replica.0 + 7))).collect();
        Membership::new(configs, members).unwrap()
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = prop_oneof![
        Just(Payload::Blank),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Payload::Normal(Command::from(Bytes::from(bytes)))),
        membership().prop_map(Payload::Membership),
    ];
    (log_id(), payload).prop_map(|(log_id, payload)| Entry { log_id, payload })
}

fn stored_membership() -> impl Strategy<Value = StoredMembership> {
    (prop::option::of(log_id()), membership())
        .prop_map(|(log_id, membership)| StoredMembership::new(log_id, membership))
}

fn survives<T: Coded + PartialEq + Debug>(value: T) {
    let bytes = to_bytes(&value);
    assert_eq!(from_bytes::<T>(&bytes).unwrap(), value);
    for length in 0..bytes.len() {
        assert!(
            from_bytes::<T>(&bytes[..length]).is_err(),
            "cut to {length} of {}",
            bytes.len()
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(from_bytes::<T>(&longer), Err(CodecError::Trailing(1)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn stored_records_survive(entry in entry(), vote in vote(), membership in stored_membership(), last in prop::option::of(log_id())) {
        survives(entry);
        survives(vote);
        survives(membership.clone());
        survives(last);
        let meta = SnapshotMeta { last_log_id: last, last_membership: membership };
        survives(meta.clone());
        survives(SnapshotHeader { vote, meta });
    }

    #[test]
    fn votes_and_transfers_survive(vote in vote(), last in prop::option::of(log_id()), flag: bool, to: u64) {
        let mut request = VoteRequest::new(vote, last);
        request.leadership_transfer = flag;
        survives(request);
        survives(VoteResponse::new(vote, last, flag));
        survives(TransferRequest::new(vote, ReplicaId(to), last));
        survives::<TransferResponse>(Ok(()));
        survives::<TransferResponse>(Err(TransferLeaderError::VoteChanged { expected: vote, actual: vote }));
        survives::<TransferResponse>(Err(TransferLeaderError::LogNotFlushed { expected: last, actual: None }));
    }

    #[test]
    fn appends_survive(vote in vote(), previous in prop::option::of(log_id()), commit in prop::option::of(log_id()), entries in prop::collection::vec(entry(), 0..4), at in log_id()) {
        let request = AppendRequest { vote, prev_log_id: previous, entries, leader_commit: commit };
        let read: AppendRequest = from_bytes(&to_bytes(&request)).unwrap();
        prop_assert_eq!(to_bytes(&read), to_bytes(&request));
        prop_assert_eq!(read.entries, request.entries);
        survives::<AppendResult>(Ok(previous));
        survives::<AppendResult>(Err(StreamAppendError::Conflict(at)));
        survives::<AppendResult>(Err(StreamAppendError::HigherVote(vote)));
    }

    #[test]
    fn noise_is_never_read_as_more_than_it_holds(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = from_bytes::<Entry>(&bytes);
        let _ = from_bytes::<AppendRequest>(&bytes);
        let _ = from_bytes::<SnapshotHeader>(&bytes);
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = to_bytes(&7u64);
    bytes[0] = FORMAT + 1;
    let error = from_bytes::<u64>(&bytes).unwrap_err();
    assert_eq!(error, CodecError::Format(FORMAT + 1));
    assert!(error.to_string().contains("upgrade"));
}

/// What is on disks out there: a change of these bytes needs a new format and a reader for the old one.
#[test]
fn the_layout_is_frozen() {
    let node_id = ReplicaId(0x0102);
    let entry = Entry {
        log_id: LogId::new(LeaderId { term: 3, node_id }, 4),
        payload: Payload::Normal(Command::from(Bytes::from_static(b"abc"))),
    };
    let expected = [
        [1].as_slice(),
        &[0, 0, 0, 0, 0, 0, 0, 3],
        &[0, 0, 0, 0, 0, 0, 1, 2],
        &[0, 0, 0, 0, 0, 0, 0, 4],
        &[1, 0, 0, 0, 3],
        b"abc",
    ];
    assert_eq!(to_bytes(&entry), expected.concat());
}
