//! The client's end of one stream: calls under way by number, and the parts of their answers.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tonic::{Status, Streaming};

use super::frames::Parts;
use super::headers::{from_parts, to_parts, trailers_of};
use super::{PARTS_AHEAD, part_of};
use crate::v1::{CallEnd, CallFrame, CallHead, CallPart};

/// What is not known of a call whose stream was lost is whether it was done.
fn lost() -> Status {
    Status::unavailable("the connection was lost before the call was answered")
}

/// An open stream.
pub struct Session {
    parts: Parts,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    room: Arc<Semaphore>,
    is_over: AtomicBool,
}

/// Who waits for a call.
enum Waiting {
    First(oneshot::Sender<First>),
    Rest(mpsc::Sender<CallPart>),
}

/// The first part of an answer, and where the others come from if it is not the last.
struct First {
    part: CallPart,
    rest: Option<mpsc::Receiver<CallPart>>,
}

impl Session {
    /// `room` is for [`MAX_CALLS`].
    pub fn new(parts: Parts, room: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Session {
            parts,
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            room,
            is_over: AtomicBool::new(false),
        })
    }

    /// Hands out what comes, until the stream ends; whoever waits then is told that it is lost. It ends, too, when nobody has
    /// the session any more.
    pub async fn run(session: Weak<Self>, mut answers: Streaming<CallFrame>) {
        while let Ok(Some(frame)) = answers.message().await {
            let Some(session) = session.upgrade() else { return };
            frame.parts.into_iter().for_each(|part| session.take(part));
        }
        if let Some(session) = session.upgrade() {
            session.is_over.store(true, Ordering::SeqCst);
            session.lock().clear();
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Room for one call; none where as many are under way as may be.
    pub fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Asks, and waits for the head of the answer. Dropped before, it says so to the server.
    pub async fn call(
        self: Arc<Self>,
        request: http::request::Parts,
        data: Bytes,
        room: OwnedSemaphorePermit,
    ) -> Result<http::Response<Answer>, Status> {
        let (sender, first) = oneshot::channel();
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(call, Waiting::First(sender));
        let guard = UnderWay {
            session: self.clone(),
            call,
            is_ended: false,
            _room: room,
        };
        let sent = self.parts.send(CallPart {
            head: Some(CallHead {
                path: request.uri.path().to_owned(),
                headers: to_parts(&request.headers),
            }),
            data,
            ..part_of(call)
        });
        // In this order: a stream that ended in between has not told this call.
        if sent.is_err() || self.is_over() {
            return Err(lost());
        }
        let First { mut part, rest } = first.await.map_err(|_| lost())?;
        let head = part.head.take().unwrap_or_default();
        let mut answer = http::Response::new(Answer::new(part, rest, guard));
        *answer.version_mut() = http::Version::HTTP_2;
        *answer.headers_mut() = from_parts(head.headers);
        Ok(answer)
    }

    fn take(&self, part: CallPart) {
        let mut waiting = self.lock();
        let call = part.call;
        let is_last = part.end.is_some();
        match waiting.remove(&call) {
            Some(Waiting::First(first)) => {
                let (sender, rest) = match is_last {
                    true => (None, None),
                    false => {
                        let (sender, rest) = mpsc::channel(PARTS_AHEAD);
                        (Some(sender), Some(rest))
                    }
                };
                // A caller that is gone has cancelled the call.
                if first.send(First { part, rest }).is_ok()
                    && let Some(sender) = sender
                {
                    waiting.insert(call, Waiting::Rest(sender));
                }
            }
            // One part more than may be ahead: the server does not follow the protocol, and its call is lost.
            Some(Waiting::Rest(sender)) => {
                let is_taken = sender.try_send(part).is_ok();
                if is_taken && !is_last {
                    waiting.insert(call, Waiting::Rest(sender));
                }
            }
            // Cancelled meanwhile.
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call until its last part came; dropped before, it is cancelled.
struct UnderWay {
    session: Arc<Session>,
    call: u64,
    is_ended: bool,
    _room: OwnedSemaphorePermit,
}

impl UnderWay {
    /// Lets the server send one part more.
    fn taken(&self) {
        // A stream that is over needs none.
        let _ = self.session.parts.send(CallPart {
            taken: true,
            ..part_of(self.call)
        });
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        self.session.lock().remove(&self.call);
        let _ = self.session.parts.send(CallPart {
            cancelled: true,
            ..part_of(self.call)
        });
    }
}

/// The body of an answer.
pub struct Answer {
    data: Option<Bytes>,
    end: Option<CallEnd>,
    rest: Option<mpsc::Receiver<CallPart>>,
    under_way: UnderWay,
}

impl Answer {
    fn new(first: CallPart, rest: Option<mpsc::Receiver<CallPart>>, under_way: UnderWay) -> Self {
        let mut answer = Answer {
            data: None,
            end: None,
            rest,
            under_way,
        };
        answer.take(first);
        answer
    }

    fn take(&mut self, part: CallPart) {
        self.data = Some(part.data).filter(|data| !data.is_empty());
        match part.end {
            Some(end) => {
                self.end = Some(end);
                self.rest = None;
                self.under_way.is_ended = true;
            }
            None => self.under_way.taken(),
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(data) = self.data.take() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(trailers_of(end).map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let Some(rest) = &mut self.rest else {
                return Poll::Ready(None);
            };
            match rest.poll_recv(context) {
                Poll::Ready(Some(part)) => self.take(part),
                Poll::Ready(None) => {
                    self.rest = None;
                    return Poll::Ready(Some(Err(lost())));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
