//! Other transactions in the way: asking their primaries how they ended, making them end, and clearing what they left.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use kotoba_state::ids::Timestamp;
use kotoba_state::partition::{Command, Decided, Known, MetIntent, Push, Settled, TxnHead, TxnId, TxnStatus, slot_of};
use tokio::time::sleep;

use super::PartitionLeader;
use super::together::Doing;
use crate::transaction::boundary::CallError;
use crate::transaction::message::{Failure, Reply, Request};

/// A transaction that is met in the middle mostly ends within one Raft round: a moment's patience saves pushing it.
const PATIENCE: Duration = Duration::from_millis(5);
/// Between two questions about a transaction that can be neither pushed nor rolled back yet.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// What came of looking at the transactions in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transaction) enum Met {
    /// All were decided, and nothing of them is left here.
    Cleared,
    /// At least one is open.
    Open,
}

/// How a transaction ended, for a reader.
pub(super) enum Ended {
    Known(Settled),
    /// Its record is collected: rolled back, or committed and resolved in the log.
    Gone,
}

impl PartitionLeader {
    /// Learns what a reader at `snapshot` has to know of the transactions it met; decided ones are cleared behind it.
    pub(super) async fn settle_for_reading(
        &self,
        intents: Vec<MetIntent>,
        snapshot: Timestamp,
        known: &mut Known,
    ) -> Result<(), Failure> {
        let ended = self.ended(intents, snapshot).await?;
        known.extend(ended.into_iter().map(|(txn, ended)| match ended {
            Ended::Known(settled) => (txn, settled),
            // The view is opened anew after this answer, and what is still an intent there was rolled back.
            Ended::Gone => (txn, Settled::RolledBack),
        }));
        Ok(())
    }

    /// How the transactions of these intents ended, as far as a reader at `snapshot` has to know.
    pub(super) async fn ended(
        &self,
        intents: Vec<MetIntent>,
        snapshot: Timestamp,
    ) -> Result<Vec<(TxnId, Ended)>, Failure> {
        let asked = heads(intents).into_values().map(|head| async move {
            let ended = self.settle(&head, snapshot).await?;
            Ok::<_, Failure>((head.txn, ended))
        });
        try_join_all(asked).await
    }

    async fn settle(&self, head: &TxnHead, snapshot: Timestamp) -> Result<Ended, Failure> {
        let mut push = Push::None;
        loop {
            match self.ask(head, push).await? {
                TxnStatus::Committed(at) => {
                    self.clear(head.txn, Decided::Committed(at)).await;
                    return Ok(Ended::Known(Settled::Committed(at)));
                }
                TxnStatus::Aborted => {
                    self.clear(head.txn, Decided::Aborted).await;
                    return Ok(Ended::Known(Settled::RolledBack));
                }
                TxnStatus::Gone => {
                    self.clear(head.txn, Decided::Aborted).await;
                    return Ok(Ended::Gone);
                }
                TxnStatus::PendingAbove(above) => return Ok(Ended::Known(Settled::Above(above))),
                TxnStatus::Pending => {
                    push = match push {
                        Push::None => {
                            sleep(PATIENCE).await;
                            Push::MinCommit(snapshot)
                        }
                        Push::MinCommit(_) | Push::AbortExpired | Push::Abort => {
                            sleep(ASK_AGAIN_AFTER).await;
                            Push::AbortExpired
                        }
                    };
                }
            }
        }
    }

    /// Clears what decided transactions left; says whether others are open. Expired ones are rolled back.
    pub(in crate::transaction) async fn resolve_decided(&self, intents: Vec<MetIntent>) -> Result<Met, Failure> {
        let asked = heads(intents).into_values().map(|head| async move {
            Ok::<_, Failure>(match self.ask(&head, Push::AbortExpired).await? {
                TxnStatus::Committed(at) => {
                    self.clear(head.txn, Decided::Committed(at)).await;
                    Met::Cleared
                }
                TxnStatus::Aborted | TxnStatus::Gone => {
                    self.clear(head.txn, Decided::Aborted).await;
                    Met::Cleared
                }
                TxnStatus::Pending | TxnStatus::PendingAbove(_) => Met::Open,
            })
        });
        let met = join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(match met.contains(&Met::Open) {
            true => Met::Open,
            false => Met::Cleared,
        })
    }

    pub(in crate::transaction) async fn ask(&self, head: &TxnHead, push: Push) -> Result<TxnStatus, Failure> {
        let primary = self.partitions.partition_of(slot_of(&head.primary));
        let request = Request::CheckTxn {
            head: head.clone(),
            push,
        };
        match self.partitions.call(primary, request).await {
            Ok(Reply::Status(status)) => Ok(status),
            Ok(other) => Err(Failure::Broken(format!("{other:?} is no answer to a status check"))),
            Err(CallError::Failed(failure @ Failure::Broken(_))) => Err(failure),
            Err(error) => Err(Failure::Busy(format!(
                "the primary of transaction {} does not answer: {error}",
                head.txn
            ))),
        }
    }

    /// Turns a decided transaction's intents here into versions, or drops them, once for all who met them. A failure leaves them
    /// to the next, and so does a replica that does not lead.
    async fn clear(&self, txn: TxnId, decided: Decided) {
        match self.clearing.begin(txn) {
            Doing::Mine(_mine) => drop(self.propose(&Command::ResolveIntents { txn, decided }).await),
            Doing::Another(another) => another.ended().await,
        }
    }
}

/// Each transaction once, however many of its intents were met.
fn heads(intents: Vec<MetIntent>) -> BTreeMap<TxnId, TxnHead> {
    intents
        .into_iter()
        .map(|met| (met.intent.head.txn, met.intent.head))
        .collect()
}
