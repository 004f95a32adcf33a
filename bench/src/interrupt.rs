//! Ends a run early without leaving members behind: what it is doing is dropped, and with it their handles, which kill them.
//!
//! Not by the parent's death signal: it is sent when the thread ends that started the member, and needs unsafe code.

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// Ends with an error at the first signal that asks for the end.
pub async fn heard() -> Result<()> {
    let listen = |kind| signal(kind).context("listening to signals");
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    bail!("interrupted; the parts that were done are written down")
}
