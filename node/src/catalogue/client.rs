//! Changing the catalogue from any member: the command goes to the meta leader, wherever it is.
//!
//! Every command is idempotent or compare-and-set, so it is sent again until someone answers or the deadline passes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kotoba_proto::v1::MetaCommand;
use kotoba_state::ids::MemberId;
use kotoba_state::meta::{Answer, Command};

use super::local::LocalCatalogue;
use crate::clock::WallClock;
use crate::peer::clients::PeerClients;
use crate::raft::{Group, LeaderSearch, ProposeError, SavedVote};

/// The catalogue could not be changed in time.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error("no leader of the meta group answered within {0:?}: are a majority of the meta voters running?")]
    NoLeader(Duration),
    #[error("the meta leader's answer is not understood: {0}")]
    Answer(String),
}

/// The way to the meta leader.
#[derive(Clone)]
pub struct MetaClient {
    meta: Group,
    peers: Arc<PeerClients>,
    catalogue: LocalCatalogue,
    clock: Arc<dyn WallClock>,
}

impl MetaClient {
    pub fn new(meta: Group, peers: Arc<PeerClients>, catalogue: LocalCatalogue, clock: Arc<dyn WallClock>) -> Self {
        MetaClient {
            meta,
            peers,
            catalogue,
            clock,
        }
    }

    /// The time of day here, for commands that record when something happened.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Applies a command and returns its answer; the local copy has applied it too.
    pub async fn propose(&self, command: &Command, within: Duration) -> Result<Answer, MetaError> {
        let deadline = Instant::now() + within;
        let body = command.encode_at(self.now_ms());
        let mut search = None;
        while Instant::now() < deadline {
            for member in self.candidates() {
                if let Some((answer, index)) = self.propose_to(member, &body).await {
                    // A local copy that lags is no failure: the command is committed.
                    let _ = self.meta.wait_applied(index, deadline).await;
                    return Answer::decode(&answer).map_err(|cause| MetaError::Answer(cause.to_string()));
                }
            }
            search.get_or_insert_with(|| self.search()).pause().await;
        }
        Err(MetaError::NoLeader(within))
    }

    /// The member that leads the meta group, as far as this one knows.
    pub fn leader(&self) -> Option<MemberId> {
        self.meta.leadership().leader.map(|(_, member)| member)
    }

    /// The vote of the meta replica that is here.
    pub fn saved_vote(&self) -> Option<SavedVote> {
        self.meta.saved_vote()
    }

    /// A search for the leader, for those who ask all candidates in rounds.
    pub fn search(&self) -> LeaderSearch {
        LeaderSearch::new(Some(&self.meta))
    }

    /// The known leader first, then every other voter: a stale hint must not hide the new leader.
    pub fn candidates(&self) -> Vec<MemberId> {
        let leader = self.leader();
        let catalogue = self.catalogue.get();
        let others = catalogue
            .members
            .values()
            .filter(|member| member.meta_voter && Some(member.id) != leader)
            .map(|member| member.id);
        leader.into_iter().chain(others).collect()
    }

    async fn propose_to(&self, member: MemberId, body: &[u8]) -> Option<(Vec<u8>, u64)> {
        if member == self.peers.me() {
            return match self.meta.propose(body.to_vec()).await {
                Ok(proposed) => Some((proposed.answer, proposed.index)),
                Err(ProposeError::NotLeader { .. } | ProposeError::Unknown | ProposeError::Stopped) => None,
                Err(ProposeError::TooLarge { .. }) => None,
            };
        }
        let request = MetaCommand {
            envelope: self.peers.envelope(member),
            body: body.to_vec().into(),
        };
        let answer = self
            .peers
            .client(member)
            .ok()?
            .propose_meta(request)
            .await
            .ok()?
            .into_inner();
        Some((answer.body.to_vec(), answer.applied_index))
    }
}
