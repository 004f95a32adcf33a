//! The replicate lane: numbered streams of append requests, pipelined, each answered in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use kotoba_proto::v1::{RaftMessage, raft_message::Body};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::call::CallError;
use super::lane::{Answers, Lane};
use super::{Route, STREAM_ANSWER_TIMEOUT, STREAM_BYTES, STREAM_CREDITS};
use crate::raft::codec::{from_bytes, to_bytes};
use crate::raft::lock::lock;
use crate::raft::types::{AppendRequest, AppendResult, LogId};

#[cfg(test)]
mod tests;

/// How long a stream to a peer that is down is withheld: openraft asks for the next one at once, without its own backoff, and
/// would do so thousands of times a second.
const DOWN_PAUSE: Duration = Duration::from_millis(200);
/// Answers of a stream that its reader has not taken. One more than the credits: an error may follow the answers.
const ANSWER_QUEUE: usize = STREAM_CREDITS + 1;

/// Streams under way, by number.
#[derive(Default)]
pub struct OpenStreams(Mutex<BTreeMap<u64, mpsc::Sender<Body>>>);

impl Answers for OpenStreams {
    fn answer(&self, message: RaftMessage) {
        let mut streams = lock(&self.0);
        let Some(stream) = streams.get(&message.stream) else {
            return;
        };
        let taken = message.body.is_some_and(|body| stream.try_send(body).is_ok());
        // More answers than requests: the peer does not follow the protocol, and its stream ends.
        if !taken {
            streams.remove(&message.stream);
        }
    }

    fn disconnected(&self) {
        lock(&self.0).clear();
    }
}

/// The sending side of a replicate lane.
pub struct ReplicateLane {
    lane: Lane,
    streams: Arc<OpenStreams>,
    next: AtomicU64,
    /// By how much the word of a follower may be dated too late.
    lease_margin: Duration,
}

impl ReplicateLane {
    pub fn new(lane: Lane, streams: Arc<OpenStreams>, lease_margin: Duration) -> Self {
        ReplicateLane {
            lane,
            streams,
            next: AtomicU64::new(1),
            lease_margin,
        }
    }

    /// Sends requests as they come and gives their answers in order, until either ends. The first error ends it.
    pub async fn stream<S>(
        self: &Arc<Self>,
        route: Route,
        requests: S,
    ) -> Result<impl Stream<Item = Result<AppendResult, CallError>> + Send + use<S>, CallError>
    where
        S: Stream<Item = AppendRequest> + Send + Unpin + 'static,
    {
        if !self.lane.is_up().await && !self.lane.comes_up_within(DOWN_PAUSE).await {
            return Err(CallError::Down);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::channel(ANSWER_QUEUE);
        lock(&self.streams.0).insert(number, sender);
        let stream = AppendStream {
            end: StreamEnd {
                lane: self.clone(),
                route,
                number,
            },
            requests: Some(requests),
            answers,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            next_request: 0,
            deadline: Instant::now(),
        };
        Ok(futures::stream::unfold(Some(stream), |stream| async move {
            let mut stream = stream?;
            let item = stream.next().await?;
            let rest = item.as_ref().is_ok_and(Result::is_ok).then_some(stream);
            Some((item, rest))
        }))
    }
}

/// One append stream.
struct AppendStream<S> {
    end: StreamEnd,
    /// None once the leader has no more.
    requests: Option<S>,
    answers: mpsc::Receiver<Body>,
    /// The requests without an answer, oldest first.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    next_request: u64,
    /// When the oldest of them counts as lost.
    deadline: Instant,
}

/// A request without an answer.
struct InFlight {
    bytes: usize,
    /// The last entry that its answer speaks of.
    last: Option<LogId>,
    sent: Instant,
}

enum Event {
    Answer(Option<Body>),
    Request(Option<AppendRequest>),
    Timeout,
}

impl<S: Stream<Item = AppendRequest> + Unpin> AppendStream<S> {
    async fn next(&mut self) -> Option<Result<AppendResult, CallError>> {
        loop {
            if self.requests.is_none() && self.in_flight.is_empty() {
                return None;
            }
            match self.event().await {
                // Noticed also with nothing in flight: the peer's end of the stream is gone with the link.
                Event::Answer(None) => return Some(Err(CallError::Lost)),
                Event::Answer(Some(body)) => match self.take_answer(body) {
                    Ok(Some(answer)) => return Some(Ok(answer)),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                },
                Event::Timeout => return Some(Err(CallError::Timeout)),
                Event::Request(None) => self.requests = None,
                Event::Request(Some(request)) => {
                    if !self.send(&request).await {
                        return Some(Err(CallError::Lost));
                    }
                }
            }
        }
    }

    async fn event(&mut self) -> Event {
        let waiting = !self.in_flight.is_empty();
        let has_credit = self.in_flight.len() < STREAM_CREDITS && (!waiting || self.in_flight_bytes < STREAM_BYTES);
        let request = async {
            match &mut self.requests {
                Some(requests) if has_credit => requests.next().await,
                Some(_) | None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = self.answers.recv() => Event::Answer(answer),
            () = tokio::time::sleep_until(self.deadline), if waiting => Event::Timeout,
            request = request => Event::Request(request),
        }
    }

    async fn send(&mut self, request: &AppendRequest) -> bool {
        let bytes = to_bytes(request);
        let now = Instant::now();
        if self.in_flight.is_empty() {
            self.deadline = now + STREAM_ANSWER_TIMEOUT;
        }
        self.in_flight.push_back(InFlight {
            bytes: bytes.len(),
            last: request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id),
            sent: now,
        });
        self.in_flight_bytes += bytes.len();
        let sequence = self.next_request;
        self.next_request += 1;
        let StreamEnd { lane, route, number } = &self.end;
        let body = Body::AppendRequest(Bytes::from(bytes));
        lane.lane.send(route.message(*number, sequence, body)).await
    }

    /// None for an answer that is better left to the one behind it.
    fn take_answer(&mut self, body: Body) -> Result<Option<AppendResult>, CallError> {
        let bytes = match body {
            Body::AppendAnswer(bytes) => bytes,
            Body::Error(reason) => return Err(CallError::Refused(reason)),
            other => return Err(CallError::Refused(format!("an append is answered with {other:?}"))),
        };
        let Some(answered) = self.in_flight.pop_front() else {
            return Err(CallError::Refused("an answer comes without a request".to_owned()));
        };
        self.in_flight_bytes -= answered.bytes;
        self.deadline = Instant::now() + STREAM_ANSWER_TIMEOUT;
        let answer: AppendResult = from_bytes(&bytes).map_err(|error| CallError::Refused(error.to_string()))?;
        let is_passed_over = answer.is_ok() && self.would_date_too_late(&answered);
        Ok((!is_passed_over).then_some(answer))
    }

    /// openraft takes an answer for that to every request up to the same entry, and counts the lease from when the last of
    /// them was asked for. Of one that came late that would be a promise which the follower has not made.
    fn would_date_too_late(&self, answered: &InFlight) -> bool {
        let has_later = self.in_flight.front().is_some_and(|next| next.last == answered.last);
        has_later && answered.sent.elapsed() > self.end.lane.lease_margin
    }
}

/// Ends the stream at the peer when it is dropped. Should the queue be full, the peer ends it when the next one begins.
struct StreamEnd {
    lane: Arc<ReplicateLane>,
    route: Route,
    number: u64,
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        lock(&self.lane.streams.0).remove(&self.number);
        self.lane
            .lane
            .try_send(self.route.message(self.number, 0, Body::StreamEnd(true)));
    }
}
