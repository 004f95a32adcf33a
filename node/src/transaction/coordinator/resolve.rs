//! After the outcome: secondaries are resolved in the background, so that readers do not have to.
//!
//! Nothing waits for it, and a crash in the middle loses nothing: whoever meets what is left finishes it.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use kotoba_state::ids::{PartitionId, Timestamp};
use kotoba_state::partition::{Decided, Push, TxnHead, TxnStatus, slot_of};

use super::Coordinator;
use crate::transaction::boundary::Partitions;
use crate::transaction::message::{Reply, Request};

impl Coordinator {
    pub(super) fn resolve_in_background(&self, head: TxnHead, participants: BTreeSet<u16>, at: Timestamp) {
        let Ok(permit) = self.resolving.clone().try_acquire_owned() else {
            return;
        };
        let partitions = self.partitions.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let txn = head.txn;
            let home = partitions.partition_of(slot_of(&head.primary));
            let mut elsewhere = by_partition(partitions.as_ref(), participants);
            elsewhere.remove(&home);
            let calls = elsewhere.into_iter().map(|(partition, slots)| {
                let partitions = &partitions;
                async move {
                    let decided = Decided::Committed(at);
                    let reply = partitions.call(partition, Request::Resolve { txn, decided }).await;
                    matches!(reply, Ok(Reply::Resolved)).then_some(slots)
                }
            });
            let resolved: BTreeSet<u16> = join_all(calls).await.into_iter().flatten().flatten().collect();
            if !resolved.is_empty() {
                // What is not forgotten now is found again by the primary's maintenance.
                let _ = partitions.call(home, Request::Forget { txn, resolved }).await;
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
            let calls = written.into_keys().map(|partition| {
                let decided = Decided::Aborted;
                partitions.call(partition, Request::Resolve { txn, decided })
            });
            join_all(calls).await;
        });
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
