//! The client port's service with a clock beside it: passes every call on, and notes how long it took and how it ended.

use std::pin::Pin;

use kotoba_proto::v1::cluster_service_server::ClusterService;
use kotoba_proto::v1::{
    CheckHealthRequest, CheckHealthResponse, ClusterEvent, ExecuteOperationRequest, ExecuteOperationResponse,
    ExecuteQueryRequest, ExecuteQueryResponse, GetClusterConfigRequest, GetClusterConfigResponse, GetHistoryRequest,
    GetHistoryResponse, GetStatusRequest, GetStatusResponse, JoinClusterRequest, JoinClusterResponse,
    LeaveClusterRequest, LeaveClusterResponse, SubscribeEventsRequest,
};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::service::ClientEndpoint;
use crate::metrics::Requests;

/// The service that is served.
#[derive(Clone)]
pub struct Measured {
    endpoint: ClientEndpoint,
    requests: Requests,
}

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Measured {
    pub fn new(endpoint: ClientEndpoint) -> Self {
        let requests = endpoint.process.requests.clone();
        Measured { endpoint, requests }
    }

    async fn call<T>(&self, method: &'static str, call: impl Future<Output = Answer<T>>) -> Answer<T> {
        let _timer = self.requests.begin(method);
        call.await.inspect_err(|status| self.requests.failed(method, status))
    }
}

#[tonic::async_trait]
impl ClusterService for Measured {
    type ExecuteQueryStream = Streamed<ExecuteQueryResponse>;
    type SubscribeEventsStream = Streamed<ClusterEvent>;

    async fn execute_operation(&self, request: Request<ExecuteOperationRequest>) -> Answer<ExecuteOperationResponse> {
        let operations = request.get_ref().operations.len() as u64;
        let call = self.endpoint.execute_operation(request);
        let answer = self.call("ExecuteOperation", call).await;
        match &answer {
            Ok(_) => self.requests.operations_processed.inc_by(operations),
            Err(_) => self.requests.operations_failed.inc_by(operations),
        };
        answer
    }

    /// Ends with its stream, also where that is dropped because the client is gone.
    async fn execute_query(&self, request: Request<ExecuteQueryRequest>) -> Answer<Self::ExecuteQueryStream> {
        const METHOD: &str = "ExecuteQuery";
        let requests = self.requests.clone();
        let timer = requests.begin(METHOD);
        let answer = self.endpoint.execute_query(request).await;
        let answer = answer.inspect_err(|status| requests.failed(METHOD, status))?;
        Ok(answer.map(|parts| -> Self::ExecuteQueryStream {
            Box::pin(parts.map(move |part| {
                let _until_the_end = &timer;
                match &part {
                    Ok(part) => drop(requests.query_rows.inc_by(part.rows.len() as u64)),
                    Err(status) => requests.failed(METHOD, status),
                }
                part
            }))
        }))
    }

    async fn get_history(&self, request: Request<GetHistoryRequest>) -> Answer<GetHistoryResponse> {
        self.call("GetHistory", self.endpoint.get_history(request)).await
    }

    async fn get_status(&self, request: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        self.call("GetStatus", self.endpoint.get_status(request)).await
    }

    async fn check_health(&self, request: Request<CheckHealthRequest>) -> Answer<CheckHealthResponse> {
        self.call("CheckHealth", self.endpoint.check_health(request)).await
    }

    /// Open for as long as its client likes, so its time says nothing.
    async fn subscribe_events(&self, request: Request<SubscribeEventsRequest>) -> Answer<Self::SubscribeEventsStream> {
        const METHOD: &str = "SubscribeEvents";
        let requests = self.requests.clone();
        let answer = self.endpoint.subscribe_events(request).await;
        let answer = answer.inspect_err(|status| requests.failed(METHOD, status))?;
        let subscriber = Subscriber::new(requests);
        Ok(answer.map(|events| -> Self::SubscribeEventsStream {
            Box::pin(events.map(move |event| event.inspect_err(|status| subscriber.0.failed(METHOD, status))))
        }))
    }

    async fn join_cluster(&self, request: Request<JoinClusterRequest>) -> Answer<JoinClusterResponse> {
        self.call("JoinCluster", self.endpoint.join_cluster(request)).await
    }

    async fn leave_cluster(&self, request: Request<LeaveClusterRequest>) -> Answer<LeaveClusterResponse> {
        self.call("LeaveCluster", self.endpoint.leave_cluster(request)).await
    }

    async fn get_cluster_config(&self, request: Request<GetClusterConfigRequest>) -> Answer<GetClusterConfigResponse> {
        let call = self.endpoint.get_cluster_config(request);
        self.call("GetClusterConfig", call).await
    }
}

/// Counted while its stream is open.
struct Subscriber(Requests);

impl Subscriber {
    fn new(requests: Requests) -> Self {
        requests.event_subscribers.inc();
        Subscriber(requests)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.event_subscribers.dec();
    }
}
