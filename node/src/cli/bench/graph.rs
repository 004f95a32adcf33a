//! The nodes that a measurement creates and reads, and their deletion.

use futures::{StreamExt, TryStreamExt, stream};
use kotoba_proto::v1::{CreateEdge, CreateNode, DeleteNode, FindNodes, NodeRef, Operation};
use kotoba_proto::{ClusterError, KotobaCluster};
use rand::Rng;
use rand::distr::Alphanumeric;

use crate::cli::output::Format;
use crate::cli::progress::Bar;

/// What every run labels its nodes with.
pub(super) const LABEL: &str = "KotobaBench";
const EDGE_TYPE: &str = "KOTOBA_BENCH";
const EDGES_OF_A_NODE: usize = 4;
/// Nodes of one transaction, created together with their relationships to each other.
const NODES_TOGETHER: u32 = 100;
/// Nodes that are deleted in one transaction, each with its relationships.
const DELETED_TOGETHER: usize = 100;
const DELETED_AT_ONCE: u64 = 2_000;
const TRANSACTIONS_AT_ONCE: usize = 8;

/// What a run creates: nodes with a label of this run's own.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    label: String,
    value_bytes: usize,
}

impl Graph {
    pub(super) fn named_anew(value_bytes: usize) -> Self {
        Graph {
            label: format!("{LABEL}_{:08x}", rand::random::<u32>()),
            value_bytes,
        }
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// A node with a text of random letters, so that nothing can be compressed away.
    pub(super) fn node(&self) -> CreateNode {
        let letters = rand::rng().sample_iter(Alphanumeric).take(self.value_bytes);
        let value: String = letters.map(char::from).collect();
        CreateNode {
            labels: vec![LABEL.to_owned(), self.label.clone()],
            properties: [("value".to_owned(), value.into())].into(),
        }
    }

    /// Creates so many nodes with their relationships; gives their ids.
    pub(super) async fn create(
        &self,
        cluster: &KotobaCluster,
        count: u32,
        format: Format,
    ) -> Result<Vec<u64>, ClusterError> {
        let bar = Bar::start(format, count.into());
        let sizes = (0..count).step_by(NODES_TOGETHER as usize);
        let mut created = stream::iter(sizes.map(|from| {
            let size = NODES_TOGETHER.min(count - from) as usize;
            async move {
                let outcomes = cluster.execute_operations(self.together(size)).await?;
                Ok::<_, ClusterError>(outcomes.into_iter().take(size).map(|outcome| outcome.id))
            }
        }))
        .buffer_unordered(TRANSACTIONS_AT_ONCE);
        let mut ids = Vec::new();
        while let Some(some) = created.try_next().await? {
            ids.extend(some);
            bar.advance(ids.len() as u64, || "creating what is read".to_owned());
        }
        Ok(ids)
    }

    /// Nodes first, then what connects them.
    fn together(&self, size: usize) -> Vec<Operation> {
        let node = |index: usize| NodeRef::operation(u32::try_from(index).expect("at most some hundred nodes"));
        let edges = (0..size).flat_map(|from| {
            let target = move |_| rand::rng().random_range(0..size);
            (0..EDGES_OF_A_NODE).map(target).map(move |to| CreateEdge {
                r#type: EDGE_TYPE.to_owned(),
                source: Some(node(from)),
                target: Some(node(to)),
                properties: Default::default(),
            })
        });
        let nodes = (0..size).map(|_| self.node().into());
        nodes.chain(edges.map(Operation::from)).collect()
    }
}

/// Deletes all nodes with a label, and what hangs on them; gives how many.
pub(super) async fn clean(cluster: &KotobaCluster, label: &str, format: Format) -> Result<u64, ClusterError> {
    let find = FindNodes {
        label: label.to_owned(),
        ..FindNodes::default()
    };
    let bar = Bar::start(format, cluster.count(find.clone()).await?);
    let some = FindNodes {
        limit: DELETED_AT_ONCE,
        ..find
    };
    let mut deleted = 0;
    loop {
        let rows = cluster.fetch_rows(some.clone()).await?;
        let ids: Vec<u64> = rows.into_iter().filter_map(|row| Some(row.into_node()?.id)).collect();
        if ids.is_empty() {
            return Ok(deleted);
        }
        let mut deletions = stream::iter(ids.chunks(DELETED_TOGETHER).map(|ids| delete(cluster, ids)))
            .buffer_unordered(TRANSACTIONS_AT_ONCE);
        while let Some(count) = deletions.try_next().await? {
            deleted += count;
            bar.advance(deleted, || "deleting what was created".to_owned());
        }
    }
}

async fn delete(cluster: &KotobaCluster, ids: &[u64]) -> Result<u64, ClusterError> {
    let deletion = |id: &u64| {
        let delete = DeleteNode {
            id: *id,
            detach: true,
            ..DeleteNode::default()
        };
        delete.into()
    };
    let outcomes = cluster.execute_operations(ids.iter().map(deletion).collect()).await?;
    Ok(outcomes.len() as u64)
}
