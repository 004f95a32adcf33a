//! After the outcome: secondaries are resolved in the background, so that readers do not have to.
//!
//! Nothing waits for it, and a crash in the middle loses nothing: whoever meets what is left finishes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{Decided, Push, Resolved, TxnHead, TxnStatus, slot_of};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Coordinator;
use crate::transaction::boundary::Partitions;
use crate::transaction::message::{Reply, Request};

/// How long what is resolved waits for more of it.
const FORGET_TOGETHER: Duration = Duration::from_millis(50);
/// Transactions that are told of together, and that may wait to be; of more, maintenance tells.
pub(super) const MAX_FORGOTTEN: usize = 1_024;

impl Coordinator {
    pub(super) fn resolve_in_background(&self, head: TxnHead, participants: BTreeSet<u16>, at: Timestamp) {
        let Ok(permit) = self.resolving.clone().try_acquire_owned() else {
            return;
        };
        let (partitions, forgetting) = (self.partitions.clone(), self.forgetting.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let txn = head.txn;
            let home = partitions.partition_of(slot_of(&head.primary));
            let mut elsewhere = by_partition(partitions.as_ref(), participants);
            elsewhere.remove(&home);
            let decided = Decided::Committed(at);
            let resolve = |partition: &PartitionId| (*partition, Request::Resolve { txn, decided });
            let replies = partitions.call_all(elsewhere.keys().map(resolve).collect()).await;
            let answered = elsewhere.into_values().zip(replies);
            let slots: BTreeSet<u16> = answered
                .filter(|(_, reply)| matches!(reply, Ok(Reply::Resolved)))
                .flat_map(|(slots, _)| slots)
                .collect();
            if !slots.is_empty() {
                // What is not forgotten now is found again by the primary's maintenance.
                let _ = forgetting.try_send((home, Resolved { txn, slots }));
            }
        });
    }

    pub(super) fn abort_in_background(&self, head: TxnHead, participants: BTreeSet<u16>) {
        let Ok(permit) = self.resolving.clone().try_acquire_owned() else {
            return;
        };
        let partitions = self.partitions.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let txn = head.txn;
            let home = partitions.partition_of(slot_of(&head.primary));
            let request = Request::CheckTxn {
                head,
                push: Push::Abort,
            };
            // Only a tombstone in the log lets the intents go.
            if !matches!(
                partitions.call(home, request).await,
                Ok(Reply::Status(TxnStatus::Aborted))
            ) {
                return;
            }
            let written = by_partition(partitions.as_ref(), participants);
            let decided = Decided::Aborted;
            let resolve = |partition| (partition, Request::Resolve { txn, decided });
            partitions.call_all(written.into_keys().map(resolve).collect()).await;
        });
    }
}

/// Tells primaries what is resolved, of many transactions at once: nobody waits for it, and each entry costs as much as a write.
pub(super) async fn forget(partitions: Arc<dyn Partitions>, mut resolved: mpsc::Receiver<(PartitionId, Resolved)>) {
    let mut batch = Vec::new();
    while resolved.recv_many(&mut batch, MAX_FORGOTTEN).await > 0 {
        sleep(FORGET_TOGETHER).await;
        while batch.len() < MAX_FORGOTTEN
            && let Ok(more) = resolved.try_recv()
        {
            batch.push(more);
        }
        let mut by_home: BTreeMap<PartitionId, Vec<Resolved>> = BTreeMap::new();
        for (home, resolved) in batch.drain(..) {
            by_home.entry(home).or_default().push(resolved);
        }
        let requests = by_home
            .into_iter()
            .map(|(home, resolved)| (home, Request::Forget(resolved)));
        partitions.call_all(requests.collect()).await;
    }
}

/// Written slots by the partition that holds them now.
pub fn by_partition(partitions: &dyn Partitions, slots: BTreeSet<u16>) -> BTreeMap<PartitionId, BTreeSet<u16>> {
    let mut grouped: BTreeMap<PartitionId, BTreeSet<u16>> = BTreeMap::new();
    for slot in slots {
        grouped.entry(partitions.partition_of(slot)).or_default().insert(slot);
    }
    grouped
}
