//! Creates that are due one after the other, whether or not earlier ones were answered: what clients see of what is done to
//! the members meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use kotoba_proto::KotobaCluster;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, interval_at};
use tokio_util::sync::CancellationToken;

use crate::operation::VALUE_BYTES;
use crate::peer::kotoba::node;

pub const CREATES_PER_S: u32 = 200;

/// One operation, in times since the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub due: Duration,
    pub at: Duration,
    pub is_success: bool,
}

impl Answer {
    /// One that failed has waited all its time in vain.
    pub fn waited(&self) -> Duration {
        self.at - self.due
    }
}

/// A load that goes on until it is ended.
pub struct Steady {
    begin: Instant,
    stop: CancellationToken,
    sending: JoinSet<Vec<Answer>>,
}

impl Steady {
    pub fn start(client: KotobaCluster) -> Self {
        let (begin, stop, mut sending) = (Instant::now(), CancellationToken::new(), JoinSet::new());
        sending.spawn(send(client, begin, stop.clone()));
        Steady { begin, stop, sending }
    }

    /// Since the beginning.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Waits for the answers of those under way; gives all.
    pub async fn end(mut self) -> Result<Vec<Answer>> {
        self.stop.cancel();
        Ok(self.sending.join_next().await.context("nothing was sent")??)
    }
}

async fn send(client: KotobaCluster, begin: Instant, stop: CancellationToken) -> Vec<Answer> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let mut under_way = JoinSet::new();
    // What a stall holds back is caught up with at once, and counts from when it was due.
    let mut due = interval_at(begin, Duration::from_secs(1) / CREATES_PER_S);
    while let Some(at) = stop.run_until_cancelled(due.tick()).await {
        under_way.spawn(create(client.clone(), at - begin, begin, answers.clone()));
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    std::mem::take(&mut *answers.lock().unwrap_or_else(PoisonError::into_inner))
}

async fn create(client: KotobaCluster, due: Duration, begin: Instant, answers: Arc<Mutex<Vec<Answer>>>) {
    let result = client.execute_operation(node(VALUE_BYTES)).await;
    let answer = Answer {
        due,
        at: begin.elapsed(),
        is_success: result.is_ok(),
    };
    answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
}
