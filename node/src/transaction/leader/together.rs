//! What several ask for at once is done once: whoever comes while it is under way waits for that.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kotoba_state::partition::TxnId;
use tokio::sync::watch;

/// What is under way for transactions, one thing for each.
#[derive(Debug, Default)]
pub struct Together(Mutex<BTreeMap<TxnId, watch::Sender<()>>>);

/// Who does it.
#[derive(Debug)]
pub enum Doing<'a> {
    /// Whoever asked; it is over when this is dropped.
    Mine(Mine<'a>),
    Another(Another),
}

#[derive(Debug)]
pub struct Mine<'a> {
    together: &'a Together,
    txn: TxnId,
}

#[derive(Debug)]
pub struct Another(watch::Receiver<()>);

impl Together {
    pub fn begin(&self, txn: TxnId) -> Doing<'_> {
        let mut under_way = self.lock();
        if let Some(doing) = under_way.get(&txn) {
            return Doing::Another(Another(doing.subscribe()));
        }
        under_way.insert(txn, watch::Sender::new(()));
        Doing::Mine(Mine { together: self, txn })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TxnId, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Another {
    /// Waits until it is over, done or given up.
    pub async fn ended(mut self) {
        // Nothing is ever sent: it ends with its sender.
        while self.0.changed().await.is_ok() {}
    }
}

impl Drop for Mine<'_> {
    fn drop(&mut self) {
        self.together.lock().remove(&self.txn);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn txn(counter: u64) -> TxnId {
        TxnId {
            counter,
            ..TxnId::default()
        }
    }

    #[tokio::test]
    async fn who_comes_while_it_is_under_way_waits_for_its_end_and_who_comes_later_does_it_again() {
        let together = Together::default();
        let mine = together.begin(txn(1));
        assert!(matches!(mine, Doing::Mine(_)));
        assert!(matches!(together.begin(txn(2)), Doing::Mine(_)), "of another one");
        let Doing::Another(another) = together.begin(txn(1)) else {
            panic!("it is done twice")
        };
        let mut ended = Box::pin(another.ended());
        assert!(ended.as_mut().now_or_never().is_none());
        drop(mine);
        assert!(ended.now_or_never().is_some());
        assert!(matches!(together.begin(txn(1)), Doing::Mine(_)));
    }
}
