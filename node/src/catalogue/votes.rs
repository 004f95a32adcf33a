//! Votes that go with what is asked of the oracle: with its own, one more is a majority of three.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kotoba_proto::v1::{self, GetMetaVoteRequest};
use kotoba_state::ids::{MemberId, ReplicaId};
use tokio::time::timeout;

use super::client::MetaClient;
use crate::peer::clients::PeerClients;
use crate::raft::SavedVote;

/// Beyond, the oracle asks all.
const ANSWERED_WITHIN: Duration = Duration::from_millis(50);

/// Where votes are had from.
#[derive(Clone)]
pub struct Votes {
    meta: MetaClient,
    peers: Arc<PeerClients>,
    /// The member to ask next; 0 for any.
    next: Arc<AtomicU64>,
}

impl Votes {
    pub fn new(meta: MetaClient, peers: Arc<PeerClients>) -> Self {
        Votes {
            meta,
            peers,
            next: Arc::default(),
        }
    }

    /// A vote that is looked at during this call and is not that of the oracle's own member: the one that is here, or where the
    /// oracle is here, another's.
    pub async fn beside(&self, oracle: MemberId) -> Option<SavedVote> {
        if oracle != self.peers.me() {
            return self.meta.saved_vote();
        }
        let asked = self.choose()?;
        let answer = timeout(ANSWERED_WITHIN, self.ask(asked)).await;
        let vote = answer.ok().flatten();
        let next = if vote.is_some() { asked } else { self.behind(asked) };
        self.next.store(next.0, Ordering::Relaxed);
        vote
    }

    async fn ask(&self, member: MemberId) -> Option<SavedVote> {
        let request = GetMetaVoteRequest {
            envelope: self.peers.envelope(member),
        };
        let vote = self.peers.client(member).ok()?.get_meta_vote(request).await.ok()?;
        Some(received(vote.into_inner()))
    }

    fn others(&self) -> Vec<MemberId> {
        let mut others = self.meta.candidates();
        others.retain(|member| *member != self.peers.me());
        others.sort();
        others
    }

    fn choose(&self) -> Option<MemberId> {
        let others = self.others();
        let next = MemberId(self.next.load(Ordering::Relaxed));
        let known = others.iter().find(|member| **member == next);
        known.or(others.first()).copied()
    }

    /// The one whose turn it is where this one is silent.
    fn behind(&self, silent: MemberId) -> MemberId {
        let others = self.others();
        let later = others.iter().find(|member| **member > silent);
        later.or(others.first()).copied().unwrap_or(MemberId(0))
    }
}

pub fn sent(vote: SavedVote) -> v1::SavedVote {
    v1::SavedVote {
        replica_id: vote.replica.0,
        term: vote.term,
        leader_replica_id: vote.leader.0,
    }
}

pub fn received(vote: v1::SavedVote) -> SavedVote {
    SavedVote {
        replica: ReplicaId(vote.replica_id),
        term: vote.term,
        leader: ReplicaId(vote.leader_replica_id),
    }
}
