//! The service on the client port. Any member answers; errors carry what a client library needs to act.

use std::pin::Pin;
use std::sync::Arc;

use futures::stream;
use kotoba_graph::query::Row;
use kotoba_proto::cluster::{AFTER_POSITION_KEY, ROUTE_KEY, SLOT_KEY};
use kotoba_proto::error::status;
use kotoba_proto::v1::cluster_service_server::ClusterService;
use kotoba_proto::v1::error_detail::Kind;
use kotoba_proto::v1::{
    CheckHealthRequest, CheckHealthResponse, ClusterEvent, ExecuteOperationRequest, ExecuteOperationResponse,
    ExecuteQueryRequest, ExecuteQueryResponse, GetClusterConfigRequest, GetClusterConfigResponse, GetHistoryRequest,
    GetHistoryResponse, GetStatusRequest, GetStatusResponse, JoinClusterRequest, JoinClusterResponse,
    LeaveClusterRequest, LeaveClusterResponse, SubscribeEventsRequest, Version,
};
use kotoba_state::ids::{MemberId, Timestamp};
use kotoba_state::meta::{Answer as MetaAnswer, Command};
use kotoba_state::placement::VIRTUAL_NODES;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use super::queries::PARTS_IN_FLIGHT;
use super::refusal::kind_of_refusal;
use super::{Ask, Gateway, OperationError, QueryError, RowBatch, convert, events, leaving, status as cluster_status};
use crate::member::Process;
use crate::member::running::Running;
use crate::to_the_end::to_the_end;
use crate::transaction::ReadError;

/// A join is logged by then, or the joiner asks again.
const JOIN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The client port's service.
#[derive(Clone)]
pub struct ClientEndpoint {
    pub process: Arc<Process>,
}

type Answer<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ClientEndpoint {
    fn member(&self) -> Result<Arc<Running>, Status> {
        self.process.running().ok_or_else(|| not_running(&self.process))
    }

    fn gateway(&self) -> Result<Arc<Gateway>, Status> {
        self.member()?
            .gateway()
            .ok_or_else(|| status(Kind::NoLeader, "this member waits for a leader of the meta group"))
    }

    /// What to tell a client that says which slot it asks about and could have asked the leader of it.
    fn way(&self, asked: &MetadataMap) -> Option<MetadataValue<Ascii>> {
        let slot = asked.get(SLOT_KEY)?.to_str().ok()?.parse().ok()?;
        self.process.running()?.router.way(slot)?.parse().ok()
    }
}

#[tonic::async_trait]
impl ClusterService for ClientEndpoint {
    type ExecuteQueryStream = Streamed<ExecuteQueryResponse>;
    type SubscribeEventsStream = Streamed<ClusterEvent>;

    async fn execute_operation(&self, request: Request<ExecuteOperationRequest>) -> Answer<ExecuteOperationResponse> {
        let gateway = self.gateway()?;
        let open_slots = Some(gateway.note_write());
        let way = self.way(request.metadata());
        let request = convert::operation_request(request.into_inner()).map_err(invalid)?;
        // Runs on where the client goes away: a commit must not be cut off in the middle.
        let outcome = to_the_end(async move { gateway.execute(request).await }).await;
        let outcome = outcome.map_err(|error| status(Kind::UnknownOutcome, error.to_string()))?;
        let outcome = outcome.map_err(operation_status)?;
        Ok(with_way(
            way,
            ExecuteOperationResponse {
                results: convert::results(&outcome.results),
                bookmark: outcome.bookmark.0,
                open_slots,
            },
        ))
    }

    async fn execute_query(&self, request: Request<ExecuteQueryRequest>) -> Answer<Self::ExecuteQueryStream> {
        let gateway = self.gateway()?;
        let way = self.way(request.metadata());
        let request = request.into_inner();
        let ask = Ask {
            reading: convert::reading(&request).map_err(invalid)?,
            query: convert::query(request.query).map_err(invalid)?,
            order: convert::order(request.order_by),
            cursor: request.cursor.into(),
            count_only: request.count_only,
        };
        let (sender, parts) = mpsc::channel(PARTS_IN_FLIGHT);
        let parts = begun_in_place(async move { gateway.query(ask, sender).await }, parts);
        let answer = parts.map(|part| part.map(part_of_answer).map_err(query_status));
        Ok(with_way(way, Box::pin(answer)))
    }

    async fn get_history(&self, request: Request<GetHistoryRequest>) -> Answer<GetHistoryResponse> {
        let gateway = self.gateway()?;
        let request = request.into_inner();
        let subject = convert::subject(&request).map_err(invalid)?;
        let as_of = Some(Timestamp(request.as_of)).filter(|at| at.0 > 0);
        let history = gateway.history(subject, as_of, request.limit).await;
        let history = history.map_err(query_status)?;
        let version = |(at, row): (Timestamp, Option<Row>)| Version {
            timestamp: at.0,
            row: row.map(convert::row),
        };
        Ok(Response::new(GetHistoryResponse {
            versions: history.versions.into_iter().map(version).collect(),
            more: history.more,
        }))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        let running = self.member()?;
        Ok(Response::new(cluster_status::gather(&running).await))
    }

    async fn check_health(&self, _: Request<CheckHealthRequest>) -> Answer<CheckHealthResponse> {
        let running = self.member()?;
        Ok(Response::new(cluster_status::health(
            &cluster_status::gather(&running).await,
        )))
    }

    async fn subscribe_events(&self, request: Request<SubscribeEventsRequest>) -> Answer<Self::SubscribeEventsStream> {
        let running = self.member()?;
        let newest = running.catalogue.watch_events();
        let after = request.into_inner().after_position.unwrap_or(*newest.borrow());
        let (sender, sent) = mpsc::channel(events::EVENTS_IN_FLIGHT);
        tokio::spawn(events::send(running.meta.clone(), newest, after, sender));
        // Nothing more happens here once the member is removed: the subscriber goes elsewhere.
        let sent = futures::StreamExt::take_until(ReceiverStream::new(sent), self.process.member_ended());
        let mut answer: Response<Self::SubscribeEventsStream> = Response::new(Box::pin(sent));
        answer.metadata_mut().insert(AFTER_POSITION_KEY, after.into());
        Ok(answer)
    }

    async fn join_cluster(&self, request: Request<JoinClusterRequest>) -> Answer<JoinClusterResponse> {
        let running = self.member()?;
        let request = request.into_inner();
        if request.disk_id.is_empty() || request.peer_address.is_empty() || request.client_address.is_empty() {
            return Err(status(
                Kind::Invalid,
                "a join needs disk_id, peer_address and client_address",
            ));
        }
        let command = Command::Join {
            disk_id: request.disk_id,
            peer_address: request.peer_address,
            client_address: request.client_address,
            zone: request.zone,
            name: request.name,
            version: request.version,
        };
        match running.meta_client.propose(&command, JOIN_TIMEOUT).await {
            Ok(MetaAnswer::Joined {
                cluster_id,
                member,
                state,
            }) => Ok(Response::new(JoinClusterResponse {
                cluster_id,
                member_id: member.0,
                state: cluster_status::member_state(state).into(),
            })),
            Ok(MetaAnswer::Refused(reason)) => Err(status(Kind::Refused, reason)),
            Ok(other) => Err(Status::internal(format!("the join was answered {other:?}"))),
            Err(error) => Err(status(Kind::NoLeader, error.to_string())),
        }
    }

    async fn leave_cluster(&self, request: Request<LeaveClusterRequest>) -> Answer<LeaveClusterResponse> {
        let running = self.member()?;
        let command = Command::Drain {
            member: MemberId(request.into_inner().member_id),
            then_remove: true,
        };
        leaving::propose(&running, &command).await?;
        Ok(Response::new(LeaveClusterResponse {}))
    }

    async fn get_cluster_config(&self, _: Request<GetClusterConfigRequest>) -> Answer<GetClusterConfigResponse> {
        let catalogue = self.member()?.catalogue.get();
        let settings = catalogue
            .settings
            .as_ref()
            .ok_or_else(|| status(Kind::NoLeader, "the catalogue has not reached this member yet"))?;
        Ok(Response::new(GetClusterConfigResponse {
            replication_factor: settings.replication_factor,
            partition_count: settings.partition_count,
            virtual_nodes: VIRTUAL_NODES,
            max_parallel_moves: settings.max_parallel_moves,
        }))
    }
}

/// The parts of an answer. What makes them runs where the first is waited for: most answers have no other. If there is more it
/// gets a task, and is ahead of whoever takes the parts.
fn begun_in_place<T>(
    work: impl Future<Output = ()> + Send + 'static,
    mut parts: mpsc::Receiver<T>,
) -> impl Stream<Item = T> {
    let mut work = Some(Box::pin(work));
    stream::poll_fn(move |context| {
        if work.as_mut().is_some_and(|work| work.as_mut().poll(context).is_ready()) {
            work = None;
        }
        let part = parts.poll_recv(context);
        if part.is_ready()
            && let Some(work) = work.take()
        {
            tokio::spawn(work);
        }
        part
    })
}

fn with_way<T>(way: Option<MetadataValue<Ascii>>, answer: T) -> Response<T> {
    let mut answer = Response::new(answer);
    if let Some(way) = way {
        answer.metadata_mut().insert(ROUTE_KEY, way);
    }
    answer
}

/// A client gives up on a process that belongs to no cluster, but asks again where a member is only starting.
pub(crate) fn not_running(process: &Process) -> Status {
    let kind = match process.assignment() {
        Some(_) => Kind::NoLeader,
        None => Kind::Unassigned,
    };
    status(kind, process.why_not_running())
}

fn part_of_answer(part: RowBatch) -> ExecuteQueryResponse {
    ExecuteQueryResponse {
        rows: part.rows,
        snapshot: part.snapshot.at.0,
        staleness_ms: u32::try_from(part.snapshot.staleness.as_millis()).unwrap_or(u32::MAX),
        row_count: part.total.unwrap_or(0),
        done: part.total.is_some(),
        cursor: part.cursor.into(),
    }
}

fn invalid(invalid: convert::Invalid) -> Status {
    status(Kind::Invalid, invalid.to_string())
}

fn operation_status(error: OperationError) -> Status {
    let text = with_causes(&error);
    match error {
        OperationError::Refused(refusal) => status(kind_of_refusal(&refusal), text),
        OperationError::RefusedBefore { kind, .. } => {
            status(Kind::try_from(i32::from(kind)).unwrap_or(Kind::Refused), text)
        }
        OperationError::Repeated => status(Kind::Transient, text),
        OperationError::OtherContent(_) | OperationError::NeverIssued(_) => status(Kind::Invalid, text),
        OperationError::Expired(_) => status(Kind::ReceiptExpired, text),
        OperationError::Conflict(_) | OperationError::Transient(_) => status(Kind::Transient, text),
        OperationError::TooLarge(_) => status(Kind::Invalid, text),
        OperationError::DiskFull(_) => status(Kind::DiskFull, text),
        OperationError::UnknownOutcome(_) => status(Kind::UnknownOutcome, text),
        OperationError::Broken(_) => Status::internal(text),
    }
}

fn query_status(error: QueryError) -> Status {
    let text = with_causes(&error);
    match error {
        QueryError::Refused(kotoba_graph::query::Error::Read(_)) => Status::internal(text),
        QueryError::Refused(kotoba_graph::query::Error::Memory(_) | kotoba_graph::query::Error::Visited) => {
            status(Kind::Refused, text)
        }
        QueryError::Refused(_) | QueryError::Bookmark(_) | QueryError::ForeignCursor => status(Kind::Invalid, text),
        QueryError::CursorTooOld | QueryError::TooManyRows(_) | QueryError::Read(ReadError::TooMuch { .. }) => {
            status(Kind::Refused, text)
        }
        QueryError::Read(ReadError::Broken(_)) => Status::internal(text),
        // Trying again would read an even older past; a present snapshot is only ever too old by chance.
        QueryError::TooFarBack(_) => status(Kind::Invalid, text),
        QueryError::Read(ReadError::Unavailable(_) | ReadError::TooOld | ReadError::Changed) => {
            status(Kind::Transient, text)
        }
        QueryError::Timeout => Status::deadline_exceeded(text),
        QueryError::Gone => Status::cancelled(text),
    }
}

/// The message with those of its causes behind it: a client gets one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
