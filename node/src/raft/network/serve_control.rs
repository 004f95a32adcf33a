//! The receiving end of a control lane: every request is a call to one replica, answered when it is done.

use std::sync::Arc;

use kotoba_proto::v1::{RaftMessage, raft_message::Body};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer_to;
use super::registry::Registry;
use super::service::Messages;
use crate::raft::codec::{Coded, from_bytes, to_bytes};
use crate::raft::types::{AppendRequest, AppendResult, Raft, VoteRequest};

/// Requests of one peer under way here; beyond, its lane waits. One per group and kind is usual.
const MAX_CALLS: usize = 512;

/// Serves a lane until it ends.
pub async fn serve(registry: Arc<Registry>, mut messages: Messages, answers: mpsc::Sender<RaftMessage>) {
    let mut calls = JoinSet::new();
    while let Some(batch) = messages.next().await {
        for message in batch {
            while calls.len() >= MAX_CALLS {
                calls.join_next().await;
            }
            let (registry, answers) = (registry.clone(), answers.clone());
            calls.spawn(async move {
                let body = handle(&registry, &message).await.unwrap_or_else(Body::Error);
                // Nobody takes the answer when the lane has ended.
                let _ = answers.send(answer_to(&message, body)).await;
            });
        }
        while calls.try_join_next().is_some() {}
    }
}

async fn handle(registry: &Registry, message: &RaftMessage) -> Result<Body, String> {
    let replica = registry.find(message.group, message.to_replica)?;
    let raft = &replica.raft;
    match &message.body {
        Some(Body::AppendRequest(bytes)) => {
            let answer = append(raft, decode(bytes)?).await?;
            Ok(Body::AppendAnswer(to_bytes(&answer).into()))
        }
        Some(Body::VoteRequest(bytes)) => {
            let request: VoteRequest = decode(bytes)?;
            replica.check_promise(request.leadership_transfer)?;
            let answer = raft.vote(request).await.map_err(text)?;
            Ok(Body::VoteAnswer(to_bytes(&answer).into()))
        }
        Some(Body::PreVoteRequest(bytes)) => {
            let request: VoteRequest = decode(bytes)?;
            replica.check_promise(request.leadership_transfer)?;
            let answer = raft.pre_vote(request).await.map_err(text)?;
            Ok(Body::PreVoteAnswer(to_bytes(&answer).into()))
        }
        Some(Body::TransferLeaderRequest(bytes)) => {
            let answer = raft.handle_transfer_leader(decode(bytes)?).await.map_err(text)?;
            Ok(Body::TransferLeaderAnswer(to_bytes(&answer).into()))
        }
        Some(
            Body::VoteAnswer(_)
            | Body::PreVoteAnswer(_)
            | Body::AppendAnswer(_)
            | Body::TransferLeaderAnswer(_)
            | Body::Error(_)
            | Body::StreamEnd(_),
        )
        | None => Err("this is no request of the control lane".to_owned()),
    }
}

async fn append(raft: &Raft, request: AppendRequest) -> Result<AppendResult, String> {
    let previous = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(previous);
    let answer = raft.append_entries(request).await.map_err(text)?;
    Ok(answer.into_stream_result(previous, last))
}

fn decode<T: Coded>(bytes: &[u8]) -> Result<T, String> {
    from_bytes(bytes).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
