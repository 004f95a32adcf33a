//! Receives a snapshot: checks first, loads into a file that is not in use, and only then tells Raft.
//!
//! Until the last step nothing of the replica has changed, so whatever goes wrong on the way costs only the way.

use std::time::Duration;

use kotoba_proto::v1::{Envelope, SnapshotAnswer, SnapshotBlock};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::SnapshotResponse;
use tonic::{Status, Streaming};

use super::SnapshotData;
use super::block::Block;
use super::load::{LoadedFile, Loader};
use crate::raft::codec::{SnapshotHeader, from_bytes, to_bytes};
use crate::raft::network::{LocalReplica, Registry};
use crate::raft::state::StateError;
use crate::raft::types::{Snapshot, TypeConfig, Vote};

/// A sender that gives no block for this long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Takes one snapshot stream to its end.
pub async fn receive(
    registry: &Registry,
    mut blocks: Streaming<SnapshotBlock>,
    check: impl Fn(Option<&Envelope>) -> Result<(), Status>,
) -> Result<SnapshotAnswer, Status> {
    let first = next(&mut blocks).await?;
    check(first.envelope.as_ref())?;
    let replica = registry
        .find(first.group, first.to_replica)
        .map_err(Status::not_found)?;
    let header: SnapshotHeader =
        from_bytes(&first.header).map_err(|error| Status::invalid_argument(error.to_string()))?;
    if let Some(vote) = early_answer(&replica, &header) {
        return Ok(answer(vote));
    }
    tracing::info!(replica = %replica.key, meta = %header.meta, "a snapshot arrives");
    let loaded = load(&replica, &header, blocks).await?;
    let snapshot = Snapshot {
        meta: header.meta,
        snapshot: SnapshotData::Loaded(loaded),
    };
    match replica.raft.install_full_snapshot(header.vote, snapshot).await {
        Ok(response) => Ok(answer(response.vote)),
        Err(fatal) => Err(Status::unavailable(fatal.to_string())),
    }
}

/// An answer that needs no data: the sender no longer leads, or all of it is here already.
fn early_answer(replica: &LocalReplica, header: &SnapshotHeader) -> Option<Vote> {
    let vote = replica.raft.metrics().borrow_watched().vote;
    if vote > header.vote {
        return Some(vote);
    }
    let applied = replica.state.applied().log_id;
    (header.meta.last_log_id <= applied).then_some(header.vote)
}

async fn load(
    replica: &LocalReplica,
    header: &SnapshotHeader,
    blocks: Streaming<SnapshotBlock>,
) -> Result<LoadedFile, Status> {
    let (state, meta) = (replica.state.clone(), header.meta.clone());
    let loader = blocking(move || state.loader(&meta)).await?;
    load_all(loader, blocks).await
}

/// Takes blocks to the last one.
pub(super) async fn load_all(mut loader: Loader, mut blocks: Streaming<SnapshotBlock>) -> Result<LoadedFile, Status> {
    while !loader.is_complete() {
        let block = next(&mut blocks).await?;
        loader = blocking(move || add(loader, block)).await?;
    }
    blocking(|| loader.finish()).await
}

fn add(mut loader: Loader, block: SnapshotBlock) -> Result<Loader, StateError> {
    loader.add(&Block {
        pairs: block.pairs,
        checksum: block.checksum,
        total_pairs: block.total_pairs,
    })?;
    Ok(loader)
}

pub(super) async fn next(blocks: &mut Streaming<SnapshotBlock>) -> Result<SnapshotBlock, Status> {
    match tokio::time::timeout(IDLE_TIMEOUT, blocks.message()).await {
        Ok(block) => block?.ok_or_else(|| Status::data_loss("the snapshot ends before its last block")),
        Err(_) => Err(Status::deadline_exceeded("the next block did not come in time")),
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, Status> {
    let result = tokio::task::spawn_blocking(step).await;
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error @ StateError::Snapshot { .. })) => Err(Status::data_loss(error.to_string())),
        Ok(Err(error)) => {
            tracing::error!(%error, "a snapshot cannot be loaded");
            Err(Status::internal(error.to_string()))
        }
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

fn answer(vote: Vote) -> SnapshotAnswer {
    SnapshotAnswer {
        body: to_bytes(&SnapshotResponse::<TypeConfig>::new(vote)).into(),
    }
}
