//! A door at which one message waits until the test opens it; the test sees when the message has come.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::watch;

use super::within;

/// Closed until opened, once and for all.
pub struct Gate {
    open: watch::Sender<bool>,
    arrived: watch::Sender<bool>,
    passed: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            open: watch::channel(false).0,
            arrived: watch::channel(false).0,
            passed: watch::channel(false).0,
        }
    }
}

impl Gate {
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until the message stands at the gate.
    pub async fn reached(&self) {
        wait_true(&self.arrived, "no message came to the gate").await;
    }

    /// Opens, and waits until the message has been done.
    pub async fn let_through(&self) {
        self.open();
        wait_true(&self.passed, "the message behind the gate was never done").await;
    }

    /// Of the message: says that it is here and waits.
    pub async fn stand(&self) {
        self.arrived.send_replace(true);
        let mut open = self.open.subscribe();
        // The gate outlives the message: it is owned by the rule that named it.
        let _ = open.wait_for(|open| *open).await;
    }

    /// Of the message: says that it is done.
    pub fn pass(&self) {
        self.passed.send_replace(true);
    }
}

async fn wait_true(flag: &watch::Sender<bool>, otherwise: &str) {
    let mut flag = flag.subscribe();
    within(otherwise, flag.wait_for(|flag| *flag))
        .await
        .expect("the gate is alive");
}

/// Runs a piece of work until its message stands at the gate; there it rests until it is awaited again.
pub async fn run_until<T: std::fmt::Debug>(gate: &Gate, work: Pin<&mut impl Future<Output = T>>) {
    tokio::select! {
        () = gate.reached() => {}
        ended = work => panic!("it ended before it came to the gate: {ended:?}"),
    }
}
