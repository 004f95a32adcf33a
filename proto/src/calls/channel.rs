//! A channel as generated clients use it: calls go on the stream where there is one, else by themselves.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tower_service::Service;

use super::frames::frames;
use super::session::Session;
use super::{MAX_CALLS, MAX_REQUEST_BYTES, Ordinary, headers};
use crate::MAX_MESSAGE_BYTES;
use crate::v1::CallFrame;
use crate::v1::call_service_client::CallServiceClient;

/// Between attempts to open a stream: calls meanwhile are ordinary ones, and find out what is wrong.
const OPEN_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// One answer of the largest size, and what shares its frame.
const MAX_FRAME_BYTES: usize = MAX_MESSAGE_BYTES + (1 << 20);

/// Why a call has no answer.
pub type CallError = Box<dyn std::error::Error + Send + Sync>;

/// A connection for calls with one request and one or many answers; clones share it.
#[derive(Clone)]
pub struct CallChannel {
    channel: Channel,
    stream: Arc<Mutex<Stream>>,
    /// The longest that an answer may take to begin.
    within: Option<Duration>,
}

/// The stream of a channel.
enum Stream {
    /// None is being opened before then.
    None {
        until: Option<Instant>,
    },
    Opening,
    Open(Arc<Session>),
    /// The server knows of none.
    Unsupported,
}

impl CallChannel {
    /// `within` is that of the channel, which does not see calls on the stream.
    pub fn new(channel: Channel, within: Option<Duration>) -> Self {
        CallChannel {
            channel,
            stream: Arc::new(Mutex::new(Stream::None { until: None })),
            within,
        }
    }

    /// The stream, if it is open; else one is opened for later calls.
    fn session(&self) -> Option<Arc<Session>> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stream {
            Stream::Open(session) if !session.is_over() => return Some(session.clone()),
            Stream::Opening | Stream::Unsupported => return None,
            Stream::None { until } if until.is_some_and(|until| Instant::now() < until) => return None,
            Stream::None { .. } | Stream::Open(_) => {}
        }
        *stream = Stream::Opening;
        let (channel, stream) = (self.channel.clone(), Arc::downgrade(&self.stream));
        tokio::spawn(async move {
            let (opened, answers) = match open(channel).await {
                Ok((session, answers)) => (Stream::Open(session), Some(answers)),
                Err(none) => (none, None),
            };
            let session = match &opened {
                Stream::Open(session) => Arc::downgrade(session),
                Stream::None { .. } | Stream::Opening | Stream::Unsupported => Weak::new(),
            };
            if let Some(stream) = stream.upgrade() {
                *stream.lock().unwrap_or_else(PoisonError::into_inner) = opened;
            }
            if let Some(answers) = answers {
                Session::run(session, answers).await;
            }
        });
        None
    }
}

/// Opens a stream; else says how it stands with it.
async fn open(channel: Channel) -> Result<(Arc<Session>, Streaming<CallFrame>), Stream> {
    let room = Arc::new(Semaphore::new(MAX_CALLS));
    let taken = room.clone();
    let (parts, frames) = frames(move || taken.available_permits() + 1 < MAX_CALLS);
    let mut client = CallServiceClient::new(channel).max_decoding_message_size(MAX_FRAME_BYTES);
    match client.calls(frames).await {
        Ok(answers) => Ok((Session::new(parts, room), answers.into_inner())),
        Err(status) if status.code() == Code::Unimplemented => Err(Stream::Unsupported),
        Err(_) => Err(Stream::None {
            until: Some(Instant::now() + OPEN_AGAIN_AFTER),
        }),
    }
}

impl Service<http::Request<Body>> for CallChannel {
    type Response = http::Response<Body>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    /// An ordinary call waits for its turn by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let session = match request.extensions().get::<Ordinary>() {
            Some(Ordinary) => None,
            None => self.session(),
        };
        let room = session.and_then(|session| Some((session.room()?, session)));
        let (channel, within) = (self.channel.clone(), self.within);
        Box::pin(async move {
            let Some((room, session)) = room else {
                return ordinary(channel, request).await;
            };
            let (head, body) = request.into_parts();
            // The message is there already.
            let data: Bytes = body.collect().await?.to_bytes();
            if data.len() > MAX_REQUEST_BYTES {
                let request = http::Request::from_parts(head, Body::new(Full::new(data)));
                return ordinary(channel, request).await;
            }
            let asked = headers::timeout_of(&head.headers);
            let within = [asked, within].into_iter().flatten().min();
            let answer = session.call(head, data, room);
            let answer = match within {
                Some(within) => tokio::time::timeout(within, answer)
                    .await
                    .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer came in time"))),
                None => answer.await,
            };
            Ok(answer?.map(Body::new))
        })
    }
}

async fn ordinary(mut channel: Channel, request: http::Request<Body>) -> Result<http::Response<Body>, CallError> {
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    Ok(channel.call(request).await?)
}
