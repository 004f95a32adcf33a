//! Where batches go: into a cluster, or nowhere when a load is only checked.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use kotoba_proto::v1::Operation;
use kotoba_proto::{ClusterError, KotobaCluster};

pub(super) trait Sink {
    /// Creates all of a batch or nothing; gives the new ids in order. Where nothing was applied it asks again by itself.
    fn send(&self, operations: Vec<Operation>) -> impl Future<Output = Result<Vec<u64>, ClusterError>>;

    /// Over how many partitions the graph is spread.
    fn partitions(&self) -> impl Future<Output = Result<u32, ClusterError>>;
}

impl Sink for KotobaCluster {
    async fn send(&self, operations: Vec<Operation>) -> Result<Vec<u64>, ClusterError> {
        let outcomes = self.execute_operations(operations).await?;
        Ok(outcomes.into_iter().map(|outcome| outcome.id).collect())
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
    async fn send(&self, operations: Vec<Operation>) -> Result<Vec<u64>, ClusterError> {
        let count = operations.len() as u64;
        let first = self.given.fetch_add(count, Ordering::Relaxed);
        Ok((first..first + count).collect())
    }

    async fn partitions(&self) -> Result<u32, ClusterError> {
        Ok(1)
    }
}
