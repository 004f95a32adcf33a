//! `KotobaCluster`: a running cluster as a client sees it.
//!
//! Any member answers any call, so the addresses are asked in turn; connections are made when needed and made again when lost.

mod addresses;
mod events;
mod retry;
mod routes;
mod rows;
mod search;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use tonic::{Request, Status};

pub use addresses::endpoint;
pub use events::{AFTER_POSITION_KEY, Events};
pub use rows::{Rows, Snapshot};
pub use search::{Cursor, Pages, ParseCursorError, Search};

use crate::v1::{
    CheckHealthRequest, CheckHealthResponse, Consistency, ExecuteOperationRequest, ExecuteOperationResponse,
    ExecuteQueryRequest, GetClusterConfigRequest, GetClusterConfigResponse, GetHistoryRequest, GetHistoryResponse,
    GetStatusRequest, GetStatusResponse, JoinClusterRequest, JoinClusterResponse, LeaveClusterRequest, Operation, Row,
    get_history_request,
};
use crate::{ClusterError, ContentId, MAX_MESSAGE_BYTES};
use addresses::{Addresses, Client};
use retry::{Attempt, Repeat};
pub use routes::{OPEN_FOR, ROUTE_KEY, SLOT_KEY, SLOTS, open_slot, route, slot_of_entity, slot_of_request};
use routes::{slot_of_query, slot_of_write};

/// Most operations in one transaction; the members refuse more.
pub const MAX_OPERATIONS: usize = 1000;
/// Writes of no more are made where others make theirs at the moment: more fill an entry of the log, or a partition's memory, by
/// themselves.
const MAX_OPERATIONS_TOGETHER: usize = 16;
const MAX_BYTES_TOGETHER: usize = 16 << 10;

/// As long as a member itself works on one request before it gives up.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// Longer than it takes to find a new leader.
const DEFAULT_MAX_STALENESS: Duration = Duration::from_secs(10);

/// How calls behave; the defaults need no thought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest time for one call, all retries included. For streams: until the first message, and between two.
    pub deadline: Duration,
    /// Give up this early when not even a connection could be made. A tool that a person waits for sets it low.
    pub unreachable_after: Duration,
    pub consistency: Consistency,
    /// Reads show the graph as it was at this timestamp: a bookmark, or the snapshot of an earlier answer.
    pub as_of: Option<u64>,
    /// An Eventual read fails rather than answer from a snapshot that is older.
    pub max_staleness: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            deadline: DEFAULT_DEADLINE,
            unreachable_after: DEFAULT_DEADLINE,
            consistency: Consistency::Strong,
            as_of: None,
            max_staleness: DEFAULT_MAX_STALENESS,
        }
    }
}

/// What one operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationOutcome {
    /// The entity's id, which never changes.
    pub id: u64,
    /// The content id of the version this operation made (of a deletion: of the version deleted).
    pub cid: ContentId,
    /// The commit timestamp.
    pub bookmark: u64,
}

/// By what the members know a write that comes again, for programs that go on after a crash of their own: they keep the
/// number of each write where it survives, and send a write whose answer they do not know again under the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestNumber {
    /// Chosen at random, once.
    pub client_id: [u8; 16],
    /// Of each write its own, with whatever operations.
    pub sequence: u64,
    /// Of a write that may have been sent before: a timestamp from before that, a bookmark or the snapshot of an answer.
    pub sent_after: Option<u64>,
}

/// A client of a running cluster. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct KotobaCluster {
    addresses: Arc<Addresses>,
    options: Options,
    /// The newest commit this client has seen.
    bookmark: Arc<AtomicU64>,
    session: Arc<Session>,
}

/// Numbers this client's writes, so that the members know one that comes again.
struct Session {
    id: [u8; 16],
    next_sequence: AtomicU64,
    /// How many slots are open, as the newest answer said; 0 before the first.
    open_slots: AtomicU32,
}

impl Session {
    fn begin() -> Self {
        Session {
            id: rand::random(),
            next_sequence: AtomicU64::new(1),
            open_slots: AtomicU32::new(0),
        }
    }

    fn next(&self) -> RequestNumber {
        RequestNumber {
            client_id: self.id,
            sequence: self.next_sequence.fetch_add(1, Ordering::Relaxed),
            sent_after: None,
        }
    }

    /// The slot for a small write; larger ones are better spread.
    fn home_of(&self, operations: &[Operation]) -> Option<u32> {
        let open = self.open_slots.load(Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let is_small = || operations.iter().map(Message::encoded_len).sum::<usize>() <= MAX_BYTES_TOGETHER;
        (open > 0 && operations.len() <= MAX_OPERATIONS_TOGETHER && is_small())
            .then(|| open_slot(now, rand::random_range(0..open)).into())
    }
}

impl KotobaCluster {
    /// Takes one address or several, `host:7700,host2:7700`; connects at the first call.
    ///
    /// # Errors
    /// `Address` where one of them is not `HOST:PORT`.
    pub fn connect(addresses: &str) -> Result<Self, ClusterError> {
        Self::connect_with(addresses, Options::default())
    }

    /// As [`Self::connect`], with options of one's own.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_with(addresses: &str, options: Options) -> Result<Self, ClusterError> {
        Ok(KotobaCluster {
            addresses: Arc::new(Addresses::parse(addresses)?),
            options,
            bookmark: Arc::default(),
            session: Arc::new(Session::begin()),
        })
    }

    /// The same connections and bookmark under other options.
    pub fn with_options(&self, options: Options) -> Self {
        KotobaCluster {
            options,
            ..self.clone()
        }
    }

    /// The options that calls are made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The newest commit timestamp this client has seen; 0 before the first write.
    pub fn bookmark(&self) -> u64 {
        self.bookmark.load(Ordering::Relaxed)
    }

    /// Takes over a bookmark from elsewhere, so that read-your-writes reads see that commit.
    pub fn advance_bookmark(&self, bookmark: u64) {
        self.bookmark.fetch_max(bookmark, Ordering::Relaxed);
    }

    /// Runs one operation as a transaction of its own.
    ///
    /// It is sent again after a lost answer and applied once all the same.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`, `Refused` or `OtherVersion` where the graph does not allow it; `UnknownOutcome` when the deadline
    /// passed and the write may have been applied; `NoLeader`, `NotLeader`, `Transient` or `NetworkError` when it passed and
    /// the write was not.
    pub async fn execute_operation(&self, operation: impl Into<Operation>) -> Result<OperationOutcome, ClusterError> {
        let outcomes = self.execute_operations(vec![operation.into()]).await?;
        outcomes
            .into_iter()
            .next()
            .ok_or_else(|| ClusterError::Protocol("an operation without a result".into()))
    }

    /// Runs up to [`MAX_OPERATIONS`] as one transaction: all apply, or none does. One outcome per operation, in order.
    ///
    /// # Errors
    /// As [`Self::execute_operation`].
    pub async fn execute_operations(&self, operations: Vec<Operation>) -> Result<Vec<OperationOutcome>, ClusterError> {
        let home_slot = self.session.home_of(&operations);
        self.execute(self.session.next(), home_slot, operations).await
    }

    /// As [`Self::execute_operations`], under a number of the caller's: the same operations under the same number are
    /// applied once, and every later call is answered as the first, for as long as the members keep old versions
    /// (`storage.history_retention_s`).
    ///
    /// # Errors
    /// As [`Self::execute_operation`], and `ReceiptExpired` where it was sent before, too long ago.
    pub async fn execute_numbered(
        &self,
        number: RequestNumber,
        operations: Vec<Operation>,
    ) -> Result<Vec<OperationOutcome>, ClusterError> {
        self.execute(number, None, operations).await
    }

    async fn execute(
        &self,
        number: RequestNumber,
        home_slot: Option<u32>,
        operations: Vec<Operation>,
    ) -> Result<Vec<OperationOutcome>, ClusterError> {
        let expected = operations.len();
        let request = ExecuteOperationRequest {
            operations,
            consistency: self.options.consistency.into(),
            client_id: bytes::Bytes::copy_from_slice(&number.client_id),
            sequence: number.sequence,
            repeated: number.sent_after.is_some(),
            sent_after: number.sent_after.unwrap_or_default(),
            home_slot,
        };
        check_size(&request)?;
        let slot = slot_of_write(&request, &number);
        let response = self
            .call(Repeat::Numbered, Some(slot), move |mut client, attempt| {
                let request = ExecuteOperationRequest {
                    repeated: request.repeated || attempt.repeated,
                    ..request.clone()
                };
                let request = with_deadline(request, attempt.left);
                async move { client.execute_operation(request).await.map(tonic::Response::into_inner) }
            })
            .await?;
        self.advance_bookmark(response.bookmark);
        if let Some(open) = response.open_slots {
            self.session.open_slots.store(open, Ordering::Relaxed);
        }
        outcomes(response, expected)
    }

    /// Starts a query; the rows come as they are found. A failure after the first row is the caller's to handle;
    /// [`Self::fetch_rows`] asks again by itself.
    ///
    /// # Errors
    /// `Invalid` where the query cannot be right, `Refused` where it would take more than the cluster's limits allow;
    /// `NoLeader`, `Transient`, `NetworkError` or `Timeout` when the deadline passed before the first row.
    pub async fn execute_query(&self, query: impl Into<Search>) -> Result<Rows, ClusterError> {
        let request = self.query_request(query.into(), false);
        let slot = self.slot_of(&request);
        let idle = self.options.deadline;
        self.call(Repeat::Always, slot, move |client, _attempt| {
            Rows::start(client, request.clone(), idle)
        })
        .await
    }

    /// Runs a query page by page, each as long as its limit says, all at the snapshot of the first.
    pub fn execute_query_in_pages(&self, query: impl Into<Search>) -> Pages {
        Pages::new(self.clone(), query.into())
    }

    /// Runs a query and collects all its rows in memory.
    ///
    /// # Errors
    /// As [`Self::execute_query`]; a stream that breaks is begun again.
    pub async fn fetch_rows(&self, query: impl Into<Search>) -> Result<Vec<Row>, ClusterError> {
        let request = self.query_request(query.into(), false);
        let slot = self.slot_of(&request);
        let idle = self.options.deadline;
        self.call(Repeat::Always, slot, move |client, _attempt| {
            let request = request.clone();
            async move { Rows::start(client, request, idle).await?.drain().await }
        })
        .await
    }

    /// Counts the rows of a query without fetching them.
    ///
    /// # Errors
    /// As [`Self::execute_query`].
    pub async fn count(&self, query: impl Into<Search>) -> Result<u64, ClusterError> {
        let request = self.query_request(query.into(), true);
        let slot = self.slot_of(&request);
        let idle = self.options.deadline;
        self.call(Repeat::Always, slot, move |client, _attempt| {
            let request = request.clone();
            async move { Rows::start(client, request, idle).await?.count().await }
        })
        .await
    }

    /// The kept versions of a node, newest first; at most `limit`, 0 for 100.
    ///
    /// # Errors
    /// As [`Self::execute_query`].
    pub async fn get_node_history(&self, id: u64, limit: u32) -> Result<GetHistoryResponse, ClusterError> {
        self.history(get_history_request::Entity::Node(id), limit).await
    }

    /// The kept versions of an edge, newest first; at most `limit`, 0 for 100.
    ///
    /// # Errors
    /// As [`Self::execute_query`].
    pub async fn get_edge_history(&self, id: u64, limit: u32) -> Result<GetHistoryResponse, ClusterError> {
        self.history(get_history_request::Entity::Edge(id), limit).await
    }

    async fn history(
        &self,
        entity: get_history_request::Entity,
        limit: u32,
    ) -> Result<GetHistoryResponse, ClusterError> {
        let request = GetHistoryRequest {
            entity: Some(entity),
            limit,
            as_of: self.options.as_of.unwrap_or_default(),
        };
        self.call(Repeat::Always, None, move |mut client, attempt| {
            let request = with_deadline(request, attempt.left);
            async move { client.get_history(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    /// Members, partitions, leaders, moves: the cluster as its meta leader knows it, or where there is none as the member
    /// knows it that was asked (`linearizable` says which).
    ///
    /// # Errors
    /// `Unassigned` where all addresses are of processes with empty disks; `NetworkError` or `Timeout` where none answers.
    pub async fn get_status(&self) -> Result<GetStatusResponse, ClusterError> {
        self.call(Repeat::Always, None, |mut client, attempt| async move {
            let request = with_deadline(GetStatusRequest {}, attempt.left);
            client.get_status(request).await.map(tonic::Response::into_inner)
        })
        .await
    }

    /// Whether the cluster is well; if not, one line per finding with what to do.
    ///
    /// # Errors
    /// As [`Self::get_status`].
    pub async fn check_health(&self) -> Result<CheckHealthResponse, ClusterError> {
        self.call(Repeat::Always, None, |mut client, attempt| async move {
            let request = with_deadline(CheckHealthRequest {}, attempt.left);
            client.check_health(request).await.map(tonic::Response::into_inner)
        })
        .await
    }

    /// What the cluster was founded with.
    ///
    /// # Errors
    /// As [`Self::get_status`].
    pub async fn get_cluster_config(&self) -> Result<GetClusterConfigResponse, ClusterError> {
        self.call(Repeat::Always, None, |mut client, attempt| async move {
            let request = with_deadline(GetClusterConfigRequest {}, attempt.left);
            client
                .get_cluster_config(request)
                .await
                .map(tonic::Response::into_inner)
        })
        .await
    }

    /// Events from now on, each once and in order, whichever members come and go meanwhile.
    pub async fn subscribe_events(&self) -> Result<Events, ClusterError> {
        Events::subscribe(self.clone(), None).await
    }

    /// Events after a position that an earlier event had; after 0 from the oldest that is kept.
    ///
    /// # Errors
    /// [`Events::next`] answers `EventsLost` where they are no longer kept.
    pub async fn subscribe_events_after(&self, position: u64) -> Result<Events, ClusterError> {
        Events::subscribe(self.clone(), Some(position)).await
    }

    /// Takes a process with an empty disk into the cluster; idempotent by its `disk_id`.
    ///
    /// # Errors
    /// `Refused` where the cluster does not take it; `NoLeader` while the meta group has none.
    pub async fn join_cluster(&self, request: JoinClusterRequest) -> Result<JoinClusterResponse, ClusterError> {
        self.call(Repeat::Always, None, move |mut client, attempt| {
            let request = with_deadline(request.clone(), attempt.left);
            async move { client.join_cluster(request).await.map(tonic::Response::into_inner) }
        })
        .await
    }

    /// Asks that a member be drained and removed; idempotent, since a member id is never used twice.
    ///
    /// # Errors
    /// `NotFound` where there is no such member; `Refused` where the others could not hold its replicas.
    pub async fn leave_cluster(&self, member_id: u64) -> Result<(), ClusterError> {
        self.call(Repeat::Always, None, move |mut client, attempt| async move {
            let request = with_deadline(LeaveClusterRequest { member_id }, attempt.left);
            client.leave_cluster(request).await.map(|_| ())
        })
        .await
    }

    async fn call<T, F, Fut>(&self, repeat: Repeat, slot: Option<u16>, attempt: F) -> Result<T, ClusterError>
    where
        F: Fn(Client, Attempt) -> Fut,
        Fut: Future<Output = Result<T, Status>>,
    {
        retry::call(&self.addresses, &self.options, repeat, slot, attempt).await
    }

    /// Where leaders answer; any replica answers the others.
    fn slot_of(&self, request: &ExecuteQueryRequest) -> Option<u16> {
        match self.options.consistency {
            Consistency::Strong => request.query.as_ref().and_then(slot_of_query),
            Consistency::ReadYourWrites | Consistency::Eventual => None,
        }
    }

    fn query_request(&self, search: Search, count_only: bool) -> ExecuteQueryRequest {
        let bookmark = match self.options.consistency {
            Consistency::ReadYourWrites => self.bookmark(),
            Consistency::Strong | Consistency::Eventual => 0,
        };
        ExecuteQueryRequest {
            query: Some(search.query),
            consistency: self.options.consistency.into(),
            bookmark,
            count_only,
            as_of: self.options.as_of.unwrap_or_default(),
            max_staleness_ms: u32::try_from(self.options.max_staleness.as_millis()).unwrap_or(u32::MAX),
            cursor: search.cursor.map(Cursor::into_bytes).unwrap_or_default(),
            order_by: search.order_by,
        }
    }
}

/// Our own clock must end the wait, not the one that tonic starts from the header: only ours knows that time was up, and so
/// that the error is `Timeout`.
const HEADER_GRACE: Duration = Duration::from_millis(500);

/// Tells the member how long the answer is waited for, so that it need not work longer.
fn with_deadline<T>(message: T, left: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(left + HEADER_GRACE);
    request
}

fn check_size(request: &ExecuteOperationRequest) -> Result<(), ClusterError> {
    let count = request.operations.len();
    if count == 0 || count > MAX_OPERATIONS {
        let message = format!("{count} operations; send 1 to {MAX_OPERATIONS} in one transaction");
        return Err(ClusterError::Invalid(message));
    }
    let bytes = request.encoded_len();
    if bytes > MAX_MESSAGE_BYTES {
        let message = format!("{bytes} bytes; send at most {MAX_MESSAGE_BYTES} in one transaction");
        return Err(ClusterError::Invalid(message));
    }
    Ok(())
}

fn outcomes(response: ExecuteOperationResponse, expected: usize) -> Result<Vec<OperationOutcome>, ClusterError> {
    let bookmark = response.bookmark;
    if response.results.len() != expected {
        let message = format!("{} results for {expected} operations", response.results.len());
        return Err(ClusterError::Protocol(message));
    }
    let outcome = |result: crate::v1::OperationResult| OperationOutcome {
        id: result.id,
        cid: result.cid.into(),
        bookmark,
    };
    Ok(response.results.into_iter().map(outcome).collect())
}
