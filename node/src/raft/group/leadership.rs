//! Who leads a group, as one of its replicas knows it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kotoba_state::ids::{MemberId, ReplicaId};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::type_config::alias::WatchReceiverOf;
use tokio::sync::watch;

use crate::raft::counters::{Counters, count};
use crate::raft::lock::lock;
use crate::raft::network::Transport;
use crate::raft::types::{ReplicaKey, TypeConfig};

type ServerMetrics = RaftServerMetrics<TypeConfig>;

/// Who leads. Only a read barrier proves that it still does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<(ReplicaId, MemberId)>,
    /// This replica is the leader.
    pub leading: bool,
}

impl Leadership {
    fn of(metrics: &ServerMetrics) -> Self {
        // A new replica hears of its leader before it hears where that one is.
        let place = |replica: ReplicaId| {
            let member = metrics.membership_config.get_node(&replica)?;
            Some((replica, *member))
        };
        Leadership {
            term: metrics.vote.leader_id.term,
            leader: metrics.current_leader.and_then(place),
            leading: metrics.state == ServerState::Leader,
        }
    }
}

/// Since when this replica leads in its newest term.
#[derive(Debug, Default)]
pub struct LedSince(Mutex<Option<(u64, Instant)>>);

impl LedSince {
    fn note(&self, leadership: Leadership) {
        let mut led = lock(&self.0);
        match (leadership.leading, *led) {
            (true, Some((term, _))) if term == leadership.term => {}
            (true, _) => *led = Some((leadership.term, Instant::now())),
            (false, _) => *led = None,
        }
    }

    /// None where it does not lead.
    pub fn elapsed(&self) -> Option<Duration> {
        lock(&self.0).map(|(_, since)| since.elapsed())
    }
}

/// Publishes each change until Raft ends, and keeps the links to all members of the group warm.
pub async fn follow(
    key: ReplicaKey,
    mut metrics: WatchReceiverOf<TypeConfig, ServerMetrics>,
    transport: Arc<Transport>,
    counters: Arc<Counters>,
    published: watch::Sender<Leadership>,
    led_since: Arc<LedSince>,
) {
    let mut linked = BTreeSet::new();
    loop {
        // Cloned at once: holding it would block Raft's core.
        let current = metrics.borrow_watched().clone();
        let members: BTreeSet<MemberId> = current.membership_config.nodes().map(|(_, member)| *member).collect();
        if members != linked {
            transport.keep(key.group, members.clone());
            linked = members;
        }
        let leadership = Leadership::of(&current);
        led_since.note(leadership);
        let before = *published.borrow();
        if leadership.leader.is_some() && leadership.leader != before.leader {
            count(&counters.leader_changes);
        }
        published.send_if_modified(|known| std::mem::replace(known, leadership) != leadership);
        if metrics.changed().await.is_err() {
            published.send_modify(|known| {
                known.leading = false;
                known.leader = None;
            });
            return;
        }
    }
}
