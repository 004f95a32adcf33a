//! The server's end: takes calls off the stream, gives them to the service as if they had come one by one, and puts the
//! parts of its answers on the stream.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::Full;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Request, Response, Status, Streaming};
use tower_service::Service;

use super::frames::{Parts, frames};
use super::headers::{end_of, from_parts, timeout_of, to_parts};
use super::{MAX_CALLS, PARTS_AHEAD, part_of};
use crate::v1::call_service_server::CallService;
use crate::v1::{CallFrame, CallHead, CallPart};

/// Calls under way on a stream beyond which others are refused. A client takes the end of a call for its end a moment before
/// the server does, so this is more than clients allow themselves.
const MAX_SERVED: usize = 2 * MAX_CALLS;

/// Frames of answers.
pub type Answers = Pin<Box<dyn Stream<Item = Result<CallFrame, Status>> + Send>>;

/// A generated service as it is asked, for one call.
pub trait Calls:
    Service<http::Request<Full<Bytes>>, Response = http::Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Calls for S where
    S: Service<http::Request<Full<Bytes>>, Response = http::Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves streams of calls of one service.
#[derive(Clone)]
pub struct CallServer<S> {
    service: S,
    /// The longest that a call may take to begin its answer, where its caller does not say less.
    within: Duration,
    /// From then on no call is taken up; those under way are answered.
    stop: CancellationToken,
}

impl<S: Calls> CallServer<S> {
    pub fn new(service: S, within: Duration, stop: CancellationToken) -> Self {
        CallServer { service, within, stop }
    }
}

#[tonic::async_trait]
impl<S: Calls> CallService for CallServer<S> {
    type CallsStream = Answers;

    async fn calls(&self, request: Request<Streaming<CallFrame>>) -> Result<Response<Answers>, Status> {
        let room = Arc::new(Semaphore::new(MAX_SERVED));
        let taken = room.clone();
        let (parts, frames) = frames(move || taken.available_permits() + 1 < MAX_SERVED);
        let served = Served {
            server: self.clone(),
            parts,
            room,
            open: Arc::default(),
            tasks: JoinSet::new(),
        };
        tokio::spawn(served.run(request.into_inner()));
        Ok(Response::new(Box::pin(frames.map(Ok))))
    }
}

/// Calls that were not answered when they were first looked at.
type OpenCalls = Arc<Mutex<BTreeMap<u64, Open>>>;

struct Open {
    task: AbortHandle,
    /// Parts that may be sent.
    credit: Arc<Semaphore>,
}

/// One stream of calls.
struct Served<S> {
    server: CallServer<S>,
    parts: Parts,
    room: Arc<Semaphore>,
    open: OpenCalls,
    /// Dropped with the stream: nobody waits for what is left then.
    tasks: JoinSet<()>,
}

impl<S: Calls> Served<S> {
    async fn run(mut self, mut requests: Streaming<CallFrame>) {
        let stop = self.server.stop.clone();
        while let Some(Ok(Some(frame))) = stop.run_until_cancelled(requests.message()).await {
            for part in frame.parts {
                self.take(part).await;
            }
            while self.tasks.try_join_next().is_some() {}
        }
        while stop.is_cancelled() && self.tasks.join_next().await.is_some() {}
    }

    async fn take(&mut self, part: CallPart) {
        if let Some(head) = part.head {
            return self.begin(part.call, head, part.data).await;
        }
        let mut open = lock(&self.open);
        if part.cancelled {
            if let Some(call) = open.remove(&part.call) {
                call.task.abort();
            }
        } else if part.taken
            && let Some(call) = open.get(&part.call)
            && call.credit.available_permits() < PARTS_AHEAD
        {
            call.credit.add_permits(1);
        }
    }

    /// Most calls are answered from memory at once, and need no task.
    async fn begin(&mut self, call: u64, head: CallHead, data: Bytes) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let refusal = Status::resource_exhausted("too many calls are under way on one stream");
            return send_status(&self.parts, call, &refusal);
        };
        let request = match request_of(head, data) {
            Ok(request) => request,
            Err(status) => return send_status(&self.parts, call, &status),
        };
        let credit = Arc::new(Semaphore::new(PARTS_AHEAD));
        let answering = Answering {
            call,
            parts: self.parts.clone(),
            credit: credit.clone(),
            head: None,
            held: None,
        };
        let mut work = Box::pin(answered(
            self.parts.clone(),
            call,
            answering.run(self.server.clone(), request),
        ));
        if is_done_at_once(work.as_mut()).await {
            return;
        }
        let (calls, mut open) = (self.open.clone(), lock(&self.open));
        let task = self.tasks.spawn(async move {
            work.await;
            lock(&calls).remove(&call);
            drop::<OwnedSemaphorePermit>(permit);
        });
        open.insert(call, Open { task, credit });
    }
}

/// A handler that panics fails its own call, and not those that share the stream.
async fn answered(parts: Parts, call: u64, work: impl Future<Output = ()>) {
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        let failed = Status::internal("the call failed: the log of the member says why");
        send_status(&parts, call, &failed);
    }
}

async fn is_done_at_once(mut work: Pin<&mut (impl Future<Output = ()> + Send)>) -> bool {
    poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await
}

fn request_of(head: CallHead, data: Bytes) -> Result<http::Request<Full<Bytes>>, Status> {
    let mut request = http::Request::new(Full::new(data));
    *request.uri_mut() = http::Uri::try_from(head.path).map_err(|error| Status::invalid_argument(error.to_string()))?;
    *request.method_mut() = http::Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = from_parts(head.headers);
    Ok(request)
}

fn send_status(parts: &Parts, call: u64, status: &Status) {
    let mut trailers = HeaderMap::new();
    // A status whose message is no header is sent without it.
    let _ = status.add_header(&mut trailers);
    // The client is gone where it cannot be sent.
    let _ = parts.send(CallPart {
        head: Some(CallHead::default()),
        end: Some(end_of(Some(&trailers))),
        ..part_of(call)
    });
}

/// One call's answer on its way.
struct Answering {
    call: u64,
    parts: Parts,
    credit: Arc<Semaphore>,
    /// Goes with the first part.
    head: Option<CallHead>,
    /// Data that waits a moment for the end, to go with it.
    held: Option<Bytes>,
}

/// What comes next of an answer.
enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    Failed(Status),
    /// Nothing yet.
    Later,
}

impl Answering {
    async fn run<S: Calls>(mut self, mut server: CallServer<S>, request: http::Request<Full<Bytes>>) {
        let asked = timeout_of(request.headers()).unwrap_or(server.within);
        let answer = tokio::time::timeout(asked.min(server.within), server.service.call(request)).await;
        let (head, body) = match answer {
            Ok(Ok(answer)) => answer.into_parts(),
            Err(_) => {
                let status = Status::deadline_exceeded("the call was not answered in time");
                return send_status(&self.parts, self.call, &status);
            }
        };
        self.head = Some(CallHead {
            path: String::new(),
            headers: to_parts(&head.headers),
        });
        let mut body = pin!(body);
        loop {
            let may_wait = self.held.is_none();
            let next = poll_fn(|context| match poll_next(body.as_mut(), context) {
                Poll::Pending if !may_wait => Poll::Ready(Next::Later),
                next => next,
            });
            match next.await {
                Next::Data(data) => {
                    if let Some(held) = self.held.replace(data) {
                        self.send(held, None).await;
                    }
                }
                Next::Later => {
                    let held = self.held.take().unwrap_or_default();
                    self.send(held, None).await;
                }
                Next::Trailers(trailers) => return self.finish(Some(&trailers)).await,
                Next::End => return self.finish(None).await,
                Next::Failed(status) => {
                    let mut trailers = HeaderMap::new();
                    let _ = status.add_header(&mut trailers);
                    return self.finish(Some(&trailers)).await;
                }
            }
        }
    }

    async fn finish(&mut self, trailers: Option<&HeaderMap>) {
        let held = self.held.take().unwrap_or_default();
        self.send(held, Some(end_of(trailers))).await;
    }

    /// Waits until the caller has taken enough of the parts before.
    async fn send(&mut self, data: Bytes, end: Option<crate::v1::CallEnd>) {
        let credit = self.credit.acquire().await;
        credit.expect("it is never closed").forget();
        // Where the client is gone this task is ended.
        let _ = self.parts.send(CallPart {
            head: self.head.take(),
            data,
            end,
            ..part_of(self.call)
        });
    }
}

fn poll_next(body: Pin<&mut Body>, context: &mut Context<'_>) -> Poll<Next> {
    let Poll::Ready(frame) = body.poll_frame(context) else {
        return Poll::Pending;
    };
    Poll::Ready(match frame {
        None => Next::End,
        Some(Err(status)) => Next::Failed(status),
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => Next::Data(data),
            Err(frame) => frame.into_trailers().map_or(Next::End, Next::Trailers),
        },
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
