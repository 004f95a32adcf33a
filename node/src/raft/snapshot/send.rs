//! Sends a snapshot: a header, then blocks from a pinned view, on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kotoba_proto::v1::SnapshotBlock;
use kotoba_state::store::StoreError;
use openraft::raft::SnapshotResponse;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::SnapshotData;
use super::block::{Block, each_block};
use crate::raft::codec::{CodecError, SnapshotHeader, from_bytes, to_bytes};
use crate::raft::counters::count;
use crate::raft::network::{DialError, Dialer, Route, Transport};
use crate::raft::state::StateView;
use crate::raft::types::{Snapshot, SnapshotMeta, TypeConfig, Vote};

/// Blocks read ahead of the stream.
const BLOCK_QUEUE: usize = 2;
/// A receiver that takes no block for this long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// From the last block to the answer: the receiver makes its file durable.
const FINISH_TIMEOUT: Duration = Duration::from_secs(120);

/// Why a snapshot did not arrive. It is tried again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("{0}")]
    Dial(#[from] DialError),
    #[error("the receiver refuses: {0}")]
    Refused(String),
    #[error("the receiver took no block for {} s", IDLE_TIMEOUT.as_secs())]
    Stalled,
    #[error("the receiver did not confirm the last block in {} s", FINISH_TIMEOUT.as_secs())]
    Unconfirmed,
    #[error("the state cannot be read: {0}")]
    Read(String),
    #[error("the answer cannot be read: {0}")]
    Answer(#[from] CodecError),
    #[error("a snapshot that was received cannot be sent on before it is installed")]
    NotInstalled,
}

/// Sends a snapshot and waits until it is installed. Waits for its turn first.
pub async fn send(
    transport: &Transport,
    dialer: &Dialer,
    route: Route,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<SnapshotResponse<TypeConfig>, SendError> {
    let SnapshotData::View(view) = snapshot.snapshot else {
        return Err(SendError::NotInstalled);
    };
    let _turn = transport
        .snapshots
        .acquire()
        .await
        .expect("the semaphore is never closed");
    let mut client = dialer.connect().await?;
    let header = SnapshotHeader {
        vote,
        meta: snapshot.meta,
    };
    let first = SnapshotBlock {
        envelope: Some(dialer.envelope()),
        group: route.from.group.number(),
        from_replica: route.from.replica.0,
        to_replica: route.to.0,
        header: to_bytes(&header).into(),
        ..SnapshotBlock::default()
    };
    let (blocks, queued) = mpsc::channel(BLOCK_QUEUE);
    let stream = tokio_stream::once(first).chain(ReceiverStream::new(queued));
    let is_cut = || dialer.is_cut().then(|| SendError::Dial(DialError::Cut(dialer.to)));
    let read = read_blocks(view, blocks, is_cut, transport);
    let answer = async {
        let answer = client.install_snapshot(stream).await;
        answer.map_err(|status| SendError::Refused(status.message().to_owned()))
    };
    let mut answer = std::pin::pin!(answer);
    let answer = tokio::select! {
        // An early answer: the receiver refuses, or knows all of it already.
        answer = &mut answer => answer?,
        read = read => {
            read?;
            tokio::time::timeout(FINISH_TIMEOUT, answer).await.map_err(|_| SendError::Unconfirmed)??
        }
    };
    count(&transport.counters().snapshots_sent);
    Ok(from_bytes(&answer.into_inner().body)?)
}

/// A snapshot as its receiver asked for it: the header, then all blocks.
pub fn serve(
    view: StateView,
    vote: Vote,
    transport: Arc<Transport>,
    turn: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<SnapshotBlock, Status>> + Send {
    let header = SnapshotHeader {
        vote,
        meta: meta_of(&view),
    };
    let first = SnapshotBlock {
        header: to_bytes(&header).into(),
        ..SnapshotBlock::default()
    };
    let (blocks, queued) = mpsc::channel(BLOCK_QUEUE);
    tokio::spawn(async move {
        let _turn = turn;
        // A receiver that is gone ends the reading; one that gets too little notices that the last block is missing.
        if let Err(error) = read_blocks(view, blocks, || None, &transport).await {
            tracing::warn!(%error, "a snapshot that was asked for was not sent whole");
        }
    });
    tokio_stream::once(first).chain(ReceiverStream::new(queued)).map(Ok)
}

/// Reads on the blocking pool and queues for the stream, with an eye on the pace.
async fn read_blocks(
    view: StateView,
    blocks: mpsc::Sender<SnapshotBlock>,
    is_cut: impl Fn() -> Option<SendError>,
    transport: &Transport,
) -> Result<(), SendError> {
    let (sender, mut read) = mpsc::channel(1);
    let reader = tokio::task::spawn_blocking(move || read_all(&view, &sender));
    while let Some(block) = read.recv().await {
        if let Some(error) = is_cut() {
            return Err(error);
        }
        let bytes = block.pairs.len();
        transport.snapshot_pace.take(bytes).await;
        match tokio::time::timeout(IDLE_TIMEOUT, blocks.send(block)).await {
            Ok(Ok(())) => {
                let sent = &transport.counters().snapshot_bytes_sent;
                sent.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            // The stream has ended; its answer says why.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(SendError::Stalled),
        }
    }
    match reader.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(SendError::Read(error.to_string())),
        Err(error) => Err(SendError::Read(error.to_string())),
    }
}

fn read_all(view: &StateView, sender: &mpsc::Sender<SnapshotBlock>) -> Result<(), StoreError> {
    each_block(view, |block| sender.blocking_send(on_wire(block)).is_ok())
}

fn on_wire(block: Block) -> SnapshotBlock {
    SnapshotBlock {
        pairs: block.pairs,
        checksum: block.checksum,
        total_pairs: block.total_pairs,
        header: Bytes::new(),
        ..SnapshotBlock::default()
    }
}

/// What a view holds, in the words of Raft.
pub fn meta_of(view: &StateView) -> SnapshotMeta {
    let applied = view.applied();
    SnapshotMeta {
        last_log_id: applied.log_id,
        last_membership: applied.membership.clone(),
    }
}
