//! The control lane: requests with one answer each, in any order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kotoba_proto::v1::{RaftMessage, raft_message::Body};
use tokio::sync::oneshot;

use super::Route;
use super::lane::{Answers, Lane};
use crate::raft::lock::lock;

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the link is down")]
    Down,
    #[error("the link broke before the answer")]
    Lost,
    #[error("no answer in time")]
    Timeout,
    #[error("the peer answers: {0}")]
    Refused(String),
}

/// Calls under way, by sequence.
#[derive(Default)]
pub struct PendingCalls(Mutex<BTreeMap<u64, oneshot::Sender<Body>>>);

impl Answers for PendingCalls {
    fn answer(&self, message: RaftMessage) {
        let caller = lock(&self.0).remove(&message.sequence);
        if let (Some(caller), Some(body)) = (caller, message.body) {
            // A caller that has given up does not take it.
            let _ = caller.send(body);
        }
    }

    fn disconnected(&self) {
        lock(&self.0).clear();
    }
}

/// The calling side of a control lane.
pub struct ControlLane {
    lane: Lane,
    pending: Arc<PendingCalls>,
    next: AtomicU64,
}

impl ControlLane {
    pub fn new(lane: Lane, pending: Arc<PendingCalls>) -> Self {
        ControlLane {
            lane,
            pending,
            next: AtomicU64::new(1),
        }
    }

    /// Whether requests can be sent, now or in a moment.
    pub async fn comes_up_within(&self, patience: Duration) -> bool {
        self.lane.comes_up_within(patience).await
    }

    /// How long the link has been down; none where it is not.
    pub fn down_for(&self) -> Option<Duration> {
        self.lane.down_for()
    }

    /// Sends a request and waits for its answer.
    pub async fn call(&self, route: Route, request: Body, timeout: Duration) -> Result<Body, CallError> {
        match tokio::time::timeout(timeout, self.ask(route, request)).await {
            Ok(Ok(Body::Error(reason))) => Err(CallError::Refused(reason)),
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout),
        }
    }

    async fn ask(&self, route: Route, request: Body) -> Result<Body, CallError> {
        if !self.lane.is_up().await {
            return Err(CallError::Down);
        }
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.pending.0).insert(sequence, sender);
        let _forget = Forget {
            pending: &self.pending,
            sequence,
        };
        if !self.lane.send(route.message(0, sequence, request)).await {
            return Err(CallError::Down);
        }
        answer.await.map_err(|_| CallError::Lost)
    }
}

/// Forgets a call that ended, or was given up.
struct Forget<'a> {
    pending: &'a PendingCalls,
    sequence: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.pending.0).remove(&self.sequence);
    }
}
