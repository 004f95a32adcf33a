//! Calls that share a stream: as ordinary ones to those above, and no worse off when something goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kotoba_proto::calls::{CallChannel, CallServer};
use kotoba_proto::v1::call_service_server::CallServiceServer;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::peer_service_client::PeerServiceClient;
use kotoba_proto::v1::peer_service_server::{PeerService, PeerServiceServer};
use kotoba_proto::v1::*;
use kotoba_proto::{ClusterError, error};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};

const AMPLE: Duration = Duration::from_secs(10);

/// What the partition of a request asks a [`Member`] to do.
const ECHO: u32 = 0;
const REFUSE: u32 = 1;
const HANG: u32 = 2;
/// Says after how many bytes of its stream it could not go on.
const POUR: u32 = 3;
const WAIT_FOR_PERMIT: u32 = 4;
const PANIC: u32 = 5;

#[derive(Clone, Default)]
struct Member {
    begun: Arc<AtomicUsize>,
    hanging: Arc<AtomicUsize>,
    poured: Arc<AtomicUsize>,
    permits: Arc<tokio::sync::Notify>,
}

struct Hanging(Arc<AtomicUsize>);

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl PeerService for Member {
    async fn partition(&self, request: Request<PartitionRequest>) -> Result<Response<PartitionResponse>, Status> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let token = request.metadata().get("token").cloned();
        let request = request.into_inner();
        match request.partition {
            REFUSE => return Err(error::status(Kind::DiskFull, "no room")),
            HANG => {
                self.hanging.fetch_add(1, Ordering::SeqCst);
                let _hanging = Hanging(self.hanging.clone());
                std::future::pending::<()>().await;
            }
            PANIC => panic!("as the test asked"),
            WAIT_FOR_PERMIT => self.permits.notified().await,
            _ => {}
        }
        let mut answer = Response::new(PartitionResponse { body: request.body });
        if let Some(token) = token {
            answer.metadata_mut().insert("token", token);
        }
        Ok(answer)
    }

    type PartitionsStream = ReceiverStream<Result<PartitionsResponse, Status>>;

    /// As many answers as parts were asked for, each of the first part's body.
    async fn partitions(
        &self,
        request: Request<PartitionsRequest>,
    ) -> Result<Response<Self::PartitionsStream>, Status> {
        let parts = request.into_inner().parts;
        let (sender, answers) = mpsc::channel(1);
        let poured = self.poured.clone();
        tokio::spawn(async move {
            for (position, part) in parts.iter().enumerate() {
                let body = match part.partition {
                    POUR => vec![7; 100 << 10].into(),
                    _ => part.body.clone(),
                };
                let position = position as u32;
                if sender.send(Ok(PartitionsResponse { position, body })).await.is_err() {
                    return;
                }
                poured.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn assign(&self, _: Request<AssignRequest>) -> Result<Response<AssignResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn propose_meta(&self, _: Request<MetaCommand>) -> Result<Response<MetaAnswer>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn take_timestamps(
        &self,
        _: Request<TakeTimestampsRequest>,
    ) -> Result<Response<TakeTimestampsResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn get_meta_vote(&self, _: Request<GetMetaVoteRequest>) -> Result<Response<SavedVote>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn get_read_indexes(&self, _: Request<ReadIndexesRequest>) -> Result<Response<ReadIndexesResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn get_transaction(
        &self,
        _: Request<GetTransactionRequest>,
    ) -> Result<Response<GetTransactionResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn leader_status(&self, _: Request<LeaderStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn change_replicas(
        &self,
        _: Request<ChangeReplicasRequest>,
    ) -> Result<Response<ChangeReplicasResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
    async fn observe_replicas(
        &self,
        _: Request<ObserveReplicasRequest>,
    ) -> Result<Response<ObserveReplicasResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

struct Running {
    member: Member,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Of the server alone, so that it can die with its connections.
    runtime: Option<Runtime>,
    client: PeerServiceClient<CallChannel>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.die();
    }
}

impl Running {
    /// A member whose client has an open stream to it.
    async fn start() -> Self {
        let running = Self::start_with(true).await;
        running.until_together().await;
        running
    }

    async fn start_with(serves_calls: bool) -> Self {
        let (member, stop) = (Member::default(), CancellationToken::new());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let service = PeerServiceServer::new(member.clone());
        let calls = CallServiceServer::new(CallServer::new(service.clone(), AMPLE, stop.clone()));
        let stopped = stop.clone().cancelled_owned();
        let server = async move {
            let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
            let services = Server::builder()
                .add_service(service)
                .add_optional_service(serves_calls.then_some(calls));
            services.serve_with_incoming_shutdown(incoming, stopped).await
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let task = runtime.spawn(async move { server.await.unwrap() });
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let client = PeerServiceClient::new(CallChannel::new(channel, None));
        Running {
            member,
            stop,
            task,
            runtime: Some(runtime),
            client,
        }
    }

    fn die(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Calls until one goes on the stream.
    async fn until_together(&self) {
        let shared = async {
            while !self.client_is_together().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(AMPLE, shared).await.unwrap();
    }

    async fn client_is_together(&self) -> bool {
        let answer = self.client.clone().partition(request(ECHO, 1)).await.unwrap();
        // Only who takes an answer off the stream leaves this out.
        !answer.metadata().contains_key("date")
    }
}

fn request(partition: u32, bytes: usize) -> PartitionRequest {
    PartitionRequest {
        partition,
        body: vec![partition as u8; bytes].into(),
        ..PartitionRequest::default()
    }
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(AMPLE, waiting).await.unwrap();
}

#[tokio::test]
async fn an_answer_and_its_headers_come_back_as_of_an_ordinary_call() {
    let running = Running::start().await;
    let mut asked = Request::new(request(ECHO, 1_000));
    asked.metadata_mut().insert("token", "t".parse().unwrap());
    let answer = running.client.clone().partition(asked).await.unwrap();
    assert_eq!(answer.metadata().get("token").unwrap(), "t");
    assert_eq!(answer.into_inner().body.len(), 1_000);
}

#[tokio::test]
async fn an_error_comes_back_with_its_details() {
    let running = Running::start().await;
    let status = running.client.clone().partition(request(REFUSE, 1)).await.unwrap_err();
    assert_eq!(
        ClusterError::from_status(&status, "m:1"),
        ClusterError::DiskFull("no room".to_owned())
    );
    let unknown = running
        .client
        .clone()
        .assign(AssignRequest::default())
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_own_call_alone() {
    let running = Running::start().await;
    let mut client = running.client.clone();
    let waiting = tokio::spawn(async move { client.partition(request(WAIT_FOR_PERMIT, 5)).await });
    let status = running.client.clone().partition(request(PANIC, 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    running.member.permits.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().body.len(), 5);
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_ends_at_the_server() {
    let running = Running::start().await;
    let mut client = running.client.clone();
    let hanging = tokio::spawn(async move { client.partition(request(HANG, 1)).await });
    until(|| running.member.hanging.load(Ordering::SeqCst) == 1).await;
    hanging.abort();
    until(|| running.member.hanging.load(Ordering::SeqCst) == 0).await;
    assert!(running.client.clone().partition(request(ECHO, 1)).await.is_ok());
}

#[tokio::test]
async fn a_call_ends_at_the_deadline_that_its_client_names() {
    let running = Running::start().await;
    let mut asked = Request::new(request(HANG, 1));
    asked.set_timeout(Duration::from_millis(20));
    let status = running.client.clone().partition(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    until(|| running.member.hanging.load(Ordering::SeqCst) == 0).await;
}

/// A reader that does not go on holds up its own answer only, and that soon.
#[tokio::test]
async fn a_long_answer_waits_for_its_reader_and_others_do_not_wait_for_it() {
    let running = Running::start().await;
    const PARTS: usize = 100;
    let part = PartPartition {
        partition: POUR,
        ..PartPartition::default()
    };
    let long = PartitionsRequest {
        parts: vec![part; PARTS],
        ..PartitionsRequest::default()
    };
    let mut answers = running.client.clone().partitions(long).await.unwrap().into_inner();
    for _ in 0..100 {
        assert!(running.client.clone().partition(request(ECHO, 10)).await.is_ok());
    }
    let poured = running.member.poured.load(Ordering::SeqCst);
    assert!(poured < PARTS / 2, "{poured} parts were sent to one who reads none");
    let mut positions = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer.body.len(), 100 << 10);
        positions.push(answer.position as usize);
    }
    assert_eq!(positions, (0..PARTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn many_calls_at_once_are_each_answered_with_their_own() {
    let running = Running::start().await;
    let calls = (0..3_000_usize).map(|bytes| {
        let mut client = running.client.clone();
        tokio::spawn(async move {
            client
                .partition(request(ECHO, bytes))
                .await
                .unwrap()
                .into_inner()
                .body
                .len()
        })
    });
    let calls: Vec<_> = calls.collect();
    for (bytes, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_server_that_stops_answers_what_it_has_begun_and_the_client_is_told_of_the_rest() {
    let mut running = Running::start().await;
    let mut client = running.client.clone();
    let begun = running.member.begun.load(Ordering::SeqCst);
    let waiting = tokio::spawn(async move { client.partition(request(WAIT_FOR_PERMIT, 5)).await });
    until(|| running.member.begun.load(Ordering::SeqCst) > begun).await;
    running.stop.cancel();
    running.member.permits.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().body.len(), 5);
    tokio::time::timeout(AMPLE, &mut running.task).await.unwrap().unwrap();
    let late = running.client.clone().partition(request(ECHO, 1)).await.unwrap_err();
    assert_eq!(late.code(), Code::Unavailable, "{late}");
}

#[tokio::test]
async fn calls_whose_connection_is_lost_fail_at_once() {
    let mut running = Running::start().await;
    let mut client = running.client.clone();
    let hanging = tokio::spawn(async move { client.partition(request(HANG, 1)).await });
    until(|| running.member.hanging.load(Ordering::SeqCst) == 1).await;
    running.die();
    let status = tokio::time::timeout(AMPLE / 2, hanging)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    let failed = ClusterError::from_status(&status, "m:1");
    assert!(matches!(failed, ClusterError::NetworkError { .. }), "{failed:?}");
}

#[tokio::test]
async fn a_server_that_knows_of_no_streams_is_asked_call_by_call() {
    let running = Running::start_with(false).await;
    for _ in 0..20 {
        assert!(!running.client_is_together().await);
    }
}

#[tokio::test]
async fn a_large_request_is_an_ordinary_call() {
    let running = Running::start().await;
    let large = 1 << 20;
    let answer = running.client.clone().partition(request(ECHO, large)).await.unwrap();
    assert!(answer.metadata().contains_key("date"));
    assert_eq!(answer.into_inner().body.len(), large);
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_nothing_at_the_server() {
    let mut running = Running::start().await;
    let metrics = running.runtime.as_ref().unwrap().metrics();
    assert!(metrics.num_alive_tasks() > 1);
    let nowhere = CallChannel::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy(), None);
    running.client = PeerServiceClient::new(nowhere);
    // The one that accepts.
    until(|| metrics.num_alive_tasks() == 1).await;
}
