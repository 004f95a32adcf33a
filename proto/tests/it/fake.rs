//! A member that answers each call as its script says, and as a healthy member once the script is at its end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kotoba_proto::cluster::AFTER_POSITION_KEY;
use kotoba_proto::v1::cluster_service_server::{ClusterService, ClusterServiceServer};
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::*;
use kotoba_proto::{KotobaCluster, Options, error};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

#[derive(Clone, Debug)]
pub enum Answer {
    Fails(Kind),
    Redirects(String),
    /// A status without our detail, as a proxy or a dying process gives it.
    Bare(Code),
    Hangs,
    /// A stream that ends before it said that it is done.
    CutOff,
}

#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    pub operations: Arc<Mutex<Vec<ExecuteOperationRequest>>>,
    pub queries: Arc<Mutex<Vec<ExecuteQueryRequest>>>,
    calls: Arc<Mutex<usize>>,
}

/// A running fake; dropping it closes its port.
pub struct Fake {
    pub address: String,
    pub script: Script,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_at("127.0.0.1:0", answers).await
    }

    pub async fn start_at(address: &str, answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script = Script {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            ..Script::default()
        };
        let (stop, stopped) = oneshot::channel();
        let server = tonic::transport::Server::builder()
            .add_service(ClusterServiceServer::new(script.clone()))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await;
            });
        let task = tokio::spawn(async move { server.await.unwrap() });
        Fake {
            address,
            script,
            stop: Some(stop),
            task,
        }
    }

    /// Waits until every connection is closed in order.
    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.task.await.unwrap();
    }

    pub fn calls(&self) -> usize {
        *self.script.calls.lock().unwrap()
    }
}

/// Where a fake's events begin that it still has, and where those of now do.
pub const OLDEST_EVENT: u64 = 100;
pub const NEWEST_EVENT: u64 = 200;

/// An address at which nobody listens.
pub async fn refusing_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A listener that takes each connection, reads a little and closes it: the request may have been read.
pub async fn hanging_up() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut some = [0; 16];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut some).await;
        }
    });
    address
}

/// A client that loses patience soon enough for a test.
pub fn client(addresses: &[&str], deadline_ms: u64) -> KotobaCluster {
    let options = Options {
        deadline: Duration::from_millis(deadline_ms),
        unreachable_after: Duration::from_millis(deadline_ms),
        ..Options::default()
    };
    KotobaCluster::connect_with(&addresses.join(","), options).unwrap()
}

impl Script {
    /// Follows the script by one step; `Ok(true)` asks for a stream that is cut off.
    async fn step(&self) -> Result<bool, Status> {
        *self.calls.lock().unwrap() += 1;
        let next = self.answers.lock().unwrap().pop_front();
        match next {
            None => Ok(false),
            Some(Answer::CutOff) => Ok(true),
            Some(Answer::Fails(kind)) => Err(error::status(kind, "by script")),
            Some(Answer::Bare(code)) => Err(Status::new(code, "by script")),
            Some(Answer::Hangs) => std::future::pending().await,
            Some(Answer::Redirects(leader_address)) => {
                let detail = ErrorDetail {
                    kind: Kind::NotLeader.into(),
                    message: "by script".into(),
                    leader_address,
                    ..ErrorDetail::default()
                };
                Err(error::to_status(detail, Code::Unavailable))
            }
        }
    }
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn row(id: u64) -> Row {
    let node = Node { id, ..Node::default() };
    Row {
        kind: Some(row::Kind::Node(node)),
        depth: 0,
    }
}

/// The limit of a search for nodes.
fn limit_of(request: &ExecuteQueryRequest) -> u64 {
    match request.query.as_ref().and_then(|query| query.kind.as_ref()) {
        Some(query::Kind::FindNodes(find)) => find.limit,
        _ => 0,
    }
}

/// Three rows in pages of one, the cursor being the last row's number.
fn answer_a_page(request: &ExecuteQueryRequest) -> Vec<Result<ExecuteQueryResponse, Status>> {
    let id = request.cursor.first().copied().unwrap_or_default() + 1;
    vec![Ok(ExecuteQueryResponse {
        staleness_ms: 0,
        rows: vec![row(id.into())],
        snapshot: 77,
        row_count: 1,
        done: true,
        cursor: if id < 3 { vec![id].into() } else { vec![].into() },
    })]
}

/// Three rows in two messages; without the second message when cut off.
fn answer_in_batches(count_only: bool, cut_off: bool) -> Vec<Result<ExecuteQueryResponse, Status>> {
    let batch = |ids: &[u64], done| ExecuteQueryResponse {
        staleness_ms: 0,
        rows: if count_only {
            vec![]
        } else {
            ids.iter().copied().map(row).collect()
        },
        snapshot: 77,
        row_count: if done { 3 } else { 0 },
        done,
        ..ExecuteQueryResponse::default()
    };
    let mut messages = vec![Ok(batch(&[1, 2], false))];
    if !cut_off {
        messages.push(Ok(batch(&[3], true)));
    }
    messages
}

#[tonic::async_trait]
impl ClusterService for Script {
    type ExecuteQueryStream = Streamed<ExecuteQueryResponse>;
    type SubscribeEventsStream = Streamed<ClusterEvent>;

    async fn execute_operation(
        &self,
        request: Request<ExecuteOperationRequest>,
    ) -> Result<Response<ExecuteOperationResponse>, Status> {
        let request = request.into_inner();
        self.operations.lock().unwrap().push(request.clone());
        self.step().await?;
        let results = (0..request.operations.len() as u64).map(|index| OperationResult {
            id: 100 + index,
            cid: vec![1, 0x71, 0x1e, index as u8].into(),
        });
        let results = results.collect();
        Ok(Response::new(ExecuteOperationResponse {
            results,
            bookmark: 55,
            open_slots: None,
        }))
    }

    async fn execute_query(
        &self,
        request: Request<ExecuteQueryRequest>,
    ) -> Result<Response<Self::ExecuteQueryStream>, Status> {
        let cut_off = self.step().await?;
        let request = request.into_inner();
        let messages = match limit_of(&request) {
            0 => answer_in_batches(request.count_only, cut_off),
            _ => answer_a_page(&request),
        };
        self.queries.lock().unwrap().push(request);
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn get_status(&self, _request: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        self.step().await?;
        Ok(Response::new(GetStatusResponse {
            cluster_id: "c".into(),
            ..Default::default()
        }))
    }

    async fn check_health(
        &self,
        _request: Request<CheckHealthRequest>,
    ) -> Result<Response<CheckHealthResponse>, Status> {
        self.step().await?;
        Ok(Response::new(CheckHealthResponse {
            is_healthy: true,
            ..Default::default()
        }))
    }

    async fn subscribe_events(
        &self,
        request: Request<SubscribeEventsRequest>,
    ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
        self.step().await?;
        let after = request.into_inner().after_position.unwrap_or(NEWEST_EVENT);
        let is_lost = after > 0 && after < OLDEST_EVENT - 1;
        // Two at a time, and then the member goes away.
        let events = (after.max(OLDEST_EVENT - 1) + 1..)
            .take(2)
            .map(move |position| match is_lost {
                true => Err(error::events_lost(after, OLDEST_EVENT)),
                false => Ok(ClusterEvent {
                    position,
                    ..Default::default()
                }),
            });
        let mut answer: Response<Self::SubscribeEventsStream> = Response::new(Box::pin(tokio_stream::iter(events)));
        answer.metadata_mut().insert(AFTER_POSITION_KEY, after.into());
        Ok(answer)
    }

    async fn join_cluster(
        &self,
        _request: Request<JoinClusterRequest>,
    ) -> Result<Response<JoinClusterResponse>, Status> {
        self.step().await?;
        Ok(Response::new(JoinClusterResponse {
            member_id: 4,
            ..Default::default()
        }))
    }

    async fn get_history(&self, _request: Request<GetHistoryRequest>) -> Result<Response<GetHistoryResponse>, Status> {
        self.step().await?;
        Ok(Response::new(GetHistoryResponse::default()))
    }

    async fn leave_cluster(
        &self,
        _request: Request<LeaveClusterRequest>,
    ) -> Result<Response<LeaveClusterResponse>, Status> {
        self.step().await?;
        Ok(Response::new(LeaveClusterResponse {}))
    }

    async fn get_cluster_config(
        &self,
        _request: Request<GetClusterConfigRequest>,
    ) -> Result<Response<GetClusterConfigResponse>, Status> {
        self.step().await?;
        Ok(Response::new(GetClusterConfigResponse {
            partition_count: 16,
            ..Default::default()
        }))
    }
}
