//! Where peers' lanes end: checks who speaks, and hands each message to the replica it is for.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kotoba_proto::v1::raft_service_server::{RaftService, RaftServiceServer};
use kotoba_proto::v1::{Envelope, FetchSnapshotRequest, Frame, RaftMessage, SnapshotAnswer, SnapshotBlock};
use kotoba_state::ids::MemberId;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::dial::{CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW_BYTES};
use super::registry::Registry;
use super::transport::Transport;
use super::{FRAME_MESSAGES, LANE_QUEUE, MAX_FRAME_BYTES, WIRE_FORMAT, frames, gather, serve_append, serve_control};
use crate::raft::room::DiskRoom;
use crate::raft::snapshot;
use crate::raft::state::StateView;
use crate::raft::types::Vote;

/// A peer that connects and says nothing is let go.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls of one connection at a time: three lanes, and room for what else is served beside them.
const MAX_CALLS_PER_CONNECTION: usize = 256;
/// Snapshots this member takes in at a time: each fills the disk.
const MAX_SNAPSHOTS_RECEIVED: usize = 2;
/// Snapshots this member gives at a time to those who ask for one: each reads a whole state.
const MAX_SNAPSHOTS_GIVEN: usize = 1;
/// A leader that no majority confirms by then gives no state.
const LEADERSHIP_PROOF_TIMEOUT: Duration = Duration::from_secs(5);

/// Who this member is, and what runs here.
pub struct RaftEndpoint {
    cluster_id: Arc<str>,
    member: MemberId,
    registry: Arc<Registry>,
    room: Arc<dyn DiskRoom>,
    snapshots: Arc<Semaphore>,
    given: Arc<Semaphore>,
    transport: Arc<Transport>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

/// Answers of a lane.
type Frames = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;
/// A snapshot that was asked for.
type Blocks = Pin<Box<dyn Stream<Item = Result<SnapshotBlock, Status>> + Send>>;

impl RaftEndpoint {
    pub fn new(
        cluster_id: Arc<str>,
        member: MemberId,
        registry: Arc<Registry>,
        transport: Arc<Transport>,
        room: Arc<dyn DiskRoom>,
    ) -> Self {
        RaftEndpoint {
            cluster_id,
            member,
            registry,
            room,
            snapshots: Arc::new(Semaphore::new(MAX_SNAPSHOTS_RECEIVED)),
            given: Arc::new(Semaphore::new(MAX_SNAPSHOTS_GIVEN)),
            transport,
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        }
    }

    /// The service with its limits, to be mounted on the peer port.
    pub fn into_service(self: Arc<Self>) -> RaftServiceServer<Self> {
        RaftServiceServer::from_arc(self)
            .max_decoding_message_size(MAX_FRAME_BYTES)
            .max_encoding_message_size(MAX_FRAME_BYTES)
    }

    /// Ends all lanes that peers opened.
    pub async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Whether the sender means this member of this cluster, in words we know.
    fn check(&self, envelope: Option<&Envelope>) -> Result<(), Status> {
        let refused = |reason: String| Err(Status::failed_precondition(reason));
        let Some(envelope) = envelope else {
            return refused("the first message says not who sends it".to_owned());
        };
        if envelope.cluster_id != *self.cluster_id {
            return refused(format!(
                "this member belongs to cluster {}, not to {}: two clusters share an address",
                self.cluster_id, envelope.cluster_id
            ));
        }
        if envelope.to_member_id != self.member.0 {
            return refused(format!(
                "this is member {}, not member {}: its address is out of date",
                self.member, envelope.to_member_id
            ));
        }
        if envelope.format != WIRE_FORMAT {
            return refused(format!(
                "this member speaks format {WIRE_FORMAT} of the peer protocol, not {}: upgrade one version at a time",
                envelope.format
            ));
        }
        Ok(())
    }

    /// A durable view of a group's state, and the vote under which it is given: only by a leader that proves to be one.
    async fn leading_state(&self, group: u64) -> Result<(StateView, Vote), Status> {
        let replica = self.registry.of_group(group).map_err(Status::not_found)?;
        let proof = replica.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match tokio::time::timeout(LEADERSHIP_PROOF_TIMEOUT, proof).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Status::failed_precondition(error.to_string())),
            Err(_) => return Err(Status::unavailable("no majority confirms this leader")),
        }
        let vote = replica.raft.metrics().borrow_watched().vote;
        let view = tokio::task::spawn_blocking(move || replica.state.durable_view()).await;
        match view {
            Ok(Ok(view)) => Ok((view, vote)),
            Ok(Err(error)) => Err(Status::internal(error.to_string())),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }

    /// Checks the first frame and runs the lane in a task of its own; its answers are the response.
    async fn open_lane<Serve, Run>(
        &self,
        request: Request<Streaming<Frame>>,
        serve: Serve,
    ) -> Result<Response<Frames>, Status>
    where
        Serve: FnOnce(Arc<Registry>, Messages, mpsc::Sender<RaftMessage>) -> Run,
        Run: Future<Output = ()> + Send + 'static,
    {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(FIRST_FRAME_TIMEOUT, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the first frame did not come"))??;
        let first = first.ok_or_else(|| Status::invalid_argument("the lane ends before its first frame"))?;
        self.check(first.envelope.as_ref())?;
        let (answers, queued) = mpsc::channel(LANE_QUEUE);
        let messages = Messages {
            incoming,
            first: first.messages,
        };
        let run = serve(self.registry.clone(), messages, answers);
        let closed = self.closed.child_token();
        self.tasks
            .spawn(async move { closed.run_until_cancelled_owned(run).await });
        Ok(Response::new(Box::pin(answer_frames(queued).map(Ok))))
    }
}

/// Messages of a lane, as they come.
pub struct Messages {
    incoming: Streaming<Frame>,
    first: Vec<RaftMessage>,
}

impl Messages {
    /// The messages of the next frame; `None` when the lane ends.
    pub async fn next(&mut self) -> Option<Vec<RaftMessage>> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        let frame = self.incoming.message().await.ok()??;
        Some(frame.messages)
    }
}

/// Packs what is queued at a time into as few frames as may be.
fn answer_frames(queued: mpsc::Receiver<RaftMessage>) -> impl Stream<Item = Frame> + Send {
    let batches = futures::stream::unfold(queued, |mut queued| async move {
        let mut batch = Vec::with_capacity(FRAME_MESSAGES);
        let is_open = gather(&mut queued, &mut batch).await;
        is_open.then(|| (futures::stream::iter(frames(batch)), queued))
    });
    batches.flatten()
}

#[tonic::async_trait]
impl RaftService for RaftEndpoint {
    type ControlStream = Frames;
    type ReplicateStream = Frames;
    type FetchSnapshotStream = Blocks;

    async fn control(&self, request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        self.open_lane(request, serve_control::serve).await
    }

    async fn replicate(&self, request: Request<Streaming<Frame>>) -> Result<Response<Frames>, Status> {
        let room = self.room.clone();
        let serve = |registry, messages, answers| serve_append::serve(registry, room, messages, answers);
        self.open_lane(request, serve).await
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotBlock>>,
    ) -> Result<Response<SnapshotAnswer>, Status> {
        if !self.room.takes_snapshots() {
            return Err(Status::resource_exhausted(
                "the disk of this member is full: it takes no snapshot before there is room",
            ));
        }
        let Ok(_permit) = self.snapshots.clone().try_acquire_owned() else {
            return Err(Status::resource_exhausted(format!(
                "this member takes {MAX_SNAPSHOTS_RECEIVED} snapshots at a time; try again later"
            )));
        };
        let receive = snapshot::receive(&self.registry, request.into_inner(), |envelope| self.check(envelope));
        let answer = self.closed.run_until_cancelled(receive).await;
        answer
            .unwrap_or_else(|| Err(Status::unavailable("this member shuts down")))
            .map(Response::new)
    }

    async fn fetch_snapshot(&self, request: Request<FetchSnapshotRequest>) -> Result<Response<Blocks>, Status> {
        let request = request.into_inner();
        self.check(request.envelope.as_ref())?;
        let Ok(turn) = self.given.clone().try_acquire_owned() else {
            return Err(Status::resource_exhausted(
                "another snapshot is being given; try again later",
            ));
        };
        let (view, vote) = self.leading_state(request.group).await?;
        let blocks = snapshot::serve(view, vote, self.transport.clone(), turn);
        let closed = self.closed.clone().cancelled_owned();
        Ok(Response::new(Box::pin(blocks.take_until(closed))))
    }
}

/// A server with the limits that lanes need; other peer services may be mounted beside.
pub fn peer_server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .concurrency_limit_per_connection(MAX_CALLS_PER_CONNECTION)
        .max_concurrent_streams(u32::try_from(MAX_CALLS_PER_CONNECTION).ok())
}
