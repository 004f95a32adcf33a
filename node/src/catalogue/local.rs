//! The local copy of the catalogue: every member has a replica of the meta group, and reads placement from it.

use std::sync::Arc;

use kotoba_state::meta::{Catalogue, events};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::raft::Group;

/// The catalogue as of the newest applied entry of the local meta replica.
#[derive(Clone)]
pub struct LocalCatalogue {
    current: watch::Receiver<Arc<Catalogue>>,
    newest_event: watch::Receiver<u64>,
}

impl LocalCatalogue {
    /// Loads the catalogue and follows the meta replica until cancelled.
    pub async fn follow(meta: Group, cancel: CancellationToken) -> anyhow::Result<Self> {
        let mut applied = meta.applied();
        applied.mark_unchanged();
        let (catalogue, newest) = load(&meta).await?;
        let (sender, current) = watch::channel(Arc::new(catalogue));
        let (newest_sender, newest_event) = watch::channel(newest);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = applied.changed() => if changed.is_err() { return },
                    () = cancel.cancelled() => return,
                }
                match load(&meta).await {
                    Ok((catalogue, newest)) => {
                        publish(&sender, catalogue);
                        newest_sender.send_if_modified(|known| std::mem::replace(known, newest) != newest);
                    }
                    Err(cause) => error!(error = %cause, "the local catalogue cannot be read"),
                }
            }
        });
        Ok(LocalCatalogue { current, newest_event })
    }

    pub fn get(&self) -> Arc<Catalogue> {
        self.current.borrow().clone()
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Catalogue>> {
        self.current.clone()
    }

    /// The position of the newest event, as it grows.
    pub fn watch_events(&self) -> watch::Receiver<u64> {
        self.newest_event.clone()
    }

    /// A catalogue that never changes, for tests.
    pub fn fixed(catalogue: Catalogue) -> Self {
        LocalCatalogue {
            current: watch::channel(Arc::new(catalogue)).1,
            newest_event: watch::channel(0).1,
        }
    }
}

/// Wakes those who watch only where something changed: the meta log also holds entries that leave no trace here.
fn publish(sender: &watch::Sender<Arc<Catalogue>>, catalogue: Catalogue) {
    sender.send_if_modified(|current| {
        let changed = **current != catalogue;
        if changed {
            *current = Arc::new(catalogue);
        }
        changed
    });
}

async fn load(meta: &Group) -> anyhow::Result<(Catalogue, u64)> {
    let view = meta.view()?;
    tokio::task::spawn_blocking(move || Ok((Catalogue::load(&view)?, events::newest(&view)?))).await?
}
