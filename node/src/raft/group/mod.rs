//! One running replica of a Raft group: propose, read, observe, change the membership.

mod leadership;
mod lease;
mod membership;
mod observe;
mod propose;
mod read;
mod search;
mod vote;

use std::sync::Arc;
use std::time::Duration;

use kotoba_state::ids::{GroupId, MemberId, ReplicaId};
use kotoba_state::store::StoreError;
use openraft::Config;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{Fatal as Stop, ForwardToLeader};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use leadership::Leadership;
use leadership::LedSince;
use lease::Lease;
pub use membership::MembershipError;
pub use observe::{GroupObservation, ReplicaProgress};
pub use propose::{ProposeError, Proposed, ROOM_BYTES};
pub use read::{BarrierError, WaitError};
pub use search::LeaderSearch;
pub use vote::SavedVote;

use super::counters::Counters;
use super::log::ReplicaLogHandle;
use super::network::{LocalReplica, Network, Transport};
use super::settings::Settings;
use super::state::{ReplicaState, ReplicaStore, StateView};
use super::types::{Raft, ReplicaKey, TypeConfig};

/// Everything a replica is started from.
pub struct Parts {
    pub key: ReplicaKey,
    pub config: Config,
    pub settings: Settings,
    pub log: ReplicaLogHandle,
    pub state: Arc<ReplicaState>,
    pub transport: Arc<Transport>,
    pub counters: Arc<Counters>,
    /// Bytes of proposals under way in all groups of this member.
    pub room: Arc<Semaphore>,
    /// See [`LocalReplica::votes_from`].
    pub votes_from: Option<Instant>,
}

/// One running replica; cheap to clone.
#[derive(Clone)]
pub struct Group {
    inner: Arc<Inner>,
}

struct Inner {
    key: ReplicaKey,
    raft: Raft,
    state: Arc<ReplicaState>,
    log: ReplicaLogHandle,
    settings: Settings,
    transport: Arc<Transport>,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    leadership: watch::Receiver<Leadership>,
    led_since: Arc<LedSince>,
    lease: Lease,
    votes_from: Option<Instant>,
    /// One membership change at a time, from its first entry to its last.
    membership_turn: Arc<Semaphore>,
    tasks: TaskTracker,
    stopped: CancellationToken,
}

impl Group {
    /// Starts Raft on a replica whose stores are open. Waits for no other member.
    pub(super) async fn start(parts: Parts) -> Result<Self, Stop<TypeConfig>> {
        let Parts {
            key,
            config,
            settings,
            log,
            state,
            transport,
            counters,
            room,
            votes_from,
        } = parts;
        let config = Config {
            enable_elect: votes_from.is_none(),
            ..config
        };
        let network = Network::new(transport.clone(), key);
        let raft = Raft::new(
            key.replica,
            Arc::new(config),
            network,
            log.clone(),
            ReplicaStore::new(state.clone()),
        )
        .await?;
        let (sender, leadership) = watch::channel(Leadership::default());
        let (tasks, stopped) = (TaskTracker::new(), CancellationToken::new());
        let led_since = Arc::<LedSince>::default();
        let follow = leadership::follow(
            key,
            raft.server_metrics(),
            transport.clone(),
            counters.clone(),
            sender,
            led_since.clone(),
        );
        let stop = stopped.clone();
        tasks.spawn(async move { stop.run_until_cancelled_owned(follow).await });
        if let Some(from) = votes_from {
            let (stop, raft) = (stopped.clone(), raft.clone());
            let elect = async move {
                sleep_until(from).await;
                raft.runtime_config().elect(true);
            };
            tasks.spawn(async move { stop.run_until_cancelled_owned(elect).await });
        }
        let lease = Lease::new(raft.metrics());
        let inner = Inner {
            key,
            raft,
            state,
            log,
            settings,
            transport,
            counters,
            room,
            leadership,
            led_since,
            lease,
            votes_from,
            membership_turn: Arc::new(Semaphore::new(1)),
            tasks,
            stopped,
        };
        Ok(Group { inner: Arc::new(inner) })
    }

    pub fn id(&self) -> GroupId {
        self.inner.key.group
    }

    pub fn replica(&self) -> ReplicaId {
        self.inner.key.replica
    }

    /// The longest that this group's followers wait for a leader before they look for another.
    pub fn election_timeout(&self) -> Duration {
        self.inner.settings.of(self.id()).election_timeout_max
    }

    /// Pins the state as of the last applied entry. Reads of it may block on the disk.
    pub fn view(&self) -> Result<StateView, StoreError> {
        self.inner.state.view().map_err(StoreError::new)
    }

    /// Index of the last applied entry, 0 where there is none: what is answered is applied before.
    pub fn applied_index(&self) -> u64 {
        self.inner.state.applied().end().saturating_sub(1)
    }

    /// Index of the last applied entry, as it grows.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.state.watch_applied()
    }

    /// Who leads, as this replica knows it.
    pub fn leadership(&self) -> Leadership {
        *self.inner.leadership.borrow()
    }

    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    pub(super) fn local(&self) -> LocalReplica {
        LocalReplica {
            key: self.inner.key,
            raft: self.inner.raft.clone(),
            state: self.inner.state.clone(),
            log: self.inner.log.clone(),
            votes_from: self.inner.votes_from,
        }
    }

    /// Stops Raft and this replica's tasks; its stores stay open.
    pub(super) async fn stop(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(replica = %self.inner.key, %error, "raft did not stop in order");
        }
        self.inner.stopped.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.transport.forget(self.id());
    }

    /// Why Raft no longer runs; `None` while it does.
    fn stop_reason(&self) -> Option<String> {
        if let Some(reason) = self.inner.state.failure() {
            return Some(reason.to_owned());
        }
        if self.inner.stopped.is_cancelled() {
            return Some("stopped".to_owned());
        }
        let state = self.inner.raft.metrics().borrow_watched().running_state.clone();
        state.err().map(|error| error.to_string())
    }
}

/// The leader that a refusal points at.
fn leader_of(forward: &ForwardToLeader<TypeConfig>) -> Option<(ReplicaId, MemberId)> {
    forward.leader_id.zip(forward.leader_node)
}
