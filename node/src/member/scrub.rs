//! Reads every replica here whole from time to time, and compares what is stored with the digest that was kept while it was
//! written: a disk that gives back something else is found before a reader is.
//!
//! It reads a pinned view at a bounded pace, one replica at a time.

use std::time::Duration;

use kotoba_state::ids::PartitionId;
use kotoba_state::partition::DigestScan;
use kotoba_state::store::StoreError;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::replicas::{LocalPartition, LocalPartitions, report_diverged};
use crate::catalogue::client::MetaClient;
use crate::catalogue::local::LocalCatalogue;
use crate::config::IntegrityConfig;
use crate::raft::StateView;

/// Bytes between two pauses.
const STEP_BYTES: usize = 1 << 20;

/// The task that scrubs.
pub struct Scrubber {
    pub catalogue: LocalCatalogue,
    pub partitions: LocalPartitions,
    pub meta: MetaClient,
    pub config: IntegrityConfig,
}

/// What a scrub came to.
enum Found {
    Sound,
    Damaged,
    /// The replica does not run any more.
    Gone,
}

impl Scrubber {
    /// Runs until cancelled; every replica has its turn within the interval.
    pub async fn run(self, cancel: CancellationToken) {
        if let Some(interval) = self.config.scrub_interval {
            cancel.run_until_cancelled_owned(self.scrub_in_turn(interval)).await;
        }
    }

    async fn scrub_in_turn(&self, interval: Duration) {
        let mut last = None;
        loop {
            let replicas = u32::try_from(self.partitions.all().len()).unwrap_or(u32::MAX);
            sleep(interval / replicas.max(1)).await;
            let Some((partition, local)) = self.next_after(last) else {
                continue;
            };
            last = Some(partition);
            match self.scrub(&local).await {
                Found::Sound => debug!(%partition, "scrubbed"),
                Found::Gone => {}
                Found::Damaged => self.report(partition, &local).await,
            }
        }
    }

    /// The partition with the next larger number, or the first again.
    fn next_after(&self, last: Option<PartitionId>) -> Option<(PartitionId, LocalPartition)> {
        let all = self.partitions.all();
        let next = all.iter().find(|(id, _)| last.is_none_or(|last| *id > last));
        next.or(all.first()).cloned()
    }

    async fn scrub(&self, local: &LocalPartition) -> Found {
        let Ok(view) = local.group.view() else {
            return Found::Gone;
        };
        match self.agrees(view).await {
            Ok(true) => Found::Sound,
            Ok(false) => Found::Damaged,
            Err(reason) => {
                error!(replica = %local.group.replica(), %reason, "a replica's state cannot be read");
                Found::Damaged
            }
        }
    }

    async fn agrees(&self, view: StateView) -> Result<bool, StoreError> {
        let pause = Duration::from_secs(1).mul_f64(STEP_BYTES as f64 / self.config.scrub_bytes_per_s as f64);
        let mut scan = DigestScan::default();
        loop {
            let of_step = view.clone();
            let step = move || scan.step(&of_step, STEP_BYTES).map(|is_done| (scan, is_done));
            let (read, is_done) = blocking(step).await?;
            scan = read;
            if is_done {
                return blocking(move || scan.agrees_with(&view)).await;
            }
            sleep(pause).await;
        }
    }

    async fn report(&self, id: PartitionId, local: &LocalPartition) {
        if let Some(partition) = self.catalogue.get().partitions.get(&id) {
            report_diverged(&self.meta, partition, local.group.replica()).await;
        }
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(read).await.map_err(StoreError::new)?
}
