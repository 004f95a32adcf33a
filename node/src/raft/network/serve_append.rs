//! The receiving end of a replicate lane: each numbered stream feeds one replica, in order, and is answered in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use kotoba_proto::v1::{RaftMessage, raft_message::Body};
use kotoba_state::ids::GroupId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::registry::{LocalReplica, Registry};
use super::service::Messages;
use super::{STREAM_CREDITS, answer_to};
use crate::raft::codec::{from_bytes, to_bytes};
use crate::raft::room::DiskRoom;
use crate::raft::types::{AppendRequest, Payload};

/// Group, sender and target: a leader has one append stream for them at a time.
type Between = (u64, u64, u64);

/// Streams of one lane.
struct Streams {
    registry: Arc<Registry>,
    room: Arc<dyn DiskRoom>,
    answers: mpsc::Sender<RaftMessage>,
    open: BTreeMap<u64, mpsc::Sender<AppendRequest>>,
    newest: BTreeMap<Between, u64>,
    tasks: JoinSet<()>,
}

/// Serves a lane until it ends; its streams end with it.
pub async fn serve(
    registry: Arc<Registry>,
    room: Arc<dyn DiskRoom>,
    mut messages: Messages,
    answers: mpsc::Sender<RaftMessage>,
) {
    let mut streams = Streams {
        registry,
        room,
        answers,
        open: BTreeMap::new(),
        newest: BTreeMap::new(),
        tasks: JoinSet::new(),
    };
    while let Some(batch) = messages.next().await {
        for message in batch {
            if let Err(reason) = streams.take(&message) {
                streams.open.remove(&message.stream);
                let refusal = answer_to(&message, Body::Error(reason));
                if streams.answers.send(refusal).await.is_err() {
                    return;
                }
            }
        }
        while streams.tasks.try_join_next().is_some() {}
    }
}

impl Streams {
    fn take(&mut self, message: &RaftMessage) -> Result<(), String> {
        match &message.body {
            Some(Body::StreamEnd(_)) => {
                self.open.remove(&message.stream);
                Ok(())
            }
            Some(Body::AppendRequest(bytes)) => {
                if message.sequence == 0 {
                    self.begin(message)?;
                }
                // Requests may still come for a stream that ended with a conflict; its sender knows by then.
                let Some(stream) = self.open.get(&message.stream) else {
                    return Ok(());
                };
                let request: AppendRequest = from_bytes(bytes).map_err(|error| error.to_string())?;
                self.check_room(message.group, &request)?;
                match stream.try_send(request) {
                    Ok(()) => Ok(()),
                    Err(mpsc::error::TrySendError::Closed(_)) => {
                        self.open.remove(&message.stream);
                        Ok(())
                    }
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        Err(format!("more than {STREAM_CREDITS} requests are under way"))
                    }
                }
            }
            Some(
                Body::VoteRequest(_)
                | Body::VoteAnswer(_)
                | Body::PreVoteRequest(_)
                | Body::PreVoteAnswer(_)
                | Body::AppendAnswer(_)
                | Body::TransferLeaderRequest(_)
                | Body::TransferLeaderAnswer(_)
                | Body::Error(_),
            )
            | None => Err("this is no request of the replicate lane".to_owned()),
        }
    }

    /// A replica may refuse entries at any time: the leader sends them again later, and until then the replica is behind.
    /// What a new leader logs to be able to serve reads is not refused.
    fn check_room(&self, group: u64, request: &AppendRequest) -> Result<(), String> {
        let is_meta = GroupId::from_number(group) == Some(GroupId::Meta);
        let has_command = request.entries.iter().any(|entry| match entry.payload {
            Payload::Normal(_) => true,
            Payload::Blank | Payload::Membership(_) => false,
        });
        match is_meta || !has_command || self.room.takes_entries() {
            true => Ok(()),
            false => Err("the disk of this member is full: it takes no entries before there is room".to_owned()),
        }
    }

    /// Begins a stream. One that its sender could not end in time ends now.
    fn begin(&mut self, first: &RaftMessage) -> Result<(), String> {
        let replica = self.registry.find(first.group, first.to_replica)?;
        let between = (first.group, first.from_replica, first.to_replica);
        if let Some(older) = self.newest.insert(between, first.stream) {
            self.open.remove(&older);
        }
        let (sender, requests) = mpsc::channel(STREAM_CREDITS);
        self.open.insert(first.stream, sender);
        let form = answer_to(first, Body::StreamEnd(true));
        self.tasks
            .spawn(feed(replica, ReceiverStream::new(requests), form, self.answers.clone()));
        Ok(())
    }
}

/// Feeds a replica and sends back its answers, each in the form of the stream's first.
async fn feed(
    replica: LocalReplica,
    requests: ReceiverStream<AppendRequest>,
    form: RaftMessage,
    answers: mpsc::Sender<RaftMessage>,
) {
    let mut results = std::pin::pin!(replica.raft.stream_append(requests));
    let mut sequence = 0;
    while let Some(result) = results.next().await {
        let body = match result {
            Ok(result) => Body::AppendAnswer(to_bytes(&result).into()),
            Err(fatal) => Body::Error(fatal.to_string()),
        };
        let answer = RaftMessage {
            sequence,
            body: Some(body),
            ..form.clone()
        };
        sequence += 1;
        if answers.send(answer).await.is_err() {
            return;
        }
    }
    // Where the replica was stopped its leader would wait for answers in vain, also when the replica runs again. A sender
    // that has ended the stream itself does not hear this.
    let ended = RaftMessage {
        sequence,
        body: Some(Body::Error(format!("{} stopped", replica.key))),
        ..form
    };
    let _ = answers.send(ended).await;
}
