//! Whether the member that coordinates a transaction still does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kotoba_proto::v1::GetTransactionRequest;
use kotoba_state::partition::TxnId;
use tokio::time::{Instant, timeout};

use super::Router;
use crate::transaction::CoordinatorSays;

/// A member that is well answers within this.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

impl Router {
    pub(super) async fn ask_who_coordinates(&self, txn: TxnId) -> CoordinatorSays {
        let down_for = self.groups.link_down_for(txn.member).unwrap_or_default();
        let begun = Instant::now();
        let is_under_way = match txn.member == self.peers.me() {
            true => Some(self.under_way.has(txn)),
            // It may have left many, and each would be asked about in vain.
            false if down_for >= ANSWERS_WITHIN => None,
            false => timeout(ANSWERS_WITHIN, self.ask_member_of(txn)).await.ok().flatten(),
        };
        match is_under_way {
            Some(true) => CoordinatorSays::UnderWay,
            Some(false) => CoordinatorSays::Ended,
            None => CoordinatorSays::Nothing {
                silent_for: begun.elapsed().max(down_for),
            },
        }
    }

    async fn ask_member_of(&self, txn: TxnId) -> Option<bool> {
        let mut client = self.peers.client(txn.member).ok()?;
        self.sent.fetch_add(1, Ordering::Relaxed);
        let request = GetTransactionRequest {
            envelope: self.peers.envelope(txn.member),
            incarnation: txn.incarnation,
            counter: txn.counter,
        };
        let answer = client.get_transaction(request).await.ok()?;
        Some(answer.into_inner().under_way)
    }
}
