//! Which transactions that may have left intents are under way in this process. Somebody who waits for one asks here whether it is
//! worth waiting: nobody carries on what is not in here, after an end by an error or a restart.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kotoba_state::partition::TxnId;

/// Shared by the coordinator, whose transactions they are, and those who answer for it.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<BTreeSet<TxnId>>);

/// One of them, until it is dropped.
pub(super) struct Begun {
    under_way: Arc<UnderWay>,
    txn: TxnId,
}

impl UnderWay {
    pub fn has(&self, txn: TxnId) -> bool {
        self.lock().contains(&txn)
    }

    pub(super) fn begin(self: &Arc<Self>, txn: TxnId) -> Begun {
        self.lock().insert(txn);
        Begun {
            under_way: self.clone(),
            txn,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<TxnId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.txn);
    }
}
