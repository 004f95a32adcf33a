//! The links to all peers: one pair of lanes for each member that some group here has to do with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kotoba_state::ids::{GroupId, MemberId};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::append::{OpenStreams, ReplicateLane};
use super::call::{ControlLane, PendingCalls};
use super::dial::{Dialer, LinkFilter, PeerAddresses};
use super::lane::{Lane, LaneKind};
use crate::raft::counters::Counters;
use crate::raft::lock::lock;
use crate::raft::snapshot::Pace;

/// Snapshots this member sends at a time: each pins a view and fills a link.
pub const MAX_SNAPSHOTS_SENT: usize = 2;

pub struct TransportConfig {
    pub cluster_id: Arc<str>,
    pub member: MemberId,
    pub addresses: Arc<dyn PeerAddresses>,
    pub filter: Option<Arc<dyn LinkFilter>>,
    pub counters: Arc<Counters>,
    /// By how much the word of a follower may be dated too late.
    pub lease_margin: Duration,
    /// Bytes of snapshots sent per second.
    pub snapshot_bytes_per_s: u64,
    /// Told of each member whose replicate lane came up. A lost hint costs a pause, no more.
    pub link_up: mpsc::Sender<MemberId>,
}

/// One peer's lanes; dropped, they end.
pub struct Peer {
    pub dialer: Dialer,
    pub control: ControlLane,
    pub replicate: Arc<ReplicateLane>,
    _ends_lanes: DropGuard,
}

/// All links of this member.
pub struct Transport {
    config: TransportConfig,
    peers: Mutex<Peers>,
    pub snapshots: Semaphore,
    pub snapshot_pace: Arc<Pace>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

#[derive(Default)]
struct Peers {
    links: BTreeMap<MemberId, Arc<Peer>>,
    /// Members of each group here. A link that no group needs is dropped.
    needed: BTreeMap<GroupId, BTreeSet<MemberId>>,
}

impl Transport {
    pub fn new(config: TransportConfig) -> Self {
        Transport {
            snapshot_pace: Arc::new(Pace::new(config.snapshot_bytes_per_s)),
            config,
            peers: Mutex::default(),
            snapshots: Semaphore::new(MAX_SNAPSHOTS_SENT),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        }
    }

    pub fn member(&self) -> MemberId {
        self.config.member
    }

    pub fn counters(&self) -> &Counters {
        &self.config.counters
    }

    /// The lanes to a member; dials them where they are new.
    pub fn peer(&self, member: MemberId) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        let dial = || Arc::new(self.dial(member));
        peers.links.entry(member).or_insert_with(dial).clone()
    }

    /// Whether votes and handovers get to a member, now or in a moment; to this one they do.
    pub async fn reaches(&self, member: MemberId, patience: Duration) -> bool {
        member == self.member() || self.peer(member).control.comes_up_within(patience).await
    }

    /// How long the link to a member has been down; none where it is not, or there is none.
    pub fn down_for(&self, member: MemberId) -> Option<Duration> {
        let peer = lock(&self.peers).links.get(&member).cloned();
        peer.and_then(|peer| peer.control.down_for())
    }

    /// Keeps links to a group's members warm, so that a candidate's first request finds them up; drops links that no group
    /// needs any more.
    pub fn keep(&self, group: GroupId, members: BTreeSet<MemberId>) {
        for member in &members {
            if *member != self.member() {
                self.peer(*member);
            }
        }
        let mut peers = lock(&self.peers);
        peers.needed.insert(group, members);
        peers.drop_unneeded();
    }

    /// Forgets a group that is gone from here.
    pub fn forget(&self, group: GroupId) {
        let mut peers = lock(&self.peers);
        peers.needed.remove(&group);
        peers.drop_unneeded();
    }

    /// What dials a member, for a connection beside its lanes.
    pub fn dialer(&self, member: MemberId) -> Dialer {
        Dialer {
            cluster_id: self.config.cluster_id.clone(),
            from: self.config.member,
            to: member,
            addresses: self.config.addresses.clone(),
            filter: self.config.filter.clone(),
        }
    }

    fn dial(&self, member: MemberId) -> Peer {
        let dialer = self.dialer(member);
        let ended = self.closed.child_token();
        let pending = Arc::new(PendingCalls::default());
        let (control, run) = Lane::new(dialer.clone(), LaneKind::Control, pending.clone(), || {});
        self.spawn(&ended, run);
        let streams = Arc::new(OpenStreams::default());
        let link_up = self.config.link_up.clone();
        let hint = move || {
            let _ = link_up.try_send(member);
        };
        let (replicate, run) = Lane::new(dialer.clone(), LaneKind::Replicate, streams.clone(), hint);
        self.spawn(&ended, run);
        Peer {
            dialer,
            control: ControlLane::new(control, pending),
            replicate: Arc::new(ReplicateLane::new(replicate, streams, self.config.lease_margin)),
            _ends_lanes: ended.drop_guard(),
        }
    }

    fn spawn(&self, ended: &CancellationToken, run: impl Future<Output = ()> + Send + 'static) {
        let ended = ended.clone();
        self.tasks
            .spawn(async move { ended.run_until_cancelled_owned(run).await });
    }

    /// Ends all lanes and waits for their tasks.
    pub async fn close(&self) {
        self.closed.cancel();
        lock(&self.peers).links.clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Peers {
    fn drop_unneeded(&mut self) {
        let Peers { links, needed } = self;
        links.retain(|member, _| needed.values().any(|members| members.contains(member)));
    }
}
