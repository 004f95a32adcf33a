//! After the outcome: secondaries are resolved in the background, so that readers do not have to.
//!
//! Nothing waits for it, and a crash in the middle loses nothing: whoever meets what is left finishes it.

use std::collections::{BTreeMap, BTreeSet};

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
            let decided = Decided::Committed(at);
            let resolve = |partition: &PartitionId| (*partition, Request::Resolve { txn, decided });
            let replies = partitions.call_all(elsewhere.keys().map(resolve).collect()).await;
            let answered = elsewhere.into_values().zip(replies);
            let resolved: BTreeSet<u16> = answered
                .filter(|(_, reply)| matches!(reply, Ok(Reply::Resolved)))
                .flat_map(|(slots, _)| slots)
                .collect();
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
            let decided = Decided::Aborted;
            let resolve = |partition| (partition, Request::Resolve { txn, decided });
            partitions.call_all(written.into_keys().map(resolve).collect()).await;
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
