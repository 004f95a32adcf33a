//! Votes that go with what is asked of the oracle: with its own, one more is a majority of three.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_ok;
use kotoba_proto::v1::{self, GetMetaVoteRequest};
use kotoba_state::ids::{MemberId, ReplicaId};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::client::MetaClient;
use crate::peer::clients::{DialError, PeerClients};
use crate::raft::SavedVote;

/// Beyond, another member is asked as well: this one may be on its way out.
const PATIENCE: Duration = Duration::from_millis(10);
/// Beyond, the oracle asks all.
const ANSWERED_WITHIN: Duration = Duration::from_millis(50);
/// Of so many voters two are a majority.
const MOST_VOTERS: usize = 3;

/// A member gave no vote.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Call(#[from] Status),
}

/// Where votes are had from.
#[derive(Clone)]
pub struct Votes {
    meta: MetaClient,
    peers: Arc<PeerClients>,
    /// The member that is asked first; 0 for any.
    preferred: Arc<AtomicU64>,
}

impl Votes {
    pub fn new(meta: MetaClient, peers: Arc<PeerClients>) -> Self {
        Votes {
            meta,
            peers,
            preferred: Arc::default(),
        }
    }

    /// A vote that is looked at during this call and is not that of the oracle's own member: the one that is here, or where the
    /// oracle is here, another's.
    pub async fn beside(&self, oracle: MemberId) -> Option<SavedVote> {
        if oracle != self.peers.me() {
            return self.meta.saved_vote();
        }
        let (first, second) = self.in_turn()?;
        let late = async {
            sleep(PATIENCE).await;
            self.ask(second).await
        };
        let answer = select_ok([self.ask(first).boxed(), late.boxed()]);
        let ((answered, vote), _) = timeout(ANSWERED_WITHIN, answer).await.ok()?.ok()?;
        self.preferred.store(answered.0, Ordering::Relaxed);
        Some(vote)
    }

    async fn ask(&self, member: MemberId) -> Result<(MemberId, SavedVote), AskError> {
        let request = GetMetaVoteRequest {
            envelope: self.peers.envelope(member),
        };
        let vote = self.peers.client(member)?.get_meta_vote(request).await?;
        Ok((member, received(vote.into_inner())))
    }

    /// The other voters, the one to be asked first; none where two votes would prove nothing.
    fn in_turn(&self) -> Option<(MemberId, MemberId)> {
        let voters = self.meta.candidates();
        let mut others = voters.iter().filter(|member| **member != self.peers.me());
        let (one, other) = (*others.next()?, others.next());
        let other = other.copied().unwrap_or(one);
        let is_turn_of_other = self.preferred.load(Ordering::Relaxed) == other.0;
        let in_turn = if is_turn_of_other { (other, one) } else { (one, other) };
        (voters.len() <= MOST_VOTERS).then_some(in_turn)
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
