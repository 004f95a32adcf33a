//! A lane to one peer, from the dialling side: one long stream, redialled for ever, with a bounded queue in front.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kotoba_proto::v1::{Frame, RaftMessage};
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::dial::{CONNECT_TIMEOUT, DialError, Dialer};
use super::{FRAME_MESSAGES, FRAME_QUEUE, LANE_QUEUE, frames, gather};

/// First pause after a failed attempt; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A peer that comes back is found within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which stream a lane opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneKind {
    Control,
    Replicate,
}

/// What is known of the link under a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The first attempt is under way: worth a short wait.
    Connecting,
    Up,
    /// Since when: the first of the attempts that failed, or the end of what was up.
    Down(Instant),
}

/// Takes what comes back on a lane.
pub trait Answers: Send + Sync + 'static {
    fn answer(&self, message: RaftMessage);

    /// The stream is gone: nothing that was asked will be answered.
    fn disconnected(&self);
}

/// The sending end of a lane.
pub struct Lane {
    queue: mpsc::Sender<RaftMessage>,
    link: watch::Receiver<Link>,
}

impl Lane {
    /// Makes a lane and the task that runs it until dropped.
    pub fn new(
        dialer: Dialer,
        kind: LaneKind,
        answers: Arc<dyn Answers>,
        on_up: impl Fn() + Send + Sync + 'static,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, messages) = mpsc::channel(LANE_QUEUE);
        let (link_sender, link) = watch::channel(Link::Connecting);
        let driver = Driver {
            dialer,
            kind,
            messages,
            answers,
            link: link_sender,
            attempts: 0,
        };
        (Lane { queue, link }, driver.run(on_up))
    }

    #[cfg(test)]
    /// A lane that is up, and what is sent on it.
    pub fn of_a_test() -> (Self, mpsc::Receiver<RaftMessage>) {
        let (queue, messages) = mpsc::channel(LANE_QUEUE);
        let (_, link) = watch::channel(Link::Up);
        (Lane { queue, link }, messages)
    }

    /// Whether the lane carries messages now; waits only for a first attempt to connect.
    pub async fn is_up(&self) -> bool {
        let mut link = self.link.clone();
        let known = link.wait_for(|link| *link != Link::Connecting).await;
        known.is_ok_and(|link| *link == Link::Up)
    }

    /// As [`Lane::is_up`], and where it is down gives it a moment to come up.
    pub async fn comes_up_within(&self, patience: Duration) -> bool {
        let mut link = self.link.clone();
        let up = link.wait_for(|link| *link == Link::Up);
        tokio::time::timeout(patience, up).await.is_ok_and(|link| link.is_ok())
    }

    /// How long the link has been down; none where it is not.
    pub fn down_for(&self) -> Option<Duration> {
        match *self.link.borrow() {
            Link::Down(since) => Some(since.elapsed()),
            Link::Connecting | Link::Up => None,
        }
    }

    /// Queues a message; false where the lane is closed.
    pub async fn send(&self, message: RaftMessage) -> bool {
        self.queue.send(message).await.is_ok()
    }

    /// Queues a message if there is room.
    pub fn try_send(&self, message: RaftMessage) -> bool {
        self.queue.try_send(message).is_ok()
    }
}

struct Driver {
    dialer: Dialer,
    kind: LaneKind,
    messages: mpsc::Receiver<RaftMessage>,
    answers: Arc<dyn Answers>,
    link: watch::Sender<Link>,
    /// Since the start, or since the link was last up.
    attempts: u64,
}

impl Driver {
    async fn run(mut self, on_up: impl Fn() + Send + Sync) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.attempts += 1;
            let result = tokio::time::timeout(CONNECT_TIMEOUT * 2, self.connect()).await;
            match result.unwrap_or(Err(DialError::Timeout(self.dialer.to))) {
                Ok((requests, answers)) => {
                    tracing::info!(member = %self.dialer.to, lane = ?self.kind, "link is up");
                    pause = FIRST_PAUSE;
                    self.link.send_replace(Link::Up);
                    on_up();
                    self.pump(requests, answers).await;
                    self.attempts = 0;
                    tracing::info!(member = %self.dialer.to, lane = ?self.kind, "link is down");
                }
                Err(error) => self.report(&error),
            }
            self.down();
            // Spread, so that members that lost a peer together do not dial it together.
            let spread = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(pause.mul_f64(spread)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Once, not at every attempt.
    fn report(&self, error: &DialError) {
        let is_news = self.attempts == 1;
        if is_news {
            tracing::warn!(lane = ?self.kind, %error, "a peer is not reached; dialling on");
        } else {
            tracing::debug!(lane = ?self.kind, %error, "a peer is still not reached");
        }
    }

    async fn connect(&self) -> Result<(mpsc::Sender<Frame>, Streaming<Frame>), DialError> {
        let mut client = self.dialer.connect().await?;
        let (requests, stream) = mpsc::channel(FRAME_QUEUE);
        let first = Frame {
            envelope: Some(self.dialer.envelope()),
            messages: Vec::new(),
        };
        requests.try_send(first).expect("the queue is new and has room");
        let stream = ReceiverStream::new(stream);
        let answer = match self.kind {
            LaneKind::Control => client.control(stream).await,
            LaneKind::Replicate => client.replicate(stream).await,
        };
        match answer {
            Ok(answers) => Ok((requests, answers.into_inner())),
            Err(status) => Err(DialError::Refused {
                member: self.dialer.to,
                reason: status.message().to_owned(),
            }),
        }
    }

    /// Runs both directions until one ends. They are apart so that a full window in one cannot stop the other.
    async fn pump(&mut self, requests: mpsc::Sender<Frame>, mut incoming: Streaming<Frame>) {
        let (dialer, messages, answers) = (&self.dialer, &mut self.messages, &self.answers);
        let outgoing = async move {
            let mut batch = Vec::with_capacity(FRAME_MESSAGES);
            while gather(messages, &mut batch).await && !dialer.is_cut() {
                for frame in frames(batch.drain(..)) {
                    if requests.send(frame).await.is_err() {
                        return;
                    }
                }
            }
        };
        let incoming = async move {
            while let Ok(Some(frame)) = incoming.message().await
                && !dialer.is_cut()
            {
                frame.messages.into_iter().for_each(|message| answers.answer(message));
            }
        };
        tokio::select! {
            () = outgoing => {}
            () = incoming => {}
        }
    }

    /// Whoever waits is told, and what is queued for the lost stream is dropped: its senders are told too.
    fn down(&mut self) {
        let is_news = |link: &mut Link| match link {
            Link::Down(_) => false,
            Link::Connecting | Link::Up => {
                *link = Link::Down(Instant::now());
                true
            }
        };
        self.link.send_if_modified(is_news);
        self.answers.disconnected();
        while self.messages.try_recv().is_ok() {}
    }
}
