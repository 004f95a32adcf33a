//! Parts on their way out: what waits together goes in one frame.

use futures::Stream;
use tokio::sync::mpsc;

use crate::v1::{CallFrame, CallPart};

/// Parts of one frame.
const FRAME_PARTS: usize = 256;
/// Bytes after which a frame takes no further part; with one part more it stays far below the limit of a message.
const FRAME_BYTES: usize = 256 << 10;

/// Where parts are put. It has no bound of its own: the calls under way, and the parts of each, are bounded.
pub type Parts = mpsc::UnboundedSender<CallPart>;

/// Gives the frames of all parts that are put in, until nobody can put any more. Where many calls are under way, a part waits for
/// what comes at the same moment.
pub fn frames(
    are_many: impl Fn() -> bool + Send + Sync + 'static,
) -> (Parts, impl Stream<Item = CallFrame> + Send + 'static) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = futures::stream::unfold((receiver, are_many), |(mut parts, are_many)| async move {
        let frame = next(&mut parts, &are_many).await?;
        Some((frame, (parts, are_many)))
    });
    (sender, frames)
}

async fn next(
    waiting: &mut mpsc::UnboundedReceiver<CallPart>,
    are_many: &(impl Fn() -> bool + Sync),
) -> Option<CallFrame> {
    let mut parts = vec![waiting.recv().await?];
    if are_many() {
        // Whoever is about to put in more does it before.
        tokio::task::yield_now().await;
    }
    let mut bytes = parts[0].data.len();
    while parts.len() < FRAME_PARTS
        && bytes < FRAME_BYTES
        && let Ok(part) = waiting.try_recv()
    {
        bytes += part.data.len();
        parts.push(part);
    }
    Some(CallFrame { parts })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::calls::part_of;

    fn part(call: u64, bytes: usize) -> CallPart {
        CallPart {
            data: vec![0; bytes].into(),
            ..part_of(call)
        }
    }

    #[tokio::test]
    async fn a_part_waits_for_others_only_where_there_may_be_some() {
        for are_many in [false, true] {
            let (parts, frames) = super::frames(move || are_many);
            let mut frames = pin!(frames);
            parts.send(part(1, 1)).unwrap();
            assert_eq!(frames.next().now_or_never().is_some(), !are_many);
        }
    }

    #[tokio::test]
    async fn parts_that_wait_share_a_frame_up_to_its_bounds_and_stay_in_order() {
        let (parts, frames) = super::frames(|| true);
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
