//! Where a read of the store runs: a small one where it comes, for two changes of the thread cost more than it does.
//!
//! Where pages come from a disk that is slow, a small read would hold up all else that its thread has to do. So one that took
//! long sends those of the next moments to the blocking pool.

use std::fmt::Debug;
use std::time::Duration;

use kotoba_graph::read::Read;
use kotoba_state::partition::Span;
use tokio::time::Instant;

use super::{PartitionLeader, blocking};
use crate::transaction::avoided::Avoided;
use crate::transaction::message::Failure;

/// Longer than anything takes that is in memory.
const SLOW: Duration = Duration::from_millis(1);
/// How long nothing is tried where it comes after something was slow.
const AVOIDED_FOR: Duration = Duration::from_millis(100);
/// Most keys of a small read.
pub const SMALL_KEYS: usize = 64;
/// What a range counts for: most are of the edges of one node, and most nodes have few.
const KEYS_OF_A_RANGE: usize = 4;

/// How much a request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A few keys, or the edges of a few nodes.
    Small,
    Large,
}

/// What a read counts for.
pub fn keys_of(read: &Read) -> usize {
    match read {
        Read::Get { .. } => 1,
        Read::Scan { .. } => KEYS_OF_A_RANGE,
        Read::ScanSlots(_) => SMALL_KEYS + 1,
    }
}

impl Size {
    pub fn of(reads: &[Read]) -> Self {
        Size::of_keys(reads.iter().map(keys_of).sum())
    }

    /// Of single keys and spans that are looked at together.
    pub fn of_spans<'s>(keys: usize, spans: impl IntoIterator<Item = &'s Span>) -> Self {
        let inside = |span: &Span| match span {
            Span::Key(_) => 1,
            Span::Range { .. } => KEYS_OF_A_RANGE,
            Span::Slots { .. } => SMALL_KEYS + 1,
        };
        Size::of_keys(keys + spans.into_iter().map(inside).sum::<usize>())
    }

    fn of_keys(keys: usize) -> Self {
        match keys <= SMALL_KEYS {
            true => Size::Small,
            false => Size::Large,
        }
    }
}

impl PartitionLeader {
    /// Looks at a view: where it comes, or on the blocking pool.
    pub(super) async fn look_at<T: Send + 'static, E: Debug + Send + 'static>(
        &self,
        size: Size,
        look: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure> {
        match size {
            Size::Small => self.small_reads.run(look).await,
            Size::Large => blocking(look).await,
        }
    }
}

/// Runs the small reads of one partition.
#[derive(Default)]
pub struct SmallReads(Avoided);

impl SmallReads {
    async fn run<T: Send + 'static, E: Debug + Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure> {
        let begin = Instant::now();
        if self.0.at(begin) {
            return blocking(read).await;
        }
        let done = read();
        self.note(begin, begin.elapsed());
        done.map_err(|error| Failure::Broken(format!("{error:?}")))
    }

    fn note(&self, begin: Instant, took: Duration) {
        if took > SLOW {
            self.0.until(begin + took + AVOIDED_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_slow_read_none_is_done_where_it_comes_for_a_moment() {
        let reads = SmallReads::default();
        let begin = Instant::now();
        reads.note(begin, SLOW);
        assert!(!reads.0.at(begin));
        reads.note(begin, SLOW * 2);
        assert!(reads.0.at(begin + SLOW * 2));
        assert!(!reads.0.at(begin + SLOW * 2 + AVOIDED_FOR));
    }

    #[test]
    fn a_few_keys_and_ranges_are_small_and_whole_slots_are_not() {
        let get = || Read::Get { key: vec![1] };
        let scan = || Read::Scan {
            from: vec![1],
            to: vec![2],
            limit: Some(1),
            keys_only: true,
        };
        let times = |read: &dyn Fn() -> Read, count: usize| (0..count).map(|_| read()).collect::<Vec<_>>();
        assert_eq!(Size::of(&times(&get, SMALL_KEYS)), Size::Small);
        assert_eq!(Size::of(&times(&get, SMALL_KEYS + 1)), Size::Large);
        let ranges = SMALL_KEYS / KEYS_OF_A_RANGE;
        assert_eq!(Size::of(&times(&scan, ranges)), Size::Small);
        assert_eq!(Size::of(&times(&scan, ranges + 1)), Size::Large);
    }
}
