//! The cluster's events: a subscription that outlives the member it began at.
//!
//! The position of the last event is kept here. Where a stream ends, the next member goes on from it; so each event comes
//! once, or the subscriber is told that some are lost.

use std::time::{Duration, Instant};

use tonic::Streaming;
use tonic::metadata::MetadataMap;

use super::KotobaCluster;
use super::retry::Repeat;
use crate::ClusterError;
use crate::calls::ordinary;
use crate::v1::{ClusterEvent, SubscribeEventsRequest};

/// Metadata key of the answer: the position after which its events begin.
pub const AFTER_POSITION_KEY: &str = "kotoba-after-position";

/// A stream that ends this soon and without an event was of no use: the member is about to go.
const OF_USE_AFTER: Duration = Duration::from_secs(1);
/// Between two that were of no use: about the time of one election.
const PAUSE: Duration = Duration::from_millis(200);

/// Events of the cluster, each once, in the order in which they happened.
pub struct Events {
    cluster: KotobaCluster,
    stream: Option<Stream>,
    /// Of the last event that was given out.
    position: u64,
    /// Since when no stream was of any use.
    useless_since: Option<Instant>,
}

struct Stream {
    messages: Streaming<ClusterEvent>,
    begun: Instant,
}

impl Events {
    pub(super) async fn subscribe(cluster: KotobaCluster, after: Option<u64>) -> Result<Self, ClusterError> {
        let (stream, position) = open(&cluster, after).await?;
        Ok(Events {
            cluster,
            stream: Some(stream),
            position,
            useless_since: None,
        })
    }

    /// The next event; waits for as long as nothing happens. It may be cancelled and called again without a loss.
    ///
    /// # Errors
    /// `EventsLost` where events that come next are no longer kept; called again it goes on with the oldest that are.
    /// Any other error says that no member could be subscribed to within the deadline; it may be called again, too.
    pub async fn next(&mut self) -> Result<ClusterEvent, ClusterError> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => none.insert(open(&self.cluster, Some(self.position)).await?.0),
            };
            match stream.messages.message().await {
                // A member that has not heard of positions repeats what it was asked to leave out.
                Ok(Some(event)) if event.position <= self.position => {}
                Ok(Some(event)) => {
                    self.position = event.position;
                    self.useless_since = None;
                    return Ok(event);
                }
                Ok(None) => self.go_elsewhere(None).await?,
                Err(status) => {
                    let error = ClusterError::from_status(&status, "the member that sent events");
                    self.go_elsewhere(Some(error)).await?;
                }
            }
        }
    }

    /// The position of the last event; that of the subscription before the first.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Leaves a stream that ended; fails where another one would be no better.
    async fn go_elsewhere(&mut self, error: Option<ClusterError>) -> Result<(), ClusterError> {
        let ended = self.stream.take();
        match error {
            Some(ClusterError::EventsLost { oldest }) => {
                self.position = oldest.saturating_sub(1);
                return Err(ClusterError::EventsLost { oldest });
            }
            Some(error) if !may_do_elsewhere(&error) => return Err(error),
            Some(_) | None => {}
        }
        if ended.is_some_and(|stream| stream.begun.elapsed() >= OF_USE_AFTER) {
            self.useless_since = None;
            return Ok(());
        }
        let since = *self.useless_since.get_or_insert_with(Instant::now);
        let deadline = self.cluster.options.deadline;
        if since.elapsed() > deadline {
            self.useless_since = None;
            let last = error.map(Box::new);
            return Err(ClusterError::Timeout { deadline, last });
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Whether it is the member's trouble, and not the request's.
fn may_do_elsewhere(error: &ClusterError) -> bool {
    match error {
        ClusterError::NotLeader { .. }
        | ClusterError::NoLeader(_)
        | ClusterError::NetworkError { .. }
        | ClusterError::Transient(_)
        | ClusterError::Unassigned(_)
        | ClusterError::Timeout { .. } => true,
        ClusterError::UnknownOutcome(_)
        | ClusterError::Invalid(_)
        | ClusterError::NotFound(_)
        | ClusterError::Refused(_)
        | ClusterError::OtherVersion(_)
        | ClusterError::EventsLost { .. }
        | ClusterError::DiskFull(_)
        | ClusterError::ReceiptExpired(_)
        | ClusterError::Unsupported { .. }
        | ClusterError::Address { .. }
        | ClusterError::Protocol(_) => false,
    }
}

/// Subscribes at the next member; gives the stream, and the position after which it begins.
async fn open(cluster: &KotobaCluster, after: Option<u64>) -> Result<(Stream, u64), ClusterError> {
    let request = SubscribeEventsRequest { after_position: after };
    let answer = cluster
        .call(Repeat::Always, None, |mut client, _attempt| async move {
            client.subscribe_events(ordinary(request)).await
        })
        .await?;
    let position = position_of(answer.metadata())?;
    let stream = Stream {
        messages: answer.into_inner(),
        begun: Instant::now(),
    };
    Ok((stream, position))
}

fn position_of(metadata: &MetadataMap) -> Result<u64, ClusterError> {
    let text = metadata.get(AFTER_POSITION_KEY).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        ClusterError::Protocol("its events have no positions: it is of an older version, upgrade it".to_owned())
    })
}
