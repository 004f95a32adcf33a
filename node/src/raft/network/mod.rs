//! Raft's traffic between members: three lanes to each peer, so that no snapshot and no batch delays a heartbeat.
//!
//! | lane | carries | shape |
//! |---|---|---|
//! | control | votes, pre-votes, transfers, heartbeats of all groups | one long stream, answers in any order |
//! | replicate | entries of all groups | one long stream, a numbered stream within it per replica, answers in order |
//! | snapshot | one snapshot | a stream of its own, on a connection of its own |
//!
//! While a link is down its lanes refuse at once, and the link dials on in the background.

mod append;
mod call;
mod client;
mod dial;
mod lane;
mod registry;
mod serve_append;
mod serve_control;
mod service;
mod transport;

pub use client::Network;
pub use dial::{DialError, Dialer, LinkFilter, PeerAddresses};
pub use registry::{LocalReplica, Registry};
pub use service::{RaftEndpoint, peer_server};
pub use transport::{Transport, TransportConfig};

use std::time::Duration;

use kotoba_proto::v1::{Envelope, Frame, RaftMessage, raft_message};
use kotoba_state::ids::{MemberId, ReplicaId};
use tokio::sync::mpsc;

use super::types::ReplicaKey;

/// The version of frames and of all that is in them.
pub const WIRE_FORMAT: u32 = 1;
/// Largest frame or block: the largest proposal four times over.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// A frame is closed at this size: a heartbeat behind it waits for no more than that.
const FRAME_BYTES: usize = 256 << 10;
/// Messages in one frame.
const FRAME_MESSAGES: usize = 256;
/// Messages that wait for a lane; beyond, senders wait.
const LANE_QUEUE: usize = 1_024;
/// Frames between a lane and its stream.
const FRAME_QUEUE: usize = 4;
/// What a message costs besides its body.
const MESSAGE_OVERHEAD: usize = 64;
/// Requests of one append stream that may wait for their answers.
const STREAM_CREDITS: usize = 32;
/// Bytes of them; one request may always be under way.
const STREAM_BYTES: usize = 4 << 20;
/// A peer that answers nothing on an append stream for this long is given up: a disk may stall for seconds, not longer.
const STREAM_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// From which replica to which a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub from: ReplicaKey,
    pub to: ReplicaId,
}

impl Route {
    fn message(&self, stream: u64, sequence: u64, body: raft_message::Body) -> RaftMessage {
        RaftMessage {
            group: self.from.group.number(),
            from_replica: self.from.replica.0,
            to_replica: self.to.0,
            sequence,
            stream,
            body: Some(body),
        }
    }
}

/// A message back to where another came from.
fn answer_to(message: &RaftMessage, body: raft_message::Body) -> RaftMessage {
    RaftMessage {
        group: message.group,
        from_replica: message.to_replica,
        to_replica: message.from_replica,
        sequence: message.sequence,
        stream: message.stream,
        body: Some(body),
    }
}

fn envelope(cluster_id: &str, from: MemberId, to: MemberId) -> Envelope {
    Envelope {
        cluster_id: cluster_id.to_owned(),
        from_member_id: from.0,
        to_member_id: to.0,
        format: WIRE_FORMAT,
    }
}

fn message_bytes(message: &RaftMessage) -> usize {
    use raft_message::Body;
    let body = match &message.body {
        Some(
            Body::VoteRequest(bytes)
            | Body::VoteAnswer(bytes)
            | Body::PreVoteRequest(bytes)
            | Body::PreVoteAnswer(bytes)
            | Body::AppendRequest(bytes)
            | Body::AppendAnswer(bytes)
            | Body::TransferLeaderRequest(bytes)
            | Body::TransferLeaderAnswer(bytes),
        ) => bytes.len(),
        Some(Body::Error(text)) => text.len(),
        Some(Body::StreamEnd(_)) | None => 0,
    };
    body + MESSAGE_OVERHEAD
}

/// Takes all messages that are queued, once there is one; true unless the queue is closed. Whoever is about to queue more does it
/// before, so that a frame takes what comes together.
async fn gather(queued: &mut mpsc::Receiver<RaftMessage>, batch: &mut Vec<RaftMessage>) -> bool {
    let Some(first) = queued.recv().await else {
        return false;
    };
    batch.push(first);
    tokio::task::yield_now().await;
    while batch.len() < FRAME_MESSAGES
        && let Ok(message) = queued.try_recv()
    {
        batch.push(message);
    }
    true
}

/// Packs messages into frames, in order; a message larger than a frame travels alone.
fn frames(messages: impl IntoIterator<Item = RaftMessage>) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut current = Frame::default();
    let mut bytes = 0;
    for message in messages {
        let size = message_bytes(&message);
        if !current.messages.is_empty() && bytes + size > FRAME_BYTES {
            frames.push(std::mem::take(&mut current));
            bytes = 0;
        }
        bytes += size;
        current.messages.push(message);
    }
    if !current.messages.is_empty() {
        frames.push(current);
    }
    frames
}
