//! Parts on their way out: what waits together goes in one frame.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio_stream::Stream;

use crate::v1::{CallFrame, CallPart};

/// Parts of one frame.
const FRAME_PARTS: usize = 256;
/// Bytes after which a frame takes no further part; with one part more it stays far below the limit of a message.
const FRAME_BYTES: usize = 256 << 10;

/// Where parts are put. It has no bound of its own: the calls under way, and the parts of each, are bounded.
pub type Parts = mpsc::UnboundedSender<CallPart>;

/// The frames of all parts that are put in, until nobody can put any more.
pub struct Frames(mpsc::UnboundedReceiver<CallPart>);

pub fn frames() -> (Parts, Frames) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Frames(receiver))
}

impl Frames {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<CallFrame>> {
        let mut parts = Vec::new();
        let mut bytes = 0;
        while parts.len() < FRAME_PARTS && bytes < FRAME_BYTES {
            match self.0.poll_recv(context) {
                Poll::Ready(Some(part)) => {
                    bytes += part.data.len();
                    parts.push(part);
                }
                Poll::Pending if parts.is_empty() => return Poll::Pending,
                Poll::Ready(None) if parts.is_empty() => return Poll::Ready(None),
                Poll::Pending | Poll::Ready(None) => break,
            }
        }
        Poll::Ready(Some(CallFrame { parts }))
    }
}

/// As a client sends them.
impl Stream for Frames {
    type Item = CallFrame;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<CallFrame>> {
        self.poll_frame(context)
    }
}

/// As a server sends them.
pub struct Answers(pub Frames);

impl Stream for Answers {
    type Item = Result<CallFrame, tonic::Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_frame(context).map(|frame| frame.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;
    use crate::calls::part_of;

    fn part(call: u64, bytes: usize) -> CallPart {
        CallPart {
            data: vec![0; bytes].into(),
            ..part_of(call)
        }
    }

    #[tokio::test]
    async fn parts_that_wait_share_a_frame_up_to_its_bounds_and_stay_in_order() {
        let (parts, frames) = frames();
        for call in 0..FRAME_PARTS as u64 + 1 {
            parts.send(part(call, 1)).unwrap();
        }
        for call in [1_000, 1_001, 1_002] {
            parts.send(part(call, FRAME_BYTES / 2)).unwrap();
        }
        drop(parts);
        let frames: Vec<_> = frames.collect().await;
        let calls: Vec<_> = frames
            .iter()
            .flat_map(|frame| frame.parts.iter().map(|part| part.call))
            .collect();
        let sizes: Vec<_> = frames.iter().map(|frame| frame.parts.len()).collect();
        assert_eq!(sizes, [FRAME_PARTS, 3, 1]);
        assert!(calls.is_sorted());
    }
}
