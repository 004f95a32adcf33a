//! Where batches go: into a cluster, or nowhere when a load is only checked.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use kotoba_proto::v1::Operation;
use kotoba_proto::{ClusterError, KotobaCluster, RequestNumber};

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The new ids, in order.
    pub ids: Vec<u64>,
    /// A timestamp from after that.
    pub bookmark: u64,
}

pub(super) trait Sink {
    /// Creates all of a batch or nothing, under a number if it has one. Where nothing was applied it asks again by itself.
    fn send(
        &self,
        number: Option<RequestNumber>,
        operations: Vec<Operation>,
    ) -> impl Future<Output = Result<Answer, ClusterError>>;

    /// Over how many partitions the graph is spread.
    fn partitions(&self) -> impl Future<Output = Result<u32, ClusterError>>;
}

impl Sink for KotobaCluster {
    async fn send(&self, number: Option<RequestNumber>, operations: Vec<Operation>) -> Result<Answer, ClusterError> {
        let outcomes = match number {
            Some(number) => self.execute_numbered(number, operations).await?,
            None => self.execute_operations(operations).await?,
        };
        Ok(Answer {
            bookmark: outcomes.first().map_or(0, |outcome| outcome.bookmark),
            ids: outcomes.into_iter().map(|outcome| outcome.id).collect(),
        })
    }

    async fn partitions(&self) -> Result<u32, ClusterError> {
        Ok(self.get_cluster_config().await?.partition_count)
    }
}

/// Makes up ids, so that relationships can be checked against nodes.
#[derive(Debug, Default)]
pub(super) struct DryRun {
    given: AtomicU64,
}

impl Sink for DryRun {
    async fn send(&self, _: Option<RequestNumber>, operations: Vec<Operation>) -> Result<Answer, ClusterError> {
        let count = operations.len() as u64;
        let first = self.given.fetch_add(count, Ordering::Relaxed);
        Ok(Answer {
            ids: (first..first + count).collect(),
            bookmark: 0,
        })
    }

    async fn partitions(&self) -> Result<u32, ClusterError> {
        Ok(1)
    }
}
